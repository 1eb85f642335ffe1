// SPDX-License-Identifier: Apache-2.0

package reconcile

// numbers hands out flow numbers. A number that was given back rests until a
// grace period has passed: until then a packet may still be reading its flow.
// Number 0 is never handed out, as it is what an empty map holds.
type numbers struct {
	next uint32 // the lowest number that was never handed out
	max  uint32
	free []uint32
}

func newNumbers(max uint32) numbers { return numbers{next: 1, max: max} }

// take is a number that no packet can be using; ok is false when all are taken.
func (n *numbers) take() (number uint32, ok bool) {
	if last := len(n.free) - 1; last >= 0 {
		number = n.free[last]
		n.free = n.free[:last]
		return number, true
	}
	if n.next >= n.max {
		return 0, false
	}
	n.next++
	return n.next - 1, true
}

// give takes back a number whose grace period has passed.
func (n *numbers) give(number uint32) { n.free = append(n.free, number) }
