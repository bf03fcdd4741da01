package uplink

import (
	"context"
	"sync"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// inbox is where the reader leaves what the write loop takes. It never makes
// the reader wait, and it is bounded: Acks are cumulative, so that the newest of
// a lane is enough, and a Ping that was not answered yet gives way to the next.
type inbox struct {
	signal chan struct{}

	mu   sync.Mutex // guards what follows
	mail mail
}

type mail struct {
	acks    [len(link.Lanes) + 1]*linkpb.Ack
	ping    *linkpb.Ping
	results []*linkpb.Result
	err     error // the session is over
}

func newInbox() *inbox { return &inbox{signal: make(chan struct{}, 1)} }

func (b *inbox) put(f func(*mail)) {
	b.mu.Lock()
	f(&b.mail)
	b.mu.Unlock()
	notify(b.signal)
}

func (b *inbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.mail
	b.mail = mail{err: m.err}
	return m
}

func notify(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// waveBound is how many pieces of waveforms wait for the write loop; older ones
// give way to newer.
const waveBound = 64

// waveBox holds the newest pieces of waveforms while there is a session, and
// drops all of them while there is none.
type waveBox struct {
	signal chan struct{}

	mu     sync.Mutex // guards what follows
	open   bool
	pieces []*linkpb.Wave
}

func newWaveBox() *waveBox { return &waveBox{signal: make(chan struct{}, 1)} }

// drain takes from waves until ctx ends, so that whoever makes them never waits.
func (b *waveBox) drain(ctx context.Context, waves <-chan *linkpb.Wave) {
	for {
		select {
		case <-ctx.Done():
			return
		case w, ok := <-waves:
			if !ok {
				waves = nil
				continue
			}
			b.put(w)
		}
	}
}

func (b *waveBox) put(w *linkpb.Wave) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return
	}
	if len(b.pieces) == waveBound {
		b.pieces = b.pieces[:copy(b.pieces, b.pieces[1:])]
	}
	b.pieces = append(b.pieces, w)
	notify(b.signal)
}

func (b *waveBox) take() *linkpb.Wave {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pieces) == 0 {
		return nil
	}
	w := b.pieces[0]
	b.pieces = b.pieces[:copy(b.pieces, b.pieces[1:])]
	return w
}

// set opens the box for a session, or closes and empties it.
func (b *waveBox) set(open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open, b.pieces = open, nil
}
