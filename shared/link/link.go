// Package link is the protocol between a gateway and the cloud: what crosses
// (link.proto), and the two state machines that carry an outbox's records over
// connections that break.
//
// It promises, with [Sender] on the gateway and [Receiver] in the cloud, that
// each record of a lane is taken once, in order, and without a hole that the
// cloud does not know of, whatever messages and acknowledgements are lost or
// repeated; that an alert never waits for more than one message of something
// else; and that no lane starves. Reading what the other end wrote never
// panics and never takes more memory than the limits below.
//
// It is pure: messages and time in, messages out. It knows no socket, clock,
// disk or goroutine: those belong to uplink and ingest.
package link

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Version is the protocol's, and Subprotocol its name in the WebSocket handshake.
const (
	Version     = 1
	Subprotocol = "wardline.link.v1"
)

// Sizes in bytes.
const (
	MaxMessage  = 64 << 10  // of one message on the wire, either way: each end's read limit
	MaxPayload  = 48 << 10  // of one record
	MaxUnpacked = 128 << 10 // of a batch's records before compression
	MaxRecords  = 4096      // in one batch

	// MaxOpenAlerts is how many open alerts a Hello may name: 13.3 KiB, which fit
	// beside the largest topology. A gateway with more leaves them out, and says
	// that they are not known.
	MaxOpenAlerts = 400

	// batchBytes is how much of a lane the sender reads for one batch: small
	// enough that it fits MaxMessage even when nothing can be compressed.
	batchBytes = 60 << 10
)

// Lane is one strictly ordered queue of the outbox, with its own seq.
type Lane uint8

// The lanes. Status and waves are reserved.
const (
	Alerts Lane = 1
	Status Lane = 2
	Vitals Lane = 3
	Waves  Lane = 4
)

// Lanes are all lanes, most urgent first.
var Lanes = [...]Lane{Alerts, Status, Vitals, Waves}

// Valid reports whether l is one of [Lanes].
func (l Lane) Valid() bool { return l >= Alerts && l <= Waves }

// String is the lane's word.
func (l Lane) String() string {
	switch l {
	case Alerts:
		return "alerts"
	case Status:
		return "status"
	case Vitals:
		return "vitals"
	case Waves:
		return "waves"
	}
	return fmt.Sprintf("lane %d", uint8(l))
}

// liveBound is how old, in µs, a record of the lane may be and still count as
// live when it is sent; an older one is late.
func (l Lane) liveBound() int64 {
	if l == Alerts {
		return 10e6
	}
	return 60e6
}

// weight is the lane's share of the link when several have something to send.
func (l Lane) weight() int64 {
	switch l {
	case Alerts:
		return 8
	case Status:
		return 4
	case Vitals:
		return 2
	}
	return 1
}

// Kind says how a record's payload is read. A cloud that does not know a kind
// keeps the record raw.
type Kind uint32

// The kinds, as in link.proto.
const (
	AlertEvent    Kind = 1 // JSON of one alert.Event, lane Alerts
	VitalsSummary Kind = 2 // linkpb.Summary, lane Vitals
	HoleKind      Kind = 3 // linkpb.Hole: stands for records that were given up, see [NewHole]
)

// Record is one item of the outbox.
type Record struct {
	Seq      uint64 // its place in its lane, from 1; a hole's is the last seq it covers
	Kind     Kind
	Observed int64 // when it happened, µs UTC by the gateway's clock
	Payload  []byte
}

// Size is what the record counts for in batches and windows, in bytes.
func (r Record) Size() int { return len(r.Payload) + 24 }

// Hash is a lane's running hash after a record: 16 bytes that depend on every
// record of the lane before it. The zero Hash is that of an empty lane.
type Hash [16]byte

// Next is the running hash after r: the first 16 bytes of SHA-256 over h, seq,
// kind, observed (8, 4 and 8 bytes, big-endian) and payload.
//
// Next is for ordinary records. What a hole covers has been hashed before it
// was given up; the hole carries the hash after it.
func (h Hash) Next(r Record) Hash {
	var head [36]byte
	copy(head[:], h[:])
	binary.BigEndian.PutUint64(head[16:], r.Seq)
	binary.BigEndian.PutUint32(head[24:], uint32(r.Kind))
	binary.BigEndian.PutUint64(head[28:], uint64(r.Observed))
	d := sha256.New()
	d.Write(head[:])
	d.Write(r.Payload)
	var sum [sha256.Size]byte
	d.Sum(sum[:0])
	return Hash(sum[:16])
}

// LaneState is what an outbox holds of one lane.
type LaneState struct {
	Lane  Lane
	Kept  uint64 // lowest seq that can be sent; below First when what the cloud has is kept for a while
	First uint64 // lowest seq that the cloud does not have, as far as is known; Last+1 when it has all
	Last  uint64 // highest seq ever given in this epoch; 0 = none yet
	Hash  Hash   // after Last
}

// Pending is how many records (counting each that a hole covers) the cloud is owed.
func (s LaneState) Pending() uint64 { return s.Last + 1 - s.First }
