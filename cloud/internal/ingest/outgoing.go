package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// commandBound is how many commands without a Result are under way in a session.
// An agent lets 64 wait and drops the rest; there is room for wishes beside these.
const commandBound = 32

// wishBound is how many wishes wait to be written. At the bound the oldest is
// dropped.
const wishBound = 16

// outgoing is what the writer has to write. It never makes anybody wait and is
// bounded: the newest Ack of a lane stands for those before it.
type outgoing struct {
	signal chan struct{}

	mu      sync.Mutex // guards what follows
	mail    mail
	greeted bool            // the Welcome is written or waits: before it the agent takes no command
	sent    map[string]bool // of the commands that Pending gave last, those that were written
}

type mail struct {
	welcome  *linkpb.Welcome
	refuse   *linkpb.Refuse
	acks     [len(link.Lanes) + 1]*linkpb.Ack
	ping     bool
	pong     *linkpb.Pong
	ask      bool              // Pending is to be asked
	again    bool              // and all that it gives is to be written, also what was before
	commands []*linkpb.Command // of what Pending gave last, what is to be written
	wishes   []*linkpb.Command
}

func newOutgoing() *outgoing { return &outgoing{signal: make(chan struct{}, 1)} }

func (o *outgoing) put(f func(*mail)) {
	o.mu.Lock()
	f(&o.mail)
	o.mu.Unlock()
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// welcome queues the Welcome; commands follow it.
func (o *outgoing) welcome(w *linkpb.Welcome) {
	o.put(func(m *mail) { m.welcome, m.ask, o.greeted = w, true, true })
}

// wish queues a command that Pending does not know.
func (o *outgoing) wish(c *linkpb.Command) {
	o.put(func(m *mail) {
		if len(m.wishes) == wishBound {
			m.wishes = m.wishes[1:]
		}
		m.wishes = append(m.wishes, c)
	})
}

// asks says whether Pending is to be asked now, and whether what was written
// before is to be written again; it is then no longer so.
func (o *outgoing) asks() (ask, again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.greeted {
		return false, false
	}
	ask, again = o.mail.ask, o.mail.again
	o.mail.ask, o.mail.again = false, false
	return ask, again
}

// pending takes what Pending gives in its order, and queues what was not written
// before, or all of it again. What is no longer among it is forgotten.
func (o *outgoing) pending(list []*linkpb.Command, again bool) {
	o.put(func(m *mail) {
		was := o.sent
		o.sent, m.commands = map[string]bool{}, nil
		for _, c := range list[:min(len(list), commandBound)] {
			if was[c.Id] && !again {
				o.sent[c.Id] = true
			} else {
				m.commands = append(m.commands, c)
			}
		}
	})
}

// next is the message to write now, nil for none.
func (o *outgoing) next(now int64) proto.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := &o.mail
	switch {
	case m.refuse != nil:
		r := m.refuse
		o.mail = mail{}
		return r
	case m.welcome != nil:
		w := m.welcome
		m.welcome = nil
		return w
	case m.pong != nil:
		p := m.pong
		m.pong = nil
		return p
	case m.ping:
		m.ping = false
		return &linkpb.Ping{At: now}
	}
	for i, a := range m.acks {
		if a != nil {
			m.acks[i] = nil
			return a
		}
	}
	switch {
	case !o.greeted:
	case len(m.commands) > 0:
		c := m.commands[0]
		m.commands = m.commands[1:]
		o.sent[c.Id] = true
		return c
	case len(m.wishes) > 0:
		c := m.wishes[0]
		m.wishes = m.wishes[1:]
		return c
	}
	return nil
}

// write is the writer's goroutine: the only one that writes.
func (x *session) write(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		for m := x.out.next(x.server.c.Now()); m != nil; m = x.out.next(x.server.c.Now()) {
			b, err := link.Encode(m)
			if err != nil {
				continue // a command that fits no message: it waits, and its alert's next ones with it
			}
			if err := x.conn.Write(ctx, websocket.MessageBinary, b); err != nil {
				x.end(fmt.Errorf("write: %w", err))
				return
			}
		}
		if ask, again := x.out.asks(); ask {
			x.push(ctx, &x.results, work{ask: true, again: again})
		}
		select {
		case <-ctx.Done():
			return
		case <-x.out.signal:
		case <-tick.C:
			x.out.put(func(m *mail) { m.ping, m.ask, m.again = true, true, true })
		}
	}
}

// askPending queues what Pending gives, which is the only source of commands and
// of their order. When it cannot be asked now, it is at the next tick. It runs in
// the worker of results, so that what it is told is never older than a Result
// that was kept.
func (x *session) askPending(ctx context.Context, again bool) {
	if x.server.c.Pending == nil {
		return
	}
	if list, err := x.server.c.Pending(ctx, x.g.ID); err == nil {
		x.out.pending(list, again)
	}
}

// keep stores a Result; only then is its command done with, and may another
// follow. Unless it reports true the command is sent again, and answered again.
func (x *session) keep(ctx context.Context, r *linkpb.Result) bool {
	c := x.server.c.Result
	return c == nil || c(ctx, x.g.ID, r) == nil
}
