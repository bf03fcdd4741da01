package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wardline/cloud/internal/store"
)

// lookEvery is how often the fleet looks who has fallen silent.
const lookEvery = time.Second

// Begin notes that no gateway has a session yet: those whose link was up when
// the cloud stopped are down as of now, and have the board's usual time to come
// back. Call it once, before sessions are taken.
func (f *Fleet) Begin(ctx context.Context) error {
	list, err := f.Gateways(ctx)
	if err != nil {
		return fmt.Errorf("read gateways: %w", err)
	}
	for _, g := range list {
		if g.Link != store.LinkUp {
			continue
		}
		if err := f.setLink(ctx, g.ID, store.LinkDown, "the cloud was started", f.c.Now()); err != nil {
			return err
		}
	}
	return nil
}

// Run shows silent gateways as down, ends the sessions of those that another
// process revoked, and tells the audit log of refusals that have no row of their
// own, until ctx ends. It returns early only when the store is
// damaged or closed.
func (f *Fleet) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var changed <-chan struct{}
		if f.c.Changed != nil {
			changed = f.c.Changed()
		}
		err := errors.Join(f.cutRevoked(ctx), f.lookForSilent(ctx), f.tellMore(ctx))
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("watch gateways: %w", err)
		}
		if err != nil && ctx.Err() == nil {
			f.c.Log.Error("gateways could not be watched, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// cutRevoked ends sessions whose gateway was revoked meanwhile.
func (f *Fleet) cutRevoked(ctx context.Context) error {
	var revoked []string
	err := f.c.Store.View(ctx, func(tx *store.Tx) (err error) {
		revoked, err = tx.RevokedGateways()
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range revoked {
		f.mu.Lock()
		connected := f.sessions[id] != nil
		f.mu.Unlock()
		if connected {
			f.c.Disconnect(id, revokedText)
		}
	}
	return nil
}

// lookForSilent makes the rows fit who has been heard.
func (f *Fleet) lookForSilent(ctx context.Context) error {
	type turn struct {
		id    string
		state string
		heard int64
	}
	now := f.c.Now()
	var turns []turn
	f.mu.Lock()
	for id, s := range f.sessions {
		switch up := now-s.heard < SilentAfter.Microseconds(); {
		case up == s.up:
			continue
		case up:
			turns = append(turns, turn{id, store.LinkUp, s.heard})
		default:
			turns = append(turns, turn{id, store.LinkDown, s.heard})
		}
		s.up = !s.up
	}
	f.mu.Unlock()
	var errs []error
	for _, t := range turns {
		why := ""
		if t.state == store.LinkDown {
			why = fmt.Sprintf("no word for %s", SilentAfter)
		}
		if err := f.setLink(ctx, t.id, t.state, why, t.heard); err != nil {
			errs = append(errs, err)
			f.notSet(t.id)
		}
	}
	return errors.Join(errs...)
}

// notSet takes back that a session's row was written.
func (f *Fleet) notSet(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[id]; s != nil {
		s.up = !s.up
	}
}
