package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wardline/cloud/internal/api"
	"wardline/cloud/internal/store"
)

// Status is how a cloud is, and what gave way at a bound.
type Status = api.Status

// statusEvery is how often a running cloud writes its status into the database,
// where an operator's command finds it.
const statusEvery = 5 * time.Second

// StatusFresh is how old a status is at most that says how a cloud is now.
const StatusFresh = 3 * statusEvery

// status is how this cloud is.
func (p *parts) status(ctx context.Context) (Status, error) {
	out := Status{
		At: p.c.Now(), Version: Version, Since: p.since, Screens: p.api.Screens(), Dropped: p.hub.Dropped(),
		Link: api.StatusLink(p.ingest.Counts()), // so whatever is counted there is told here, or this does not compile
	}
	err := p.store.View(ctx, func(tx *store.Tx) error {
		t, err := tx.Totals()
		out.Gateways = api.StatusGateways{Connected: t.Connected, Known: t.Gateways}
		out.Odd, out.FeedRows = t.Odd, t.FeedRows
		return err
	})
	if err == nil {
		out.Database, out.Log, err = p.store.Size()
	}
	if err != nil {
		return out, fmt.Errorf("look how the cloud is: %w", err)
	}
	return out, nil
}

// keepStatus writes the status down, as begin did, until ctx ends. It returns early only when
// the store is damaged or closed.
func (p *parts) keepStatus(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := p.noteStatus(ctx)
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("note the status: %w", err)
		}
		if err != nil && ctx.Err() == nil {
			p.c.Log.Error("the status could not be noted, trying again", "error", err)
		}
	}
}

func (p *parts) noteStatus(ctx context.Context) error {
	status, err := p.status(ctx)
	if err != nil {
		return err
	}
	state, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return p.store.Do(ctx, store.Normal, func(tx *store.Tx) error { return tx.PutStatus(status.At, state) })
}

// Status is what the cloud on this data folder said of itself last, and how long
// ago that is. It fails with [ErrNotFound] when none has run.
func (a *Admin) Status(ctx context.Context) (s Status, age time.Duration, err error) {
	err = a.store.View(ctx, func(tx *store.Tx) error {
		at, state, err := tx.Status()
		if err != nil {
			return err
		}
		age = max(0, time.Duration(tx.Now()-at)*time.Microsecond)
		return json.Unmarshal(state, &s)
	})
	return s, age, err
}
