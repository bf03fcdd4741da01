package ingest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

var (
	errSilence = fmt.Errorf("no word from the gateway for %v", silenceBound)
	errClosed  = errors.New("the gateway closed the connection")
)

// A session is one connection's life. The goroutine that serves the request
// reads; a second one writes; workers commit, and exist only while they have
// something to do.
type session struct {
	server   *Server
	conn     *websocket.Conn
	g        Gateway
	cert     *x509.Certificate
	hello    *linkpb.Hello
	instance string
	done     chan struct{} // closed when the session has ended, its workers too
	workers  sync.WaitGroup
	out      *outgoing
	end      context.CancelCauseFunc

	alerts, rest, results queue

	// Owned by the alerts queue's worker.
	heldTo   uint64     // alerts up to this seq are from before the session
	since    []alert.ID // of those after it, while some before it are still to come
	folded   bool
	released bool

	mu       sync.Mutex // guards what follows; never held across I/O
	receiver *link.Receiver
	queued   int           // bytes in alerts and rest
	room     chan struct{} // closed when there is room again; nil when nobody waits
	refusal  *link.Refusal // the session is ending by our word
}

func newSession(s *Server, conn *websocket.Conn, g Gateway, cert *x509.Certificate) *session {
	return &session{server: s, conn: conn, g: g, cert: cert, done: make(chan struct{}), out: newOutgoing()}
}

// serve is the session's life after the handshake. admitErr is why the gateway
// is not let in, if it is not.
func (x *session) serve(ctx context.Context, admitErr error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	x.end = end
	var writer sync.WaitGroup
	writer.Go(func() { x.write(ctx) })
	defer writer.Wait()
	defer end(nil)

	if admitErr != nil {
		x.sayNo(ctx, refusalOf(admitErr))
		return
	}
	if refusal := x.greet(ctx); refusal != nil {
		x.sayNo(ctx, refusal)
		return
	}
	if refusal := x.server.foreign(x); refusal != nil {
		x.sayNo(ctx, refusal)
		return
	}
	if refusal := x.server.claim(x); refusal != nil {
		x.sayNo(ctx, refusal)
		return
	}
	defer close(x.done)
	defer x.server.leave(x)
	x.live(ctx)
}

// sayNo refuses and gives the gateway a moment to hear it.
func (x *session) sayNo(ctx context.Context, refusal *link.Refusal) {
	x.refuse(refusal)
	for {
		if _, _, err := x.conn.Read(ctx); err != nil {
			return
		}
	}
}

// refuse tells the gateway why the session ends, and ends it when the gateway
// has hung up or after refuseWithin. What comes meanwhile is not taken.
func (x *session) refuse(refusal *link.Refusal) {
	x.mu.Lock()
	first := x.refusal == nil
	if first {
		x.refusal = refusal
	}
	x.mu.Unlock()
	if first {
		x.out.put(func(m *mail) { m.refuse = refusal.Message() })
		time.AfterFunc(refuseWithin, func() { x.end(refusal) })
	}
}

func (x *session) refused() *link.Refusal {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.refusal
}

// greet waits for the Hello.
func (x *session) greet(ctx context.Context) *link.Refusal {
	late := time.AfterFunc(helloWithin, func() { x.end(errors.New("no hello")) })
	defer late.Stop()
	m, err := x.read(ctx)
	hello, ok := m.(*linkpb.Hello)
	switch {
	case err != nil:
		return &link.Refusal{Reason: link.Protocol, Text: err.Error()}
	case !ok:
		return &link.Refusal{Reason: link.Protocol, Text: "the first message must be a hello"}
	case hello.Version != link.Version:
		return &link.Refusal{
			Reason: link.BadVersion, RetryAfter: 60e6, Technician: true,
			Text: fmt.Sprintf("the gateway speaks version %d of the link, the cloud %d", hello.Version, link.Version),
		}
	}
	x.hello, x.instance = hello, string(hello.Instance)
	return nil
}

// read is the next message that this version knows. Its error is errClosed when
// the gateway hung up, with or without a word.
func (x *session) read(ctx context.Context) (proto.Message, error) {
	for {
		_, b, err := x.conn.Read(ctx)
		if errors.Is(err, io.EOF) {
			return nil, errClosed
		}
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		m, err := link.Decode(b)
		if !errors.Is(err, link.ErrUnknownMessage) {
			return m, err
		}
	}
}

