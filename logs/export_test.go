// SPDX-License-Identifier: Apache-2.0

package logs

// What the tests outside the package need to put faults between the writer and
// the disk.
type (
	FileSystem = fileSystem
	File       = logFile
	Disk       = disk
)

// On makes a writer use fs.
func (o WriterOptions) On(fs FileSystem) WriterOptions {
	o.fs = fs
	return o
}

var (
	RecoverFile = recoverFile
	ErrForeign  = errForeign
)

// AppendEvent encodes an event's own fields as an object.
func AppendEvent(ev Event) []byte {
	var e encoder
	b := e.appendFields(nil, ev)
	if len(b) == 0 {
		return []byte("{}")
	}
	b[0] = '{'
	return append(b, '}')
}

// Printable is what becomes of a message.
var Printable = printable
