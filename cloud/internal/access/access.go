// Package access knows people: their accounts, what each may do and in which
// wards, their sessions, and the log of what they did.
//
// It promises that a password and a session's token are nowhere kept in a form
// that lets anybody sign in; that guessing is slowed (an account is locked for
// 15 minutes after five wrong passwords within 15; after thirty from one address,
// names that have not signed in from there before) and that a name without an
// account behaves and takes as long as one with; that
// sign-ins cannot use up memory; that a session ends when it is not used, after
// a day, or at once when it is revoked; and that a change in the middle of the
// audit log shows, since each row's hash covers the row before.
//
// It does not see requests: api asks it who somebody is and whether that person
// may, and writes a row for what was read. A lock protects the account from
// guessing and not the clinician from being locked out by somebody who guesses:
// sessions that are open go on, and a new password from an administrator or an
// operator lifts it. The lock of an address spares those who work there, at a
// price: at a locked address, and only there, one can tell whose names they are.
package access

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"wardline/cloud/internal/store"
)

// Bounds of sessions and of guessing, in µs where they are times.
const (
	idleEnd     = 12 * hour // a session that nobody used for so long is over
	absoluteEnd = 24 * hour // a session is over whatever happens
	noteUse     = minute    // how exactly the use of a session is noted

	lockAfter     = 5           // wrong passwords for one name …
	addressAfter  = 30          // … and from one address …
	failureWindow = 15 * minute // … within this time
	lockFor       = 15 * minute // refuse further ones for this time

	hashesAtOnce = 2  // each needs Cost.MemoryKiB
	hashesQueued = 32 // sign-ins that may wait for that; more are told to try again

	minute = 60 * 1_000_000
	hour   = 60 * minute
)

// Config is what access needs.
type Config struct {
	Store *store.Store
	Now   func() int64 // µs UTC; nil means the system's
	Log   *slog.Logger // nil means the default
	Cost  Cost         // of a password's hash; zero means Recommended
}

// Access answers who somebody is. Its methods may be called from any goroutine.
type Access struct {
	store *store.Store
	now   func() int64
	log   *slog.Logger
	cost  Cost
	decoy string // the hash that is worked through for names without an account

	slots  chan struct{}
	queued atomic.Int32

	mu      sync.Mutex // guards what follows
	changed chan struct{}
	told    map[string]int64 // when a refusal that repeats was last audited
}

// New makes an Access.
func New(c Config) *Access {
	a := &Access{store: c.Store, now: c.Now, log: c.Log, cost: c.Cost,
		slots: make(chan struct{}, hashesAtOnce), changed: make(chan struct{}), told: map[string]int64{}}
	if a.now == nil {
		a.now = func() int64 { return time.Now().UnixMicro() }
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.cost == (Cost{}) {
		a.cost = Recommended
	}
	a.decoy = decoyHash(a.cost)
	return a
}

// Changed is closed when a session was ended or an account changed next:
// whoever acts for a session over a long time then asks [Access.Check] again.
func (a *Access) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *Access) tellChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// Reason is a stable word for why somebody was refused.
type Reason string

// The reasons.
const (
	WrongPassword Reason = "wrong_password"    // or there is no such account
	Locked        Reason = "locked"            // too many wrong passwords for the account
	TooMany       Reason = "too_many_attempts" // from this address
	Busy          Reason = "busy"              // too many sign-ins at once
	Disabled      Reason = "disabled"          // the account
	NotSignedIn   Reason = "not_signed_in"     // no session, or one that is not known
	SessionOver   Reason = "session_over"      // ended, not used for too long, or a day old
	MayNot        Reason = "may_not"           // the role does not allow it
	OtherWard     Reason = "other_ward"        // the ward is not one of the person's
	BadAccount    Reason = "bad_account"       // what was asked for an account is not possible
	BadText       Reason = "bad_text"          // it is too long, or has characters that would not be seen as they are
	LastOne       Reason = "last_one"          // nobody else could administer
	Exists        Reason = "exists"            // the account
	Unknown       Reason = "unknown"           // the account or session
)

// Refusal is an answer that is no, with a sentence that says why and what to do.
type Refusal struct {
	Reason Reason
	Text   string
	Until  int64 // when it may be tried again, µs UTC; 0 = not a question of time
}

func (r *Refusal) Error() string { return r.Text }
