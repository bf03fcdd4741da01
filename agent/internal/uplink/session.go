package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

var (
	errSilence = fmt.Errorf("no word from the cloud for %v", silenceBound)
	errAnew    = errors.New("what waits is sent anew, with its times corrected")
	errStalled = errors.New("the cloud acknowledges nothing")
)

// commandBound is how many commands wait to be carried out. More are dropped:
// the cloud sends them again until it has their Result.
const commandBound = 64

// detailBound is how many bytes of a Result's detail are sent.
const detailBound = 4 << 10

// A session is one connection's life. The loop, in Run's goroutine, owns the
// sender and is the only one that writes; a reader always reads; a third
// goroutine carries out commands.
type session struct {
	*runner
	conn     *websocket.Conn
	sender   *link.Sender
	in       *inbox
	commands chan *linkpb.Command

	// What the loop has to write beside batches.
	pong    *linkpb.Pong
	results []*linkpb.Result
	live    bool
	ping    bool
	waved   bool // the message before was a wave: the lanes' turn
	pinged  int64
}

// session connects, is welcomed and carries on until something ends it, which
// is its error.
func (r *runner) session(ctx context.Context) error {
	conn, client, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	defer conn.CloseNow()
	conn.SetReadLimit(link.MaxMessage)

	welcome, err := r.greet(ctx, conn)
	if err != nil {
		return err
	}
	sender, err := link.NewSender(welcome, r.c.Outbox.Lanes(), r.c.Outbox.HashAt)
	if errors.Is(err, link.ErrDiverged) {
		if failed := r.c.Outbox.Renumber(); failed != nil {
			return errors.Join(err, failed)
		}
		r.state.Renumbered++
		return err
	}
	if err != nil {
		return err
	}
	behind := false
	for _, l := range r.c.Outbox.Lanes() { // what the lost Acks of the last session would have said
		n := sender.Durable(l.Lane)
		if n+1 < l.First {
			behind = true
			if err := r.c.Outbox.Owe(l.Lane, n); err != nil {
				return err
			}
			continue
		}
		if n >= l.First {
			r.state.AckedRecords += n + 1 - l.First
		}
		if err := r.forget(l.Lane, n); err != nil {
			return err
		}
	}
	if behind {
		r.state.Behind++
	}
	// Once what the cloud has is known, or that would be sent anew too.
	if r.c.Welcomed != nil && r.c.Welcomed(ctx, welcome.Now) {
		return errAnew
	}
	s := &session{runner: r, conn: conn, sender: sender, in: newInbox(), commands: make(chan *linkpb.Command, commandBound), pinged: r.mono()}
	return s.run(ctx)
}

// dial connects; its time is bounded by dialTimeout.
func (r *runner) dial(ctx context.Context) (*websocket.Conn, *http.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	settings, err := r.c.TLS()
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", r.state.Cloud, err)
	}
	transport := &http.Transport{TLSClientConfig: settings, DialContext: r.c.Dial}
	if r.c.Dial == nil {
		transport.Proxy = http.ProxyFromEnvironment // a hospital may let nothing out but through one
	}
	client := &http.Client{Transport: transport}
	conn, _, err := websocket.Dial(ctx, r.c.URL, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{link.Subprotocol},
	})
	if err != nil {
		client.CloseIdleConnections()
		return nil, nil, unreached{r.state.Cloud, err}
	}
	if conn.Subprotocol() != link.Subprotocol {
		conn.CloseNow()
		return nil, nil, fmt.Errorf("connect to %s: it does not speak %s", r.state.Cloud, link.Subprotocol)
	}
	return conn, client, nil
}

// unreached is that the cloud cannot be reached, in words that fit a phone.
type unreached struct {
	cloud string
	err   error
}

func (e unreached) Unwrap() error { return e.err }

