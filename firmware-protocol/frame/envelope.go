package frame

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"wardline/firmware-protocol/biosensorpb"
)

// envelope is an opened one; body and tag lie in the message it came from.
type envelope struct {
	body, tag []byte
	stamp     Stamp
}

// openEnvelope reads the envelope, proves its tag and its version.
func openEnvelope(wire, key, domain []byte) (envelope, error) {
	var e envelope
	if err := checkKey(key); err != nil {
		return e, err
	}
	if len(wire) == 0 {
		return e, &Error{Reason: ErrEmpty, Section: "9.1", Path: "message", Got: "0 bytes", Want: "at least 1"}
	}
	if len(wire) > MaxWire {
		return e, &Error{Reason: ErrTooLarge, Section: "9.1", Path: "message", Got: count(len(wire), "bytes"), Want: atMost(MaxWire)}
	}
	if err := e.parse(wire); err != nil {
		return e, err
	}
	if len(e.body) == 0 {
		return e, &Error{Reason: ErrEmpty, Section: "9.2", Path: "body", Got: "0 bytes", Want: "at least 1"}
	}
	if len(e.body) > MaxBody {
		return e, &Error{Reason: ErrTooLarge, Section: "9.2", Path: "body", Got: count(len(e.body), "bytes"), Want: atMost(MaxBody)}
	}
	if err := e.prove(key, domain); err != nil {
		return e, err
	}
	return e, checkMajor(e.body)
}

// parse walks the envelope's fields. As everywhere in protobuf, the last of a
// field's repetitions counts, and unknown fields are passed over.
func (e *envelope) parse(wire []byte) error {
	return fields(wire, "message", func(num protowire.Number, typ protowire.Type, b []byte) error {
		switch num {
		case 1, 2, 3:
			if typ != protowire.BytesType {
				return wrongType([]string{"body", "tag", "stamp"}[num-1])
			}
		}
		value, _ := protowire.ConsumeBytes(b)
		switch num {
		case 1:
			e.body = value
		case 2:
			e.tag = value
		case 3:
			return e.stamp.parse(value)
		}
		return nil
	})
}

func (s *Stamp) parse(b []byte) error {
	return fields(b, "stamp", func(num protowire.Number, typ protowire.Type, b []byte) error {
		if num > 2 {
			return nil
		}
		if typ != protowire.VarintType {
			return wrongType([]string{"stamp.received_us", "stamp.clock"}[num-1])
		}
		v, _ := protowire.ConsumeVarint(b)
		if num == 1 {
			s.ReceivedUS = int64(v)
		} else {
			s.Clock = biosensorpb.Clock(v)
		}
		return nil
	})
}

// fields calls visit with each field's number, type and value, which is whole.
func fields(b []byte, path string, visit func(protowire.Number, protowire.Type, []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return &Error{Reason: ErrMalformed, Section: "3.1", Path: path, Got: "bytes that are no protobuf"}
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return &Error{Reason: ErrMalformed, Section: "3.1", Path: path, Got: "a field that ends early"}
		}
		if err := visit(num, typ, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// prove compares the tag in constant time (§8).
func (e *envelope) prove(key, domain []byte) error {
	if len(e.tag) != 0 && len(e.tag) != tagBytes {
		return &Error{Reason: ErrMalformed, Section: "8.1", Path: "tag", Got: count(len(e.tag), "bytes"), Want: fmt.Sprint(tagBytes)}
	}
	if key == nil {
		return nil
	}
	if len(e.tag) == 0 {
		return &Error{Reason: ErrTagMissing, Section: "8.1", Path: "tag", Got: "none", Want: "one under the sensor's key"}
	}
	var sum [sha256.Size]byte
	if !hmac.Equal(sign(sum[:0], key, domain, e.body)[:tagBytes], e.tag) {
		return &Error{Reason: ErrTag, Section: "8.1", Path: "tag", Got: "another", Want: "that of the sensor's key"}
	}
	return nil
}

// checkMajor reads the version, the body's first field in every version (§10),
// before anything that another version might have changed.
func checkMajor(body []byte) error {
	if body[0] != keyMajor {
		return &Error{Reason: ErrMalformed, Section: "10.1", Path: "major", Got: "another field first", Want: "field 1 first"}
	}
	major, n := protowire.ConsumeVarint(body[1:])
	switch {
	case n < 0:
		return &Error{Reason: ErrMalformed, Section: "10.1", Path: "major", Got: "bytes that are no protobuf"}
	case major > Major:
		return &Error{Reason: ErrVersion, Section: "10.1", Path: "major", Got: fmt.Sprint(major), Want: atMost(Major)}
	}
	return nil
}

// wireTypes refuses fields that carry another wire type than the schema's.
// The protobuf library files those under unknown fields; firmware's refuses.
func wireTypes(f *biosensorpb.Frame) error {
	if err := wireType(f.ProtoReflect(), ""); err != nil {
		return err
	}
	for i, w := range f.Waveforms {
		if u := w.ProtoReflect(); len(u.GetUnknown()) > 0 {
			if err := wireType(u, at("waveforms", i)+"."); err != nil {
				return err
			}
		}
	}
	for i, r := range f.Readings {
		if u := r.ProtoReflect(); len(u.GetUnknown()) > 0 {
			if err := wireType(u, at("readings", i)+"."); err != nil {
				return err
			}
		}
	}
	for i, ev := range f.Events {
		if u := ev.ProtoReflect(); len(u.GetUnknown()) > 0 {
			if err := wireType(u, at("events", i)+"."); err != nil {
				return err
			}
		}
	}
	if f.State == nil {
		return nil
	}
	return wireType(f.State.ProtoReflect(), "state.")
}

func wireType(m protoreflect.Message, path string) error {
	for b := m.GetUnknown(); len(b) > 0; {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return &Error{Reason: ErrMalformed, Section: "3.1", Path: path, Got: "bytes that are no protobuf"}
		}
		if fd := m.Descriptor().Fields().ByNumber(num); fd != nil {
			return wrongType(path + string(fd.Name()))
		}
		b = b[n:]
	}
	return nil
}

func wrongType(path string) error {
	return &Error{Reason: ErrMalformed, Section: "3.1", Path: path, Got: "another wire type", Want: "the schema's"}
}
