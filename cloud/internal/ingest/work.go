package ingest

import (
	"context"
	"fmt"
	"sync"

	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// queueBound is how many bytes of batches a session may have waiting for their
// commit. At the bound it is not read from: the gateway's disk is the queue.
const queueBound = 1 << 20

// resultBound is how many Results may wait. More are dropped: their commands are
// sent again.
const resultBound = 256

// work is one thing to commit.
type work struct {
	taken   link.Taken
	bytes   int
	folded  bool // no alert from before the session is to come
	release bool // what is held pages, whether all was folded or not
	result  *linkpb.Result
	ask     bool // for the commands that have no Result
	again   bool // and send all of them, also those that were sent
}

// A queue is worked off in order by one goroutine, which exists only while there
// is something in it.
type queue struct {
	mu     sync.Mutex // guards what follows
	items  []work
	busy   bool
	closed bool
}

// push adds w and starts a worker when there is none.
func (x *session) push(ctx context.Context, q *queue, w work) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || w.result != nil && len(q.items) >= resultBound {
		return
	}
	q.items = append(q.items, w)
	if !q.busy {
		q.busy = true
		x.workers.Go(func() { x.work(ctx, q) })
	}
}

// close refuses further work; what is there is still done, or fails quickly
// because the session's context has ended.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// take is all that waits; when that is nothing the worker is done.
func (q *queue) take() []work {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	q.busy = len(items) > 0
	return items
}

// work is a worker's goroutine.
func (x *session) work(ctx context.Context, q *queue) {
	for items := q.take(); items != nil; items = q.take() {
		var batches []link.Taken
		bytes := 0
		ask, again := false, false
		for _, w := range items {
			switch {
			case w.result != nil:
				ask = x.keep(ctx, w.result) || ask
			case w.ask:
				ask, again = true, again || w.again
			case w.release:
				x.commit(ctx, q == &x.alerts, batches)
				batches = nil
				if ctx.Err() == nil && (!w.folded || x.fold()) {
					x.release()
				}
			default:
				batches = append(batches, w.taken)
				bytes += w.bytes
			}
		}
		x.commit(ctx, q == &x.alerts, batches)
		x.free(bytes)
		if ask {
			x.askPending(ctx, again)
		}
	}
}

// batch takes a batch and queues what it brings.
func (x *session) batch(ctx context.Context, b *linkpb.Batch) error {
	x.mu.Lock()
	t, err := x.receiver.Take(b)
	x.mu.Unlock()
	if err != nil {
		return err
	}
	x.server.counts.batches.Add(1)
	if len(t.Records) == 0 {
		x.server.counts.repeats.Add(1)
		x.ack(t.Lane, 0)
		return nil
	}
	q := &x.rest
	if t.Lane == link.Alerts {
		q = &x.alerts
	}
	w := work{taken: t}
	for _, r := range t.Records {
		w.bytes += r.Size()
	}
	x.wait(ctx, w.bytes)
	x.push(ctx, q, w)
	return nil
}

// wait takes room for bytes in the queues, and blocks while there is none.
func (x *session) wait(ctx context.Context, bytes int) {
	for {
		x.mu.Lock()
		if x.queued < queueBound {
			x.queued += bytes
			x.mu.Unlock()
			return
		}
		if x.room == nil {
			x.room = make(chan struct{})
		}
		room := x.room
		x.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return
		}
	}
}

func (x *session) free(bytes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queued -= bytes
	if x.room != nil {
		close(x.room)
		x.room = nil
	}
}

// ack tells the gateway that a lane is durable up to seq, or again how far it is
// when seq is 0.
func (x *session) ack(lane link.Lane, seq uint64) {
	x.mu.Lock()
	a := x.receiver.Commit(lane, seq)
	x.mu.Unlock()
	x.out.put(func(m *mail) { m.acks[lane] = a })
}

// fold tells, once a session, which alerts the gateway knows of, now that all of
// them from before the session have been taken. It reports false when that could
// not be told: then nothing may be released, and the session ends.
func (x *session) fold() bool {
	if x.folded {
		return true
	}
	x.folded = true
	if x.server.c.Known == nil || !x.hello.OpenKnown {
		return true
	}
	open := x.since
	for _, id := range x.hello.OpenAlerts {
		open = append(open, alert.ID(id))
	}
	ctx, cancel := context.WithTimeout(context.Background(), foldWithin)
	defer cancel()
	if err := x.server.c.Known(ctx, x.g, open); err != nil {
		x.end(fmt.Errorf("end alerts that the gateway lost: %w", err)) // the next session does
		return false
	}
	return true
}

// release lets what was held page, once a session.
func (x *session) release() {
	if x.released {
		return
	}
	x.released = true
	if x.server.c.Released == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), foldWithin) // also when the session ends meanwhile
	defer cancel()
	if err := x.server.c.Released(ctx, x.g); err != nil {
		x.end(fmt.Errorf("release held alerts: %w", err)) // the next session does
	}
}
