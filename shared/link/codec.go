package link

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"wardline/shared/link/linkpb"
)

// Encode writes one message: m is one of linkpb's Hello, Welcome, Refuse, Batch,
// Ack, Live, Wave, Command, Result, Ping and Pong. It fails when the message
// would be longer than [MaxMessage].
func Encode(m proto.Message) ([]byte, error) {
	w, err := wrap(m)
	if err != nil {
		return nil, err
	}
	b, err := proto.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name(m), err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode %s: %d bytes are more than the %d of a message", name(m), len(b), MaxMessage)
	}
	return b, nil
}

// Decode reads one message and checks what every reader relies on: lanes that
// exist, ids and hashes of 16 bytes, sizes within the limits. Its result is one
// of the types that [Encode] takes.
func Decode(b []byte) (proto.Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("decode: %d bytes are more than the %d of a message", len(b), MaxMessage)
	}
	var w linkpb.Message
	if err := proto.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	m := unwrap(&w)
	if m == nil {
		return nil, ErrUnknownMessage
	}
	if err := check(m); err != nil {
		return nil, fmt.Errorf("decode %s: %w", name(m), err)
	}
	return m, nil
}

// ErrUnknownMessage means a message of a kind that this version does not know:
// it is passed over.
var ErrUnknownMessage = errors.New("decode: a message of no known kind")

func name(m proto.Message) string { return string(m.ProtoReflect().Descriptor().Name()) }

func wrap(m proto.Message) (*linkpb.Message, error) {
	switch m := m.(type) {
	case *linkpb.Hello:
		return &linkpb.Message{Body: &linkpb.Message_Hello{Hello: m}}, nil
	case *linkpb.Welcome:
		return &linkpb.Message{Body: &linkpb.Message_Welcome{Welcome: m}}, nil
	case *linkpb.Refuse:
		return &linkpb.Message{Body: &linkpb.Message_Refuse{Refuse: m}}, nil
	case *linkpb.Batch:
		return &linkpb.Message{Body: &linkpb.Message_Batch{Batch: m}}, nil
	case *linkpb.Ack:
		return &linkpb.Message{Body: &linkpb.Message_Ack{Ack: m}}, nil
	case *linkpb.Live:
		return &linkpb.Message{Body: &linkpb.Message_Live{Live: m}}, nil
	case *linkpb.Wave:
		return &linkpb.Message{Body: &linkpb.Message_Wave{Wave: m}}, nil
	case *linkpb.Command:
		return &linkpb.Message{Body: &linkpb.Message_Command{Command: m}}, nil
	case *linkpb.Result:
		return &linkpb.Message{Body: &linkpb.Message_Result{Result: m}}, nil
	case *linkpb.Ping:
		return &linkpb.Message{Body: &linkpb.Message_Ping{Ping: m}}, nil
	case *linkpb.Pong:
		return &linkpb.Message{Body: &linkpb.Message_Pong{Pong: m}}, nil
	}
	return nil, fmt.Errorf("encode: %T is no message of the link", m)
}

func unwrap(w *linkpb.Message) proto.Message {
	switch b := w.Body.(type) {
	case *linkpb.Message_Hello:
		return b.Hello
	case *linkpb.Message_Welcome:
		return b.Welcome
	case *linkpb.Message_Refuse:
		return b.Refuse
	case *linkpb.Message_Batch:
		return b.Batch
	case *linkpb.Message_Ack:
		return b.Ack
	case *linkpb.Message_Live:
		return b.Live
	case *linkpb.Message_Wave:
		return b.Wave
	case *linkpb.Message_Command:
		return b.Command
	case *linkpb.Message_Result:
		return b.Result
	case *linkpb.Message_Ping:
		return b.Ping
	case *linkpb.Message_Pong:
		return b.Pong
	}
	return nil
}

