// Package feed lets any number of readers follow what changes in the cloud, and
// shows them what the beds' values are now.
//
// A reader of the [Log] is a cursor, not a queue: it asks for what follows the
// last seq that it saw, and waits for a hint when there is nothing. So a slow
// reader costs no memory, one that reconnects loses nothing, and one whose cursor
// is too old is told so.
//
// The [Hub] beside it holds live values and passes on waveforms. They are not
// records: the newest wins, what cannot be delivered is dropped, and losing all
// of it costs a second of a screen and never data.
package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"wardline/cloud/internal/store"
)

// ErrGap means that what follows a cursor is no longer kept: the reader must
// take a snapshot and go on from its cursor.
var ErrGap = store.ErrGap

// batch is how many rows one call of After reads at most.
const batch = 500

// watchEvery is how soon a change that another process wrote is noticed.
const watchEvery = 250 * time.Millisecond

// Log is the ordered log of changes.
type Log struct {
	store *store.Store

	mu      sync.Mutex // guards what follows
	head    uint64
	changed chan struct{}
}

// New makes a log of what is committed to s. Changes that other processes write
// are noticed only while [Log.Run] runs.
func New(s *store.Store) *Log {
	l := &Log{store: s, changed: make(chan struct{})}
	s.OnCommit(l.hint)
	return l
}

// hint tells every reader that there is something up to last.
func (l *Log) hint(last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last <= l.head {
		return
	}
	l.head = last
	close(l.changed)
	l.changed = make(chan struct{})
}

// Changed is closed at the next change. Ask for it before [Log.After], so that
// nothing falls between.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Head is the cursor after the newest change, for a snapshot taken in the same
// transaction.
func (l *Log) Head(tx *store.Tx) (uint64, error) {
	last, _, err := tx.FeedHead()
	return last, err
}

// After lists the next changes after cursor that concern one of wards (nil =
// every ward), in order, and the cursor to go on from, which passes over what
// does not. There may be more when next is beyond cursor. It fails with [ErrGap]
// when the cursor is too old or from another database.
func (l *Log) After(ctx context.Context, cursor uint64, wards []string) (changes []store.FeedRow, next uint64, err error) {
	next = cursor
	err = l.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.FeedAfter(cursor, batch)
		if err != nil {
			return err
		}
		for _, r := range rows {
			next = r.Seq
			if wards == nil || r.Ward == "" || slices.Contains(wards, r.Ward) {
				changes = append(changes, r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, cursor, fmt.Errorf("read the feed: %w", err)
	}
	return changes, next, nil
}

// Run notices what other processes write, such as an operator's command that
// revokes a gateway, until ctx ends. It looks at one row four times a second,
// which works the same for one node with SQLite and for many with a shared
// database, and needs no second channel that could be lost. It returns early
// only when the store is damaged or closed.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var last uint64
		err := l.store.View(ctx, func(tx *store.Tx) (err error) {
			last, err = l.Head(tx)
			return err
		})
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("watch the feed: %w", err)
		}
		if err == nil {
			l.hint(last)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