// live is the session from its claim to its end.
func (x *session) live(ctx context.Context) {
	if refusal := x.server.admit(ctx, x.cert); refusal != nil {
		x.sayNo(ctx, refusal)
		return
	}
	at, err := x.cursors(ctx)
	if err != nil {
		x.sayNo(ctx, &link.Refusal{Reason: link.Busy, Text: "the cloud's database does not answer", RetryAfter: 5e6})
		return
	}
	x.receiver = link.NewReceiver(at)
	for _, l := range x.hello.Lanes {
		if link.Lane(l.Lane) == link.Alerts {
			x.heldTo = l.Last
		}
	}
	if x.refused() != nil { // another session has come meanwhile, or this gateway has been revoked
		x.sayNo(ctx, x.refused())
		return
	}
	x.server.counts.sessions.Add(1)
	if x.server.c.Session != nil {
		x.server.c.Session(x.g, true, x.hello, "")
	}
	x.out.welcome(&linkpb.Welcome{Lanes: link.Durable(at), Now: x.server.c.Now(), Limits: &linkpb.Limits{Message: link.MaxMessage}})
	if at[link.Alerts].Seq >= x.heldTo {
		x.push(ctx, &x.alerts, work{folded: true, release: true})
	}
	lapse := x.lapse(ctx)
	defer lapse.Stop()
	fold := time.AfterFunc(foldWithin, func() { x.push(ctx, &x.alerts, work{release: true}) })
	err = x.take(ctx)
	fold.Stop()
	x.over(ctx, err)
}

// lapse asks, when the session's certificate ends, whether it may go on.
func (x *session) lapse(ctx context.Context) *time.Timer {
	left := x.cert.NotAfter.Sub(time.UnixMicro(x.server.c.Now()))
	return time.AfterFunc(left, func() {
		if x.server.c.Lapsed == nil {
			return
		}
		if err := x.server.c.Lapsed(ctx, x.cert); err != nil {
			x.refuse(refusalOf(err))
		}
	})
}

// over joins the workers and tells why it ended. What is still held stays so:
// the next session brings the rest.
func (x *session) over(ctx context.Context, err error) {
	x.end(err)
	x.alerts.close()
	x.rest.close()
	x.results.close()
	x.workers.Wait()
	why := context.Cause(ctx)
	if refusal := x.refused(); refusal != nil {
		why = refusal
	}
	if x.server.c.Session != nil {
		x.server.c.Session(x.g, false, x.hello, why.Error())
	}
}

// cursors is how far each lane is durable.
func (x *session) cursors(ctx context.Context) (at [len(link.Lanes) + 1]link.Cursor, err error) {
	err = x.server.c.Store.View(ctx, func(tx *store.Tx) error {
		at, err = tx.LaneCursors(x.g.ID, x.hello.Epoch)
		return err
	})
	return at, err
}

// take reads until the session is over; its error is why.
func (x *session) take(ctx context.Context) error {
	silence := time.AfterFunc(silenceBound, func() { x.end(errSilence) })
	defer silence.Stop()
	for {
		m, err := x.read(ctx)
		if err != nil {
			return err
		}
		if x.refused() != nil {
			continue // until it hangs up
		}
		silence.Stop()
		err = x.accept(ctx, m)
		silence.Reset(silenceBound)
		if gap, ok := errors.AsType[*link.GapError](err); ok {
			x.server.counts.gaps.Add(1)
			x.refuse(&link.Refusal{Reason: link.Protocol, Text: gap.Error(), RetryAfter: 5e6})
		} else if err != nil {
			x.refuse(&link.Refusal{Reason: link.Protocol, Text: err.Error(), RetryAfter: 30e6, Technician: true})
		}
	}
}

// accept takes one message.
func (x *session) accept(ctx context.Context, m proto.Message) error {
	c := &x.server.c
	switch m := m.(type) {
	case *linkpb.Batch:
		return x.batch(ctx, m)
	case *linkpb.Live:
		m.Beds = slices.DeleteFunc(m.Beds, func(b *linkpb.BedLive) bool { return !x.mine(b.Ward) })
		if c.Live != nil {
			c.Live(x.g, m)
		}
	case *linkpb.Wave:
		if c.Wave != nil && x.mine(m.Ward) {
			c.Wave(x.g, m)
		}
	case *linkpb.Result:
		x.push(ctx, &x.results, work{result: m})
	case *linkpb.Ping:
		x.out.put(func(o *mail) { o.pong = &linkpb.Pong{At: m.At, Now: c.Now()} })
	case *linkpb.Pong:
	default:
		return fmt.Errorf("a gateway does not send a %s", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

func (x *session) mine(ward string) bool { return slices.Contains(x.g.Wards, ward) }
