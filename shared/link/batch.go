package link

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link/linkpb"
)

// Fields of linkpb.Records and linkpb.Record. Batches are the bulk of the link
// and their records are read and written by hand: without a copy of a payload
// and without an object a record.
const (
	fieldRecord   = 1
	fieldKind     = 1
	fieldObserved = 2
	fieldPayload  = 3
)

// NewHole is the record that stands in the place of records h.From to h.To,
// which the outbox had to give up. h.Hash is the lane's running hash after h.To
// as it was; so the hashes of what follows still hold. Holes that touch are
// merged by giving up the old one.
func NewHole(h *linkpb.Hole, observed int64) (Record, error) {
	if h.From == 0 || h.To < h.From || h.To > maxSeq || len(h.Hash) != len(Hash{}) {
		return Record{}, fmt.Errorf("a hole from %d to %d with a hash of %d bytes", h.From, h.To, len(h.Hash))
	}
	p, err := proto.Marshal(h)
	if err != nil {
		return Record{}, fmt.Errorf("encode hole: %w", err)
	}
	return Record{Seq: h.To, Kind: HoleKind, Observed: observed, Payload: p}, nil
}

// ReadHole is the payload of a hole record.
func ReadHole(r Record) (*linkpb.Hole, error) {
	h := new(linkpb.Hole)
	if err := proto.Unmarshal(r.Payload, h); err != nil {
		return nil, fmt.Errorf("read hole: %w", err)
	}
	if h.From == 0 || h.To < h.From || h.To > maxSeq || len(h.Hash) != len(Hash{}) {
		return nil, fmt.Errorf("read hole: from %d to %d with a hash of %d bytes", h.From, h.To, len(h.Hash))
	}
	return h, nil
}

// from is the first seq that r stands for.
func (r Record) from() (uint64, error) {
	if r.Kind != HoleKind {
		return r.Seq, nil
	}
	h, err := ReadHole(r)
	if err != nil {
		return 0, err
	}
	if h.To != r.Seq {
		return 0, fmt.Errorf("a hole to %d at seq %d", h.To, r.Seq)
	}
	return h.From, nil
}

// Pack makes a batch of consecutive records of one lane. It fails when they are
// not consecutive or go over a limit.
func Pack(lane Lane, records []Record, late bool) (*linkpb.Batch, error) {
	if len(records) == 0 || len(records) > MaxRecords {
		return nil, fmt.Errorf("pack %s: %d records, want 1 to %d", lane, len(records), MaxRecords)
	}
	size := 0
	for _, r := range records {
		size += r.Size() + 16
	}
	raw := make([]byte, 0, size)
	var first, next uint64
	for i, r := range records {
		from, err := r.from()
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", lane, err)
		}
		if i == 0 {
			first, next = from, from
		}
		if from != next {
			return nil, fmt.Errorf("pack %s: seq %d after %d", lane, from, next-1)
		}
		if len(r.Payload) > MaxPayload {
			return nil, fmt.Errorf("pack %s: record %d has %d bytes, the limit is %d", lane, r.Seq, len(r.Payload), MaxPayload)
		}
		next = r.Seq + 1
		raw = appendRecord(raw, r)
	}
	if len(raw) > MaxUnpacked {
		return nil, fmt.Errorf("pack %s: %d bytes, the limit is %d", lane, len(raw), MaxUnpacked)
	}
	return &linkpb.Batch{
		Lane: uint32(lane), First: first, Count: uint32(len(records)), Late: late, Packed: s2.Encode(nil, raw),
	}, nil
}

func appendRecord(b []byte, r Record) []byte {
	n := protowire.SizeTag(fieldKind) + protowire.SizeVarint(uint64(r.Kind)) +
		protowire.SizeTag(fieldObserved) + protowire.SizeVarint(uint64(r.Observed)) +
		protowire.SizeTag(fieldPayload) + protowire.SizeBytes(len(r.Payload))
	b = protowire.AppendTag(b, fieldRecord, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(n))
	b = protowire.AppendTag(b, fieldKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(r.Kind))
	b = protowire.AppendTag(b, fieldObserved, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(r.Observed))
	b = protowire.AppendTag(b, fieldPayload, protowire.BytesType)
	return protowire.AppendBytes(b, r.Payload)
}

// Unpack is the records of a batch that [Decode] has let through. Their
// payloads share one buffer. It bounds what it unpacks before it allocates.
func Unpack(b *linkpb.Batch) ([]Record, error) {
	n, err := s2.DecodedLen(b.Packed)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if n > MaxUnpacked {
		return nil, fmt.Errorf("unpack: %d bytes, the limit is %d", n, MaxUnpacked)
	}
	raw, err := s2.Decode(nil, b.Packed)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if b.Count > MaxRecords {
		return nil, fmt.Errorf("unpack: %d records, the limit is %d", b.Count, MaxRecords)
	}
	records := make([]Record, 0, b.Count)
	next := b.First
	for len(raw) > 0 {
		body, n, err := field(raw)
		if err != nil {
			return nil, fmt.Errorf("unpack record %d: %w", next, err)
		}
		if raw = raw[n:]; body == nil {
			continue // a field that this version does not know
		}
		if len(records) == int(b.Count) {
			return nil, fmt.Errorf("unpack: more than the %d records promised", b.Count)
		}
		r, err := readRecord(body, next)
		if err != nil {
			return nil, fmt.Errorf("unpack record %d: %w", next, err)
		}
		records, next = append(records, r), r.Seq+1
	}
	if len(records) != int(b.Count) {
		return nil, fmt.Errorf("unpack: %d records of the %d promised", len(records), b.Count)
	}
	return records, nil
}

// field is the body of the record that raw begins with, nil when it is another
// field, and the bytes that it takes.
func field(raw []byte) (body []byte, n int, err error) {
	num, typ, n := protowire.ConsumeTag(raw)
	if n < 0 {
		return nil, 0, protowire.ParseError(n)
	}
	if num != fieldRecord || typ != protowire.BytesType {
		m := protowire.ConsumeFieldValue(num, typ, raw[n:])
		if m < 0 {
			return nil, 0, protowire.ParseError(m)
		}
		return nil, n + m, nil
	}
	body, m := protowire.ConsumeBytes(raw[n:])
	if m < 0 {
		return nil, 0, protowire.ParseError(m)
	}
	if body == nil {
		body = []byte{}
	}
	return body, n + m, nil
}

func readRecord(b []byte, seq uint64) (Record, error) {
	r := Record{Seq: seq}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return r, protowire.ParseError(n)
		}
		b = b[n:]
		switch {
		case num == fieldKind && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			r.Kind = Kind(v)
		case num == fieldObserved && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			r.Observed = int64(v)
		case num == fieldPayload && typ == protowire.BytesType:
			r.Payload, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return r, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return place(r)
}

// place gives a hole the seq that it ends at, and checks the record's size.
func place(r Record) (Record, error) {
	if len(r.Payload) > MaxPayload {
		return r, fmt.Errorf("%d bytes, the limit is %d", len(r.Payload), MaxPayload)
	}
	if r.Seq > maxSeq {
		return r, errors.New("a seq past the last")
	}
	if r.Kind != HoleKind {
		return r, nil
	}
	h, err := ReadHole(r)
	if err != nil {
		return r, err
	}
	if h.From != r.Seq {
		return r, fmt.Errorf("a hole from %d", h.From)
	}
	r.Seq = h.To
	return r, nil
}
