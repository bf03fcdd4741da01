package uplink

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"wardline/shared/link"
)

// Times of the life of sessions.
const (
	dialTimeout  = 20 * time.Second // to connect, and again to be welcomed
	pingEvery    = 10 * time.Second
	silenceBound = 25 * time.Second // without any message the session is over
	tickEvery    = time.Second      // live values, figures

	minWait    = 500 * time.Millisecond // before the next attempt
	maxWait    = 30 * time.Second
	maxRefused = time.Hour        // the longest Retry-After that is believed
	goodFor    = 10 * time.Second // a session that lasted so long starts the back-off anew
)

// Run keeps a session with the cloud until ctx ends, which is the only way that
// it ends once it has begun; its error is nil then. It fails at once when c
// cannot work.
func Run(ctx context.Context, c Config) error {
	u, err := c.check()
	if err != nil {
		return err
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	r := &runner{c: c, begun: time.Now(), waves: newWaveBox()}
	rand.Read(r.instance[:])
	r.state = State{Cloud: u.Host, Since: c.Now()}

	drained := make(chan struct{})
	go func() { defer close(drained); r.waves.drain(ctx, c.Waves) }()
	defer func() { <-drained }()

	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := r.session(ctx)
		if time.Since(began) >= goodFor {
			attempt = 0
		}
		if ctx.Err() != nil {
			err = nil // we are being stopped: no fault of the link
		}
		r.down(err)
		wait(ctx, backOff(attempt, err))
	}
	return nil
}

// A runner is one Run. All of it belongs to Run's goroutine but waves, which
// guards itself.
type runner struct {
	c        Config
	begun    time.Time
	instance [16]byte
	waves    *waveBox
	state    State
}

// mono is µs since Run began, on the clock that never jumps.
func (r *runner) mono() int64 { return time.Since(r.begun).Microseconds() }

// backOff is how long to wait before the next attempt: random between half a
// second and a bound that doubles from one second to thirty, or what the cloud
// asked for when that is longer.
func backOff(attempt int, err error) time.Duration {
	bound := min(maxWait, time.Second<<min(attempt, 10))
	d := minWait + mathrand.N(bound-minWait)
	if refused, ok := errors.AsType[*link.Refusal](err); ok {
		asked := time.Duration(max(0, min(maxRefused.Microseconds(), refused.RetryAfter))) * time.Microsecond
		d = max(d, asked+mathrand.N(asked/8+1))
	}
	return d
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// up and down are the state's two changes.
func (r *runner) up() {
	r.state.Connected, r.state.Since = true, r.c.Now()
	r.state.LastError, r.state.Refused, r.state.Technician = "", "", false
	r.state.Sessions++
	r.report()
}

func (r *runner) down(err error) {
	if r.state.Connected {
		r.state.Connected, r.state.Since = false, r.c.Now()
	}
	r.state.RTT, r.state.Window = 0, 0
	r.state.Refused, r.state.Technician = "", false
	if err != nil {
		r.state.LastError = err.Error()
	}
	if refused, ok := errors.AsType[*link.Refusal](err); ok {
		r.state.Refused, r.state.Technician = refused.Reason, refused.Technician
	}
	r.report()
}

func (r *runner) report() {
	if r.c.Report == nil {
		return
	}
	s := r.state
	s.Pending = map[link.Lane]uint64{}
	for _, l := range r.c.Outbox.Lanes() {
		s.Pending[l.Lane] = l.Pending()
	}
	r.c.Report(s)
}
