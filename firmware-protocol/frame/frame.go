// Package frame seals, opens and checks what crosses the firmware wire.
//
// SPEC.md is the law and its section numbers are used throughout. What Open
// returns has passed every limit there, so whoever reads a frame need not
// check it again; what it refuses, it refuses with an *Error that says which
// limit, in which section, at which field. It keeps unknown fields, so a frame
// from a newer minor version can be sealed again without loss.
//
// It does no input or output, holds no state and reads no clock: whether a
// frame is late, repeated or from the future is decided by who knows the time.
package frame

import (
	"crypto/hmac"
	"crypto/sha256"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"wardline/firmware-protocol/biosensorpb"
)

// Major is the protocol's major version (§10).
const Major = 1

// tagBytes is how much of the HMAC travels (§8.1).
const tagBytes = 16

// Stamp is the relay's own word on when it received a frame (§3.2). The tag
// does not cover it. The zero Stamp is that of a relay which gave none.
type Stamp struct {
	ReceivedUS int64 // µs since 1970; counted from the relay's boot if Clock is unset
	Clock      biosensorpb.Clock
}

var marshal = proto.MarshalOptions{Deterministic: true, UseCachedSize: true}

// Seal checks f and appends its envelope to dst. A nil key seals without a
// tag, for sites that set none. The error is an *Error when f breaks a limit.
func Seal(dst []byte, f *biosensorpb.Frame, key []byte, stamp Stamp) ([]byte, error) {
	if err := Check(f); err != nil {
		return dst, err
	}
	return seal(dst, f, nil, key, stamp)
}

// Open reads one message of a frame topic. A nil key accepts frames with and
// without a tag; with a key, a missing or wrong tag is refused before the
// body is looked at. What is returned shares no memory with wire. The Stamp is
// returned with errors that concern the body, too. Errors are *Error.
func Open(wire, key []byte) (*biosensorpb.Frame, Stamp, error) {
	e, err := openEnvelope(wire, key, nil)
	if err != nil {
		return nil, e.stamp, err
	}
	f := new(biosensorpb.Frame)
	if err := proto.Unmarshal(e.body, f); err != nil {
		return nil, e.stamp, &Error{Reason: ErrMalformed, Section: "4", Path: "body", Got: "bytes that are no frame"}
	}
	if err := wireTypes(f); err != nil {
		return nil, e.stamp, err
	}
	if err := Check(f); err != nil {
		return nil, e.stamp, err
	}
	return f, e.stamp, nil
}

// SealRequest checks r and appends its envelope to dst (§6).
func SealRequest(dst []byte, r *biosensorpb.Request, key []byte) ([]byte, error) {
	if err := CheckRequest(r); err != nil {
		return dst, err
	}
	return seal(dst, r, requestDomain, key, Stamp{})
}

// OpenRequest reads one message of a request topic, under the same rules as
// Open. It is what a relay does.
func OpenRequest(wire, key []byte) (*biosensorpb.Request, error) {
	e, err := openEnvelope(wire, key, requestDomain)
	if err != nil {
		return nil, err
	}
	r := new(biosensorpb.Request)
	if err := proto.Unmarshal(e.body, r); err != nil {
		return nil, &Error{Reason: ErrMalformed, Section: "6", Path: "body", Got: "bytes that are no request"}
	}
	if err := CheckRequest(r); err != nil {
		return nil, err
	}
	return r, nil
}

// requestDomain precedes a request's body under the HMAC (§8.2). No frame's
// body begins with it, so neither can pass for the other.
var requestDomain = []byte{0}

// The envelope's fields, each as its key on the wire (§3.1).
const (
	keyBody     = 1<<3 | byte(protowire.BytesType)
	keyTag      = 2<<3 | byte(protowire.BytesType)
	keyStamp    = 3<<3 | byte(protowire.BytesType)
	keyReceived = 1<<3 | byte(protowire.VarintType)
	keyClock    = 2<<3 | byte(protowire.VarintType)
	keyMajor    = 1<<3 | byte(protowire.VarintType)
)

// seal appends the envelope of m, whose limits have been checked.
func seal(dst []byte, m proto.Message, domain, key []byte, stamp Stamp) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return dst, err
	}
	start, size := len(dst), proto.Size(m)
	if size > MaxBody {
		return dst, &Error{Reason: ErrTooLarge, Section: "9.2", Path: "body", Got: count(size, "bytes"), Want: atMost(MaxBody)}
	}
	out := append(dst, keyBody)
	out = protowire.AppendVarint(out, uint64(size))
	body := len(out)
	out, err := marshal.MarshalAppend(out, m)
	if err != nil {
		return dst, &Error{Reason: ErrMalformed, Section: "4", Path: "body", Got: err.Error()}
	}
	if key != nil {
		var sum [sha256.Size]byte
		tag := sign(sum[:0], key, domain, out[body:])
		out = append(out, keyTag, tagBytes)
		out = append(out, tag[:tagBytes]...)
	}
	out = appendStamp(out, stamp)
	if n := len(out) - start; n > MaxWire {
		return dst, &Error{Reason: ErrTooLarge, Section: "9.1", Path: "message", Got: count(n, "bytes"), Want: atMost(MaxWire)}
	}
	return out, nil
}

func appendStamp(out []byte, s Stamp) []byte {
	if s == (Stamp{}) {
		return out
	}
	var buf [24]byte
	b := buf[:0]
	if s.ReceivedUS != 0 {
		b = protowire.AppendVarint(append(b, keyReceived), uint64(s.ReceivedUS))
	}
	if s.Clock != 0 {
		b = protowire.AppendVarint(append(b, keyClock), uint64(s.Clock))
	}
	out = append(out, keyStamp, byte(len(b)))
	return append(out, b...)
}

func sign(dst, key, domain, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(domain)
	mac.Write(body)
	return mac.Sum(dst)
}
