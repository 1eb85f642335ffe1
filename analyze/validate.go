// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
)

// endOfString is the index of the quote that closes the string whose first
// byte is b[i], or -1 where the string does not end or holds a raw control
// character. escaped says whether a backslash was met.
//
// It looks at eight bytes at a time: in x-0x01… & ^x & 0x80… the lowest bit set
// marks the first zero byte of x, exactly.
func endOfString(b []byte, i int) (end int, escaped bool) {
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			quote := x ^ everyByte*'"'
			slash := x ^ everyByte*'\\'
			hit := ((quote - everyByte) & ^quote) | ((slash - everyByte) & ^slash) | ((x - everyByte*0x20) & ^x)
			if hit &= highBits; hit != 0 {
				i += bits.TrailingZeros64(hit) / 8
				break
			}
			i += 8
		}
		for ; i < len(b); i++ {
			c := b[i]
			if c == '"' {
				return i, escaped
			}
			if c < 0x20 {
				return -1, escaped
			}
			if c == '\\' {
				break
			}
		}
		if i >= len(b) {
			return -1, escaped
		}
		escaped = true
		n := escapeLength(b[i:])
		if n == 0 {
			return -1, escaped
		}
		i += n
	}
}

// escapeLength is the length of the escape that b begins with, 0 if it is none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// validRest says whether b[i:] is what must follow within an object after a
// value: more members and the closing brace, and nothing behind it. It takes
// the compact form that the relay writes; for anything with white space, or
// nested deeper than a word of bits, the standard library decides on all of b.
//
// A line whose head is sound may still be two lines, one cut short. Everything
// that is counted or shown must come from a whole one.
func validRest(b []byte, i int) bool {
	// Bit 0 of stack is the innermost open bracket: 1 an object, 0 an array.
	stack, depth := uint64(1), 1
	for {
		// A value has ended: its container goes on or ends.
		if i >= len(b) {
			return false
		}
		switch b[i] {
		case ',':
			i++
			if stack&1 == 1 {
				if i = memberName(b, i); i < 0 {
					return json.Valid(b)
				}
			}
		case '}', ']':
			if (b[i] == '}') != (stack&1 == 1) {
				return false
			}
			stack >>= 1
			depth--
			i++
			if depth == 0 {
				return i == len(b) || json.Valid(b) // white space may follow
			}
			continue
		default:
			return json.Valid(b)
		}
	value:
		if i >= len(b) {
			return false
		}
		switch c := b[i]; {
		case c == '"':
			end, _ := endOfString(b, i+1)
			if end < 0 {
				return false
			}
			i = end + 1
		case c == '{' || c == '[':
			if depth == 64 {
				return json.Valid(b)
			}
			if i+1 < len(b) && b[i+1] == c+2 { // {} and []: in ASCII each pair is two apart
				i += 2
				continue
			}
			stack <<= 1
			depth++
			i++
			if c == '{' {
				stack |= 1
				if i = memberName(b, i); i < 0 {
					return json.Valid(b)
				}
			}
			goto value
		default:
			end := endOfScalar(b, i)
			if end < 0 {
				return json.Valid(b)
			}
			i = end
		}
	}
}

// memberName skips `"name":` at b[i]; it is -1 if that is not there.
func memberName(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	end, _ := endOfString(b, i+1)
	if end < 0 || end+1 >= len(b) || b[end+1] != ':' {
		return -1
	}
	return end + 2
}

// endOfScalar is the index behind the number, true, false or null at b[i], or
// -1.
func endOfScalar(b []byte, i int) int {
	for _, word := range [...]string{"null", "true", "false"} {
		if b[i] == word[0] {
			if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
				return i + len(word)
			}
			return -1
		}
	}
	if b[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}
