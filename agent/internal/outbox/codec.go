package outbox

import (
	"encoding/binary"
	"errors"
)

// A batch's frames are one value: frames have no row of their own, because a
// row a frame costs three times the flash. All numbers are varints.
//
//	1                                   the version of this form
//	n, n × (length, bytes)              the sources' names
//	n, n × (                            the frames
//	  source's index,
//	  length of topic, topic,
//	  received - the one before (zigzag; the first: - the batch's wall),
//	  length of payload, payload )
const framesForm = 1

// appendFrames appends the form of frames to dst.
func appendFrames(dst []byte, frames []Frame, wall int64) []byte {
	dst = append(dst, framesForm)
	names := make([]string, 0, 4)
	for i := range frames {
		if _, ok := index(names, frames[i].Source); !ok {
			names = append(names, frames[i].Source)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, n := range names {
		dst = appendString(dst, n)
	}
	dst = binary.AppendUvarint(dst, uint64(len(frames)))
	for i := range frames {
		f := &frames[i]
		source, _ := index(names, f.Source)
		dst = binary.AppendUvarint(dst, uint64(source))
		dst = appendString(dst, f.Topic)
		dst = binary.AppendVarint(dst, f.Received-wall)
		wall = f.Received
		dst = appendString(dst, f.Payload)
	}
	return dst
}

// index finds name among the few names of a batch's sources.
func index(names []string, name string) (int, bool) {
	for i, n := range names {
		if n == name {
			return i, true
		}
	}
	return 0, false
}

func appendString[S string | []byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errFrames = errors.New("a batch's frames are not in their form")

// readFrames is the inverse of appendFrames. Payloads share b's memory.
func readFrames(b []byte, wall int64) ([]Frame, error) {
	if len(b) == 0 || b[0] != framesForm {
		return nil, errFrames
	}
	r := reader{b: b[1:]}
	names := make([]string, 0, 4)
	for range r.count() {
		names = append(names, string(r.bytes()))
	}
	n := r.count()
	frames := make([]Frame, 0, n)
	for range n {
		source := r.uvarint()
		f := Frame{Topic: string(r.bytes())}
		f.Received = wall + r.varint()
		wall = f.Received
		f.Payload = r.bytes()
		if r.bad || source >= uint64(len(names)) {
			return nil, errFrames
		}
		f.Source = names[source]
		frames = append(frames, f)
	}
	if r.bad || len(r.b) != 0 {
		return nil, errFrames
	}
	return frames, nil
}

// reader takes numbers and strings off b; once bad, it takes nothing more.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return r.take(v, n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return int64(r.take(uint64(v), n))
}

func (r *reader) take(v uint64, n int) uint64 {
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count is a number of things that take at least a byte each.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count()
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}
