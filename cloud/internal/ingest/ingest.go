// Package ingest is the cloud's end of the link: it takes the gateways' sessions
// and what they bring.
//
// It promises that each record of a (gateway, epoch, lane) has its effect once,
// in order, in the same transaction as the lane's cursor; that nothing is
// acknowledged before that transaction is durable; that a record which cannot be
// read is kept raw, counted and told of, and blocks nothing; that a gateway has
// one session; that one that is no longer admitted is cut off at once; and that one
// which watches a ward that is not its own is refused, aloud, before anything that
// it would lose is taken.
//
// It knows no ward, alert or gateway by itself: the functions of [Config] do.
package ingest

import (
	"context"
	"crypto/x509"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// Gateway is who a session belongs to, from its certificate and the fleet.
type Gateway struct {
	Site, ID string
	Wards    []string // the only wards that it may speak of
	From     string   // its network address, for the audit log
}

// Config joins ingest to the rest of the cloud. All functions but Admit may be
// nil; a nil one takes what it is given and does nothing.
//
// Functions with a Tx run inside the transaction that moves the lane's cursor:
// they must be quick, and when they fail, nothing of the batch is kept, the
// session ends and the gateway sends it again. A function that will never take
// a record answers with a [SetAside]: then that record alone is kept raw.
type Config struct {
	Store *store.Store

	// Admit says who shows cert, which TLS has verified; ctx has the values of the
	// request's. An error that is a [link.Refusal] is told to the gateway as it is.
	Admit func(ctx context.Context, cert *x509.Certificate) (Gateway, error)

	// Alerts takes events in their order. Whether the gateway may tell of them is
	// for it to say, by a SetAside. hold: they are records from before
	// this session; page for nothing yet, until Released. late: they were sent long
	// after they were observed.
	Alerts func(tx *store.Tx, g Gateway, events []alert.Event, hold, late bool) error
	Vitals func(tx *store.Tx, g Gateway, s []*linkpb.Summary) error
	Hole   func(tx *store.Tx, g Gateway, lane link.Lane, h *linkpb.Hole) error

	// Odd is told of a record that was kept raw, and why.
	Odd func(tx *store.Tx, g Gateway, lane link.Lane, r link.Record, reason string) error

	// Known follows at most once a session, when the last alert event from before it
	// has been taken and the gateway said which of its alerts are open: open is
	// those, and those that it has told of since. Another alert of the gateway it
	// knows no more.
	Known func(ctx context.Context, g Gateway, open []alert.ID) error

	// Released follows at most once a session: the alerts that were held have all
	// been taken, or 10 s have passed. What is open now pages. A session that ends
	// before leaves what it held to the next one.
	Released func(ctx context.Context, g Gateway) error

	Live func(g Gateway, l *linkpb.Live) // must not block
	Wave func(g Gateway, w *linkpb.Wave) // must not block

	// Pending is the commands that a gateway may be given now, in their order. It
	// is asked after the Welcome, after Wake, after each Result and every 10 s, and
	// is all that a session knows of them: of commands that must not overtake each
	// other it gives one at a time.
	Pending func(ctx context.Context, gateway string) ([]*linkpb.Command, error)
	Result  func(ctx context.Context, gateway string, r *linkpb.Result) error

	// Session is told that a session began (hello is its topology) or ended, and
	// why. For one gateway the calls never overlap and alternate up, down.
	Session func(g Gateway, up bool, hello *linkpb.Hello, why string)

	// Lapsed is asked when the certificate of an open session ends; a
	// [link.Refusal] ends the session. nil = nothing of the kind ends one.
	Lapsed func(ctx context.Context, cert *x509.Certificate) error

	// Duplicate is told, at most once a minute, that two gateways show one
	// identity; one of them is refused.
	Duplicate func(g Gateway, text string)

	// Foreign is told that a gateway is refused because it watches wards that are
	// not its own: once, and again only after it was welcomed or watches others.
	Foreign func(g Gateway, text string)

	// Fault is called with "before commit" and "after commit" around each commit of
	// batches; its error stands for the database's, or for an answer that was lost.
	// nil = nobody does.
	Fault func(point string) error

	Now func() int64 // µs UTC; nil = the system's clock
}

// SetAside is the answer of Alerts, Vitals or Hole to a record that it will
// never take. It is not for failures that may pass, such as the database's.
type SetAside struct{ Reason string }

func (e *SetAside) Error() string { return "set aside: " + e.Reason }
