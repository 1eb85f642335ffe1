// SPDX-License-Identifier: Apache-2.0

// Package analyze reads the relay's logs back: folders, rotated and compressed
// files and pipes become one stream of lines, in order, each once, each known
// by its file and line number.
//
// Two ideas carry it. The first seven keys of a line stand in a fixed order, so
// that a Reader knows when, how grave, what and whose a line is from its raw
// bytes; JSON is decoded only where the meaning of an event is asked for. And a
// run numbers its lines without holes, so that within a run the sequence number
// is the order and the proof of completeness, while the clock, which may be set
// back, only puts runs beside each other.
//
// What is made of the stream is in the folders below: timeline prints it for
// people, mismatch finds where kernel and intent differ, summary counts, and
// filters holds the jq programs.
package analyze
