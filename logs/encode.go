// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// encoder writes events' own fields as JSON. It differs from encoding/json
// where the log's readers need it to: an empty list is [] and never null, so
// that filters can iterate without asking; ">" stays ">", so that grep finds
// what the catalogue spells; and the plan for a type is made once.
type encoder struct {
	plans sync.Map // reflect.Type → appendFunc
}

type appendFunc func(b []byte, v reflect.Value) []byte

// appender is what the catalogue's own value types implement.
type appender interface{ appendJSON([]byte) []byte }

var (
	appenderType  = reflect.TypeFor[appender]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
)

// appendFields writes the exported fields of an event, each with a comma before
// it and without braces, ready to stand after the header.
func (e *encoder) appendFields(b []byte, ev Event) []byte {
	v := reflect.ValueOf(ev)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return b
	}
	at := len(b)
	b = e.plan(v.Type(), true)(b, v)
	// The plan writes "{…}"; a header stands before it, so "{" becomes ",".
	if len(b) == at+2 {
		return b[:at]
	}
	b[at] = ','
	return b[:len(b)-1]
}

// plan is how values of a type are written. An event is always written field by
// field, even if its type has a MarshalJSON.
func (e *encoder) plan(t reflect.Type, event bool) appendFunc {
	if f, ok := e.plans.Load(t); ok {
		return f.(appendFunc)
	}
	f := e.build(t, event)
	e.plans.Store(t, f)
	return f
}

func (e *encoder) build(t reflect.Type, event bool) appendFunc {
	switch {
	case event:
		return e.object(t)
	case t.Implements(appenderType):
		return func(b []byte, v reflect.Value) []byte { return v.Interface().(appender).appendJSON(b) }
	case t.Implements(marshalerType) && t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface:
		return marshal
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendBool(b, v.Bool()) }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendInt(b, v.Int(), 10) }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendUint(b, v.Uint(), 10) }
	case reflect.Float32, reflect.Float64:
		return func(b []byte, v reflect.Value) []byte { return appendFloat(b, v.Float()) }
	case reflect.String:
		return func(b []byte, v reflect.Value) []byte { return appendString(b, v.String()) }
	case reflect.Struct:
		return e.object(t)
	case reflect.Slice, reflect.Array:
		return e.array(t)
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return e.mapping(t)
		}
	case reflect.Pointer:
		return func(b []byte, v reflect.Value) []byte {
			if v.IsNil() {
				return append(b, "null"...)
			}
			return e.plan(t.Elem(), false)(b, v.Elem())
		}
	case reflect.Interface:
		return func(b []byte, v reflect.Value) []byte {
			if v.IsNil() {
				return append(b, "null"...)
			}
			return e.plan(v.Elem().Type(), false)(b, v.Elem())
		}
	}
	return marshal
}

// marshal is for values that are not the catalogue's: what can't be encoded
// becomes null rather than a broken line.
func marshal(b []byte, v reflect.Value) []byte {
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, text...)
}

type field struct {
	key       string // `"name":`
	index     []int
	omitEmpty bool
	write     appendFunc
}

func (e *encoder) object(t reflect.Type) appendFunc {
	fields := e.fields(t, nil)
	return func(b []byte, v reflect.Value) []byte {
		b = append(b, '{')
		first := true
		for i := range fields {
			f := &fields[i]
			fv := v.FieldByIndex(f.index)
			if f.omitEmpty && isEmpty(fv) {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = f.write(append(b, f.key...), fv)
		}
		return append(b, '}')
	}
}

// fields lists a struct's keys in order; embedded structs stand where they are
// embedded, as encoding/json has it.
func (e *encoder) fields(t reflect.Type, at []int) []field {
	var out []field
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, _ := sf.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		index := append(slices.Clone(at), i)
		if sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct {
			out = append(out, e.fields(sf.Type, index)...)
			continue
		}
		if !sf.IsExported() || tag == "-" {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		out = append(out, field{
			key:       string(appendString(nil, name)) + ":",
			index:     index,
			omitEmpty: options == "omitempty",
			write:     e.plan(sf.Type, false),
		})
	}
	return out
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String, reflect.Array:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func (e *encoder) array(t reflect.Type) appendFunc {
	write := func(b []byte, v reflect.Value) []byte { return e.plan(t.Elem(), false)(b, v) }
	return func(b []byte, v reflect.Value) []byte {
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = write(b, v.Index(i))
		}
		return append(b, ']')
	}
}

func (e *encoder) mapping(t reflect.Type) appendFunc {
	write := func(b []byte, v reflect.Value) []byte { return e.plan(t.Elem(), false)(b, v) }
	return func(b []byte, v reflect.Value) []byte {
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k.String()), ':')
			b = write(b, v.MapIndex(k))
		}
		return append(b, '}')
	}
}

// appendFloat writes a number without an exponent where people would not expect
// one; JSON has no NaN and no infinity.
func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string. Bytes that are not UTF-8 (user names come
// from the network) become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, s[start:i]...), "\ufffd"...)
			start = i + size
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}