func (e unreached) Error() string {
	why := e.err.Error()
	var timeout net.Error
	if dns, ok := errors.AsType[*net.DNSError](e.err); ok {
		why = fmt.Sprintf("the name %s cannot be looked up", dns.Name)
	} else if errors.Is(e.err, syscall.ECONNREFUSED) {
		why = "nothing answers there (connection refused)"
	} else if bad, ok := errors.AsType[*tls.CertificateVerificationError](e.err); ok {
		why = "its certificate is not taken: " + bad.Err.Error()
	} else if errors.As(e.err, &timeout) && timeout.Timeout() || errors.Is(e.err, context.DeadlineExceeded) {
		why = "no answer in time"
	} else if op, ok := errors.AsType[*net.OpError](e.err); ok {
		why = op.Err.Error()
	}
	return fmt.Sprintf("connect to %s: %s", e.cloud, why)
}

// greet says Hello and waits for the Welcome.
func (r *runner) greet(ctx context.Context, conn *websocket.Conn) (*linkpb.Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	// The lanes' ends are read before it is asked what is open: an alert whose record
	// is among these is then named, unless it has ended.
	epoch, lanes := r.c.Outbox.Epoch(), r.c.Outbox.Lanes()
	hello := r.c.Hello()
	hello.Version, hello.Epoch, hello.Instance, hello.Lanes = link.Version, epoch[:], r.instance[:], nil
	for _, l := range lanes {
		hello.Lanes = append(hello.Lanes, &linkpb.Lane{Lane: uint32(l.Lane), First: l.First, Last: l.Last, Hash: l.Hash[:]})
	}
	b, err := link.Encode(hello)
	if err != nil {
		return nil, err
	}
	if err := conn.Write(ctx, websocket.MessageBinary, b); err != nil {
		return nil, fmt.Errorf("say hello: %w", err)
	}
	for {
		m, err := read(ctx, conn)
		if err != nil {
			return nil, fmt.Errorf("wait for welcome: %w", err)
		}
		switch m := m.(type) {
		case *linkpb.Welcome:
			return m, nil
		case *linkpb.Refuse:
			return nil, link.Refused(m)
		}
	}
}

// read is the next message that this version knows.
func read(ctx context.Context, conn *websocket.Conn) (proto.Message, error) {
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return nil, err
		}
		m, err := link.Decode(b)
		if !errors.Is(err, link.ErrUnknownMessage) {
			return m, err
		}
	}
}

// run is the session after its Welcome. All that it starts has ended when it
// returns.
func (s *session) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer s.conn.CloseNow()
	defer end(nil)
	s.waves.set(true)
	defer s.waves.set(false)

	silence := time.AfterFunc(silenceBound, func() { end(errSilence) })
	defer silence.Stop()
	others.Go(func() { s.read(ctx, func() { silence.Reset(silenceBound) }) })
	others.Go(func() { s.obey(ctx) })
	s.up()
	err := s.loop(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// read is the reader's goroutine.
func (s *session) read(ctx context.Context, heard func()) {
	for {
		m, err := read(ctx, s.conn)
		if err != nil {
			s.in.put(func(b *mail) { b.err = earlier(b.err, fmt.Errorf("read: %w", err)) })
			return
		}
		heard()
		switch m := m.(type) {
		case *linkpb.Ack:
			s.in.put(func(b *mail) { b.acks[m.Lane] = m })
		case *linkpb.Ping:
			s.in.put(func(b *mail) { b.ping = m })
		case *linkpb.Refuse:
			s.in.put(func(b *mail) { b.err = earlier(b.err, error(link.Refused(m))) })
		case *linkpb.Command:
			select {
			case s.commands <- m:
			default: // the cloud sends it again
			}
		}
	}
}

// earlier keeps the first of two errors: what ended the session, not what followed.
func earlier(first, then error) error {
	if first != nil {
		return first
	}
	return then
}

// obey is the goroutine that carries out commands, one at a time.
func (s *session) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-s.commands:
			r := &linkpb.Result{Id: c.Id, Outcome: "refused", Detail: "this gateway takes no commands"}
			if s.c.Command != nil {
				r = s.c.Command(ctx, c)
			}
			if r == nil {
				continue // not now; it will be sent again
			}
			r.Detail = strings.ToValidUTF8(r.Detail[:min(len(r.Detail), detailBound)], "")
			s.in.put(func(b *mail) { b.results = append(b.results, r) })
		}
	}
}