func check(m proto.Message) error {
	switch m := m.(type) {
	case *linkpb.Hello:
		return checkHello(m)
	case *linkpb.Welcome:
		for _, d := range m.Lanes {
			if err := checkLane(d.Lane, d.Hash); err != nil {
				return err
			}
		}
	case *linkpb.Batch:
		return checkBatch(m)
	case *linkpb.Ack:
		return checkLane(m.Lane, noHash)
	case *linkpb.Wave:
		if m.IntervalNum == 0 || m.IntervalDen == 0 {
			return errors.New("an interval of nothing")
		}
	case *linkpb.Command:
		if m.Id == "" {
			return errors.New("no id")
		}
	case *linkpb.Result:
		if m.Id == "" {
			return errors.New("no id")
		}
	}
	return nil
}

func checkHello(m *linkpb.Hello) error {
	if len(m.Epoch) != 16 {
		return fmt.Errorf("an epoch of %d bytes, want 16", len(m.Epoch))
	}
	if len(m.OpenAlerts) > MaxOpenAlerts {
		return fmt.Errorf("%d open alerts, want at most %d", len(m.OpenAlerts), MaxOpenAlerts)
	}
	seen := [len(Lanes) + 1]bool{}
	for _, l := range m.Lanes {
		if err := checkLane(l.Lane, l.Hash); err != nil {
			return err
		}
		if seen[l.Lane] {
			return fmt.Errorf("lane %s twice", Lane(l.Lane))
		}
		seen[l.Lane] = true
		if l.First == 0 || l.First > l.Last+1 || l.Last > maxSeq {
			return fmt.Errorf("lane %s holds %d to %d", Lane(l.Lane), l.First, l.Last)
		}
	}
	return nil
}

// maxSeq is the highest seq: what a signed integer of a database holds.
const maxSeq = 1<<63 - 2

var noHash = make([]byte, 16)

func checkLane(lane uint32, hash []byte) error {
	if lane == 0 || lane > uint32(len(Lanes)) {
		return fmt.Errorf("there is no lane %d", lane)
	}
	if len(hash) != len(Hash{}) {
		return fmt.Errorf("a hash of %d bytes, want %d", len(hash), len(Hash{}))
	}
	return nil
}

func checkBatch(m *linkpb.Batch) error {
	if err := checkLane(m.Lane, noHash); err != nil {
		return err
	}
	if m.First == 0 || m.First > maxSeq {
		return fmt.Errorf("a first seq of %d", m.First)
	}
	if m.Count == 0 || m.Count > MaxRecords {
		return fmt.Errorf("%d records, want 1 to %d", m.Count, MaxRecords)
	}
	return nil
}

// Refusal is a [linkpb.Refuse] as an error: why the cloud will not have this
// gateway, or will no longer.
type Refusal struct {
	Reason     string // one of the words below
	Text       string // a sentence for a technician
	RetryAfter int64  // µs; 0 = the gateway's own back-off
	Technician bool   // waiting alone will not mend it
}

// Reasons of a [Refusal].
const (
	Revoked        = "revoked"
	Expired        = "expired" // its certificate ended: it may do nothing but renew it
	UnknownGateway = "unknown_gateway"
	BadVersion     = "version"
	ForeignWard    = "ward"      // it watches a ward that it is not enrolled for
	Duplicate      = "duplicate" // two gateways have one identity
	Replaced       = "replaced"  // a newer session of the same gateway
	Protocol       = "protocol"  // it wrote what it must not
	Busy           = "busy"
	Stopping       = "stopping"
)

func (r *Refusal) Error() string {
	if r.Text == "" {
		return "refused: " + r.Reason
	}
	return "refused: " + r.Reason + ": " + r.Text
}

// Message is r as it crosses the link.
func (r *Refusal) Message() *linkpb.Refuse {
	return &linkpb.Refuse{Reason: r.Reason, Text: r.Text, RetryAfter: r.RetryAfter, Technician: r.Technician}
}

// Refused is what a Refuse says.
func Refused(m *linkpb.Refuse) *Refusal {
	return &Refusal{Reason: m.Reason, Text: m.Text, RetryAfter: m.RetryAfter, Technician: m.Technician}
}
