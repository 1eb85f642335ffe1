// SPDX-License-Identifier: Apache-2.0

package timeline

// style is the escape sequences of a terminal; its zero value has none.
type style struct {
	reset, bold, dim, warn, minus, plus string
	severity                            [4]string
}

var colored = style{
	reset: "\x1b[0m", bold: "\x1b[1m", dim: "\x1b[2m", warn: "\x1b[33m", minus: "\x1b[31m", plus: "\x1b[32m",
	severity: [4]string{"\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[1;31m"},
}

// wrap puts text between a colour and its end.
func (s style) wrap(color, text string) []byte {
	b := append([]byte(color), text...)
	return append(b, s.reset...)
}
