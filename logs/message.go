// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds a message in bytes: the fields hold everything, the message
// is for reading.
const maxMessage = 2048

// printable makes a message one line that is safe to print. Parts of it (user
// names, paths, reasons) come from outside, and `jq -r` prints a message raw: a
// newline in it would forge a line and an escape sequence would reach the
// reader's terminal. So what is not printable is shown as an escape.
func printable(s string) string {
	clean := len(s) <= maxMessage
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= 0x20 && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		if out.Len() > maxMessage-16 {
			out.WriteString(" …")
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, s[i])
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteByte(' ')
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&out, `\x%02x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		i += size
	}
	return out.String()
}
