package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wardline/cloud/internal/store"
)

// Bounds of what refusals write into the audit log, which is never shortened, in
// rows a minute: of one who is refused, and of all of a sort. Strangers are told
// apart by their address, because they can call themselves anything; gateways,
// which have a certificate of ours, by their id.
const (
	rowsOfStranger  = 5
	rowsOfStrangers = 20
	rowsOfGateway   = 5
	rowsOfGateways  = 60
)

// tries counts tries a minute, by whom and in all. Its memory is bounded by all.
type tries struct {
	each, all int // a minute

	mu     sync.Mutex // guards what follows
	minute int64
	n      int
	of     map[string]int
}

func (t *tries) allow(whom string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := now.Unix() / 60; m != t.minute || t.of == nil {
		t.minute, t.n, t.of = m, 0, map[string]int{}
	}
	if t.n >= t.all || t.of[whom] >= t.each {
		return false
	}
	t.n++
	t.of[whom]++
	return true
}

// more counts what was refused without a row of its own, until one row tells of
// all of it. What a cloud that stops has not told yet, at most a minute's, is lost.
type more struct {
	mu   sync.Mutex     // guards what follows
	of   map[string]int // by what was refused, of which there are few
	told int64          // the minute
}

func (m *more) add(what string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]int{}
	}
	m.of[what] += n
}

// take gives what is to be told, once a minute.
func (m *more) take(now time.Time) map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Unix()/60 == m.told || len(m.of) == 0 {
		return nil
	}
	out := m.of
	m.of, m.told = nil, now.Unix()/60
	return out
}

// stranger audits that somebody without a certificate of ours was sent away.
func (f *Fleet) stranger(ctx context.Context, r Row) error {
	return f.refused(ctx, &f.strangers, r.From, r)
}

// refused audits a refusal, or counts it when whom has had rows enough.
func (f *Fleet) refused(ctx context.Context, t *tries, whom string, r Row) error {
	if !t.allow(whom, time.UnixMicro(f.c.Now())) {
		f.more.add(r.What, 1)
		return nil
	}
	f.c.Log.Warn("refused", "what", r.What, "who", r.Who, "on", r.On, "from", r.From, "why", r.Why)
	r.Refused = true
	err := f.c.Store.Do(ctx, store.Normal, func(tx *store.Tx) error { return f.c.Audit(tx, r) })
	if err != nil {
		return fmt.Errorf("audit a refusal: %w", err)
	}
	return nil
}

// tellMore audits how many more were refused than have a row of their own.
func (f *Fleet) tellMore(ctx context.Context) error {
	var errs []error
	for what, n := range f.more.take(time.UnixMicro(f.c.Now())) {
		row := Row{Who: "several", What: what, Refused: true, Why: fmt.Sprintf("%d more refused", n)}
		err := f.c.Store.Do(ctx, store.Normal, func(tx *store.Tx) error { return f.c.Audit(tx, row) })
		if err != nil {
			f.more.add(what, n)
			errs = append(errs, fmt.Errorf("audit refusals: %w", err))
		}
	}
	return errors.Join(errs...)
}
