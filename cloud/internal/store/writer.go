package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

const (
	queueLen = 256 // functions of one urgency that may wait for the writer; more of them block in Do
	groupLen = 128 // functions that share one commit at most
)

// A job is one function that waits for the writer.
type job struct {
	urgency Urgency
	f       func(*Tx) error
	alone   func() error // instead of f: runs while the writer holds no connection
	state   atomic.Int32
	done    chan struct{}
	err     error // set before done is closed
}

const (
	waiting int32 = iota
	taken
	abandoned
)

// Do runs f in a transaction on the one writer and returns nil when it is
// durable, or f's error, and then nothing of f's is kept. Functions that wait
// together share a commit, those of urgency High first; f may be
// asked to run only once. ctx bounds the wait for the writer; a commit in flight
// is always seen through. f must be quick, must use only its tx, and must not
// call Do.
func (s *Store) Do(ctx context.Context, u Urgency, f func(tx *Tx) error) error {
	if err := s.Damage(); err != nil {
		return err
	}
	return s.wait(ctx, &job{urgency: u, f: f, done: make(chan struct{})})
}

// alone runs f between two commits, with the writing connection free.
func (s *Store) alone(ctx context.Context, f func() error) error {
	return s.wait(ctx, &job{alone: f, done: make(chan struct{})})
}

func (s *Store) wait(ctx context.Context, j *job) error {
	queue := s.normal
	if j.urgency == High {
		queue = s.high
	}
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	select {
	case queue <- j:
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer: %w", context.Cause(ctx))
	case <-s.closing:
		return ErrClosed
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, abandoned) {
			return fmt.Errorf("wait for the writer: %w", context.Cause(ctx))
		}
		<-j.done
	case <-s.closing:
		if j.state.CompareAndSwap(waiting, abandoned) {
			return ErrClosed
		}
		<-j.done
	}
	return j.err
}

// write is the writer's goroutine; it ends when the store is closing.
func (s *Store) write() {
	w := &session{pool: s.db.Write, begin: "BEGIN IMMEDIATE"}
	defer w.drop()
	for {
		first := s.next()
		if first == nil {
			return
		}
		group := s.gather(first)
		last, err := s.commit(w, group)
		for _, j := range group {
			if err != nil && j.err == nil {
				j.err = err
			}
			close(j.done)
		}
		if err == nil && last > 0 {
			s.committed(last)
		}
	}
}

// next waits for a job, urgent ones first; nil when the store is closing.
func (s *Store) next() *job {
	select {
	case <-s.closing:
		return nil
	default:
	}
	select {
	case j := <-s.high:
		return j
	default:
	}
	select {
	case j := <-s.high:
		return j
	case j := <-s.normal:
		return j
	case <-s.closing:
		return nil
	}
}

// gather takes what waits at this moment, urgent jobs first, and leaves out
// those whose caller has gone. A job that runs alone makes a group of its own.
func (s *Store) gather(first *job) []*job {
	var group []*job
	take := func(j *job) {
		if j.state.CompareAndSwap(waiting, taken) {
			group = append(group, j)
		}
	}
	take(first)
	for _, queue := range []chan *job{s.high, s.normal} {
		for len(group) < groupLen && len(queue) > 0 {
			take(<-queue)
		}
	}
	slices.SortStableFunc(group, func(a, b *job) int { return cmp.Compare(b.urgency, a.urgency) })
	return group
}

// commit runs the group in one transaction. An error of its own is everybody's;
// a job's is left in the job.
func (s *Store) commit(w *session, group []*job) (last uint64, err error) {
	group = s.runAlone(w, group)
	if len(group) == 0 {
		return 0, nil
	}
	ctx := context.Background() // a cancelled write costs the connection
	if err := w.open(ctx); err != nil {
		return 0, s.check(fmt.Errorf("begin: %w", err))
	}
	defer w.rollback()
	tx := &Tx{store: s, session: w, ctx: ctx}
	if len(group) == 1 {
		if err := s.check(group[0].f(tx)); err != nil {
			return 0, err // which undoes it all, at no cost: a savepoint keeps a copy of each page that is written
		}
	} else {
		for _, j := range group {
			if err := tx.savepoint(j); err != nil {
				return 0, s.check(err)
			}
		}
	}
	if last, err = tx.numberFeed(); err != nil {
		return 0, s.check(err)
	}
	if err := w.commit(); err != nil {
		return 0, s.check(fmt.Errorf("commit: %w", err))
	}
	s.beds.keep(tx.newBeds)
	return last, nil
}

// runAlone runs the jobs that want the connection free, and returns the others.
func (s *Store) runAlone(w *session, group []*job) []*job {
	var rest []*job
	for _, j := range group {
		if j.alone == nil {
			rest = append(rest, j)
			continue
		}
		w.drop()
		j.err = s.check(j.alone())
	}
	return rest
}

// savepoint runs one job; what it wrote is undone when it fails.
func (tx *Tx) savepoint(j *job) error {
	if _, err := tx.Exec(`SAVEPOINT job`); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	feed := len(tx.feed)
	if j.err = tx.store.check(j.f(tx)); j.err == nil {
		_, err := tx.Exec(`RELEASE job`)
		return err
	}
	tx.feed = tx.feed[:feed]
	tx.newBeds = nil // an earlier job's are found again by a query
	if errors.Is(j.err, ErrDamaged) {
		return j.err
	}
	if _, err := tx.Exec(`ROLLBACK TO job`); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	_, err := tx.Exec(`RELEASE job`)
	return err
}
