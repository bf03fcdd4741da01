package outbox

import (
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/s2"
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
//
// Packed, which a batch of vitals is to a third, it is
//
//	2, S2 block of what follows the 1
const (
	framesForm = 1
	packedForm = 2
)

// maxFrames bounds what a batch unpacks to: as many messages as may wait for a
// failing disk, each as large as the protocol lets it be.
const maxFrames = 8192 * 16 << 10

// packFrames appends the shorter of a batch's two forms to dst.
func packFrames(dst, frames []byte) []byte {
	if packed := s2.Encode(nil, frames[1:]); len(packed) < len(frames)-1 {
		return append(append(dst, packedForm), packed...)
	}
	return append(dst, frames...)
}

// unpackFrames is the form that begins with 1, of either.
func unpackFrames(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != packedForm {
		return b, nil
	}
	n, err := s2.DecodedLen(b[1:])
	if err != nil || n > maxFrames {
		return nil, errFrames
	}
	out := make([]byte, n+1)
	out[0] = framesForm
	if _, err := s2.Decode(out[1:], b[1:]); err != nil {
		return nil, errFrames
	}
	return out, nil
}

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
	b, err := unpackFrames(b)
	if err != nil || len(b) == 0 || b[0] != framesForm {
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
