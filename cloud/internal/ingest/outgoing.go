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

// commandBound is how many commands without a Result a session keeps. There may
// be more in the database: they are asked for when these are done.
const commandBound = 256

// outgoing is what the writer has to write. It never makes anybody wait and is
// bounded: the newest Ack of a lane stands for those before it.
type outgoing struct {
	signal chan struct{}

	mu   sync.Mutex // guards what follows
	mail mail
	open map[string]*linkpb.Command // sent or to be sent, without a Result
}

type mail struct {
	welcome  *linkpb.Welcome
	refuse   *linkpb.Refuse
	acks     [len(link.Lanes) + 1]*linkpb.Ack
	ping     bool
	pong     *linkpb.Pong
	commands []*linkpb.Command
}

func newOutgoing() *outgoing {
	return &outgoing{signal: make(chan struct{}, 1), open: map[string]*linkpb.Command{}}
}

func (o *outgoing) put(f func(*mail)) {
	o.mu.Lock()
	f(&o.mail)
	o.mu.Unlock()
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// command queues a command unless it is known already.
func (o *outgoing) command(c *linkpb.Command) {
	o.put(func(m *mail) {
		if o.open[c.Id] == nil && len(o.open) < commandBound {
			o.open[c.Id] = c
			m.commands = append(m.commands, c)
		}
	})
}

// answered forgets a command and reports whether none is left.
func (o *outgoing) answered(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, had := o.open[id]
	delete(o.open, id)
	return had && len(o.open) == 0
}

// again queues every command that has no Result yet.
func (o *outgoing) again(now int64) {
	o.put(func(m *mail) {
		m.commands = m.commands[:0:0]
		for id, c := range o.open {
			if c.Deadline > 0 && c.Deadline < now {
				delete(o.open, id)
				continue
			}
			m.commands = append(m.commands, c)
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
	if len(m.commands) > 0 {
		c := m.commands[0]
		m.commands = m.commands[1:]
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
				continue // a command that fits no message; it expires
			}
			if err := x.conn.Write(ctx, websocket.MessageBinary, b); err != nil {
				x.end(fmt.Errorf("write: %w", err))
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-x.out.signal:
		case <-tick.C:
			x.out.put(func(m *mail) { m.ping = true })
			x.out.again(x.server.c.Now())
		}
	}
}

// command sends a command now.
func (x *session) command(c *linkpb.Command) { x.out.command(c) }

// askPending sends every command that the database has no Result of. When it
// cannot be asked now, the next Result or session asks again.
func (x *session) askPending(ctx context.Context) {
	if x.server.c.Pending == nil {
		return
	}
	list, err := x.server.c.Pending(ctx, x.g.ID)
	if err != nil {
		return
	}
	for _, c := range list {
		x.out.command(c)
	}
}

// keep stores a Result; only then is its command done with.
func (x *session) keep(ctx context.Context, r *linkpb.Result) {
	if c := x.server.c.Result; c != nil && c(ctx, x.g.ID, r) != nil {
		return // the command is sent again, and answered again
	}
	if x.out.answered(r.Id) {
		x.askPending(ctx)
	}
}
