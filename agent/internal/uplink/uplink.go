// Package uplink is the gateway's end of the link: one session with the cloud at
// a time, for ever.
//
// It promises that a record is forgotten only after the cloud has said that it
// is durable there; that records go out in order and alerts before all else;
// that every command is answered, and answered again when it is repeated; and
// that when Run returns, everything that it started has ended.
//
// It keeps nothing: the outbox does. Live values and waves are sent while there
// is a session and dropped otherwise. It decides nothing about patients, and
// nothing on the gateway waits for it.
package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// Outbox is the part of the gateway's disk that the uplink needs. Its methods
// are called from one goroutine at a time.
type Outbox interface {
	// Lanes is what is held of every lane.
	Lanes() []link.LaneState
	// After is records of a lane that follow seq, in order: at least one when
	// there is one, else as many as fit maxBytes by their Size. Where records
	// were given up there is one hole record in their place ([link.NewHole]).
	After(lane link.Lane, seq uint64, maxBytes int) ([]link.Record, error)
	// Forget drops what is durable in the cloud.
	Forget(lane link.Lane, through uint64) error
	// Owe says that the cloud has a lane only up to through, though it had
	// acknowledged more: what is kept of it is owed again.
	Owe(lane link.Lane, through uint64) error
	// HashAt is the running hash after seq; false when it is not known. It is
	// known after everything that is kept.
	HashAt(lane link.Lane, seq uint64) (link.Hash, bool)
	// Renumber begins a new epoch: everything held is numbered from 1.
	Renumber() error
	// Epoch is this outbox's life.
	Epoch() [16]byte
}

// Config is what the uplink works with. What has no zero meaning is required.
type Config struct {
	URL    string                      // wss://host:port/link
	TLS    func() (*tls.Config, error) // called for each connection, so that a renewed certificate is used
	Outbox Outbox

	Hello func() *linkpb.Hello // all but version, epoch, instance and lanes
	Live  func() *linkpb.Live  // the newest of every bed; nil = nothing to tell. Called about once a second while connected. What fits no message (some 400 beds) is dropped
	Waves <-chan *linkpb.Wave  // pieces of waveforms; drained at all times. nil = none
	Wake  <-chan struct{}      // the outbox has more; never closed. nil = it is looked at once a second

	// Command carries out one command and answers it. It remembers ids durably:
	// a repeated one has no second effect and gets the same answer. nil refuses all.
	Command func(context.Context, *linkpb.Command) *linkpb.Result

	// Welcomed is told the cloud's time (µs UTC) by each Welcome, before anything is
	// sent. true = the outbox has begun a new epoch, so the session begins anew. nil =
	// nobody wants to know.
	Welcomed func(ctx context.Context, now int64) (anew bool)

	// Report is told each change of State and, while connected, its figures about
	// once a second. It must not block. nil = nobody wants to know.
	Report func(State)

	Now  func() int64                                                      // µs UTC; nil = the system's clock
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil = TCP
}

// State is what `status` tells of the link.
type State struct {
	Connected  bool
	Since      int64                // when Connected last changed, µs UTC
	Cloud      string               // host of the URL
	LastError  string               // why the last session ended or could not begin
	Refused    string               // the cloud's reason, while it refuses us
	Technician bool                 // waiting alone will not mend it
	Pending    map[link.Lane]uint64 // records that the cloud does not have yet
	RTT        time.Duration        // from a batch to its acknowledgement
	Window     int                  // bytes that may be unacknowledged

	SentBytes    uint64 // since Run began
	SentRecords  uint64
	AckedRecords uint64
	Sessions     uint64
	Behind       uint64 // times that the cloud lacked what it had acknowledged
	Renumbered   uint64 // times that a new epoch was begun, because the cloud and this disk had diverged
}

func (c Config) check() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "wss" || u.Host == "":
		return nil, errors.New("uplink: the cloud's address must begin with wss://")
	case c.TLS == nil || c.Outbox == nil || c.Hello == nil:
		return nil, errors.New("uplink: TLS, Outbox and Hello are required")
	}
	return u, nil
}
