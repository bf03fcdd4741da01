package uplink

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// box is an outbox in memory.
type box struct {
	mu    sync.Mutex
	epoch [16]byte
	lanes map[link.Lane]*boxLane
	wake  chan struct{}
	// forgotten too early is what a test must see
	durable func(lane link.Lane, through uint64) bool
	early   bool
	owed    []link.LaneState // as Owe was told
}

type boxLane struct {
	first   uint64
	base    link.Hash
	records []link.Record
	hashes  []link.Hash
}

func newBox() *box {
	b := &box{lanes: map[link.Lane]*boxLane{}, wake: make(chan struct{}, 1)}
	rand.Read(b.epoch[:])
	for _, l := range link.Lanes {
		b.lanes[l] = &boxLane{first: 1}
	}
	return b
}

func (l *boxLane) last() uint64 { return l.first + uint64(len(l.records)) - 1 }

func (l *boxLane) put(r link.Record) {
	h := l.base
	if n := len(l.hashes); n > 0 {
		h = l.hashes[n-1]
	}
	r.Seq = l.last() + 1
	l.records, l.hashes = append(l.records, r), append(l.hashes, h.Next(r))
}

func (b *box) put(lane link.Lane, texts ...string) {
	b.mu.Lock()
	for _, text := range texts {
		b.lanes[lane].put(link.Record{Kind: link.AlertEvent, Observed: time.Now().UnixMicro(), Payload: []byte(text)})
	}
	b.mu.Unlock()
	notify(b.wake)
}

func (b *box) Lanes() (list []link.LaneState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, lane := range link.Lanes {
		l := b.lanes[lane]
		h := l.base
		if n := len(l.hashes); n > 0 {
			h = l.hashes[n-1]
		}
		list = append(list, link.LaneState{Lane: lane, Kept: l.first, First: l.first, Last: l.last(), Hash: h})
	}
	return list
}

func (b *box) After(lane link.Lane, seq uint64, maxBytes int) (list []link.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := 0
	if l := b.lanes[lane]; seq+1 < l.first { // forgotten, since the cloud once had it
		hole, err := link.NewHole(&linkpb.Hole{From: seq + 1, To: l.first - 1, Hash: l.base[:]}, 1)
		return []link.Record{hole}, err
	}
	for _, r := range b.lanes[lane].records {
		if r.Seq <= seq {
			continue
		}
		if size += r.Size(); len(list) > 0 && size > maxBytes {
			break
		}
		list = append(list, r)
	}
	return list, nil
}

func (b *box) Forget(lane link.Lane, through uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.durable != nil && !b.durable(lane, through) {
		b.early = true
	}
	l := b.lanes[lane]
	for len(l.records) > 0 && l.first <= through {
		l.base, l.first = l.hashes[0], l.first+1
		l.records, l.hashes = l.records[1:], l.hashes[1:]
	}
	return nil
}

func (b *box) Owe(lane link.Lane, through uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed = append(b.owed, link.LaneState{Lane: lane, First: through + 1})
	return nil
}

func (b *box) HashAt(lane link.Lane, seq uint64) (link.Hash, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	switch {
	case seq+1 == l.first:
		return l.base, true
	case seq < l.first || seq > l.last():
		return link.Hash{}, false
	}
	return l.hashes[seq-l.first], true
}

func (b *box) Renumber() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	rand.Read(b.epoch[:])
	for _, l := range b.lanes {
		held := l.records
		*l = boxLane{first: 1}
		for _, r := range held {
			l.put(r)
		}
	}
	return nil
}

func (b *box) Epoch() [16]byte { b.mu.Lock(); defer b.mu.Unlock(); return b.epoch }

// cloud is the other end: link.Receiver behind real mutual TLS on in-memory
// connections, with faults.
type cloud struct {
	t     *testing.T
	ca    *pki.CA
	conns chan net.Conn
	box   *box

	mu       sync.Mutex // guards what follows
	at       map[string][len(link.Lanes) + 1]link.Cursor
	taken    []string
	results  []string
	pending  map[string]*linkpb.Command
	dropAck  func(*linkpb.Ack) bool
	dropRes  func(*linkpb.Result) bool
	refuse   *linkpb.Refuse // the answer to Hello
	mute     bool           // it answers nothing after Welcome
	slow     time.Duration  // between two messages read
	sessions []time.Time
	seen     []proto.Message // everything that came but batches
	current  *websocket.Conn
	raw      []net.Conn
	down     bool
}

func (c *cloud) serve() {
	cert, key, err := c.ca.SignServer([]string{"cloud.test"}, time.Now(), 500*time.Hour)
	must(c.t, err)
	file := filepath.Join(c.t.TempDir(), "server.pem")
	must(c.t, pki.SaveIdentity(file, cert, key))
	id, err := pki.OpenIdentity(file, file)
	must(c.t, err)
	h := &http.Server{Handler: c, TLSConfig: pki.ServerTLS(id, c.ca.Pool(), nil, nil)}
	h.ServeTLS(listener{c.conns}, "", "")
}

type listener struct{ conns chan net.Conn }

func (l listener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (listener) Close() error   { return nil }
func (listener) Addr() net.Addr { return &net.TCPAddr{} }

func (c *cloud) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c.mu.Lock()
	down := c.down
	c.mu.Unlock()
	if down {
		return nil, net.ErrClosed
	}
	near, far := pipe()
	c.mu.Lock()
	c.raw = append(c.raw, near)
	c.mu.Unlock()
	select {
	case c.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *cloud) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.raw {
		conn.Close()
	}
	c.raw = nil
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{link.Subprotocol}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := context.Background()
	conn.SetReadLimit(link.MaxMessage)
	send := func(m proto.Message) {
		b, err := link.Encode(m)
		must(c.t, err)
		conn.Write(ctx, websocket.MessageBinary, b)
	}
	read := func() proto.Message {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return nil
		}
		m, err := link.Decode(b)
		must(c.t, err)
		return m
	}
	hello, _ := read().(*linkpb.Hello)
	if hello == nil {
		return
	}
	epoch := string(hello.Epoch)
	c.mu.Lock()
	c.sessions, c.current = append(c.sessions, time.Now()), conn
	at, refuse, mute := c.at[epoch], c.refuse, c.mute
	var commands []*linkpb.Command
	for _, x := range c.pending {
		commands = append(commands, x)
	}
	c.mu.Unlock()
	if refuse != nil {
		send(refuse)
		read()
		return
	}
	send(&linkpb.Welcome{Lanes: link.Durable(at), Now: 1})
	for _, x := range commands {
		send(x)
	}
	receiver := link.NewReceiver(at)
	for {
		m := read()
		if m == nil {
			return
		}
		c.mu.Lock()
		slow := c.slow
		c.mu.Unlock()
		time.Sleep(slow)
		switch m := m.(type) {
		case *linkpb.Batch:
			a, ok := c.take(epoch, receiver, m)
			if !ok {
				return
			}
			if a != nil && !mute {
				send(a)
			}
		case *linkpb.Ping:
			c.keep(m)
			if !mute {
				send(&linkpb.Pong{At: m.At})
			}
		case *linkpb.Result:
			c.mu.Lock()
			if c.dropRes == nil || !c.dropRes(m) {
				c.results = append(c.results, m.Id+" "+m.Outcome)
				delete(c.pending, m.Id)
			}
			c.mu.Unlock()
		default:
			c.keep(m)
		}
	}
}

func (c *cloud) keep(m proto.Message) { c.mu.Lock(); c.seen = append(c.seen, m); c.mu.Unlock() }

// take commits a batch and is the Ack to send, nil when it is dropped. It is not
// ok when another session has moved the lane since this one was welcomed.
func (c *cloud) take(epoch string, receiver *link.Receiver, b *linkpb.Batch) (a *linkpb.Ack, ok bool) {
	t, err := receiver.Take(b)
	must(c.t, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.at[epoch]
	if at[t.Lane] != t.Base {
		return nil, false
	}
	for _, r := range t.Records {
		c.taken = append(c.taken, string(r.Payload))
	}
	at[t.Lane] = t.Next
	c.at[epoch] = at
	a = receiver.Commit(t.Lane, t.Next.Seq)
	if c.dropAck != nil && c.dropAck(a) {
		return nil, true
	}
	return a, true
}

func (c *cloud) set(f func()) { c.mu.Lock(); f(); c.mu.Unlock() }

func (c *cloud) has() []string { c.mu.Lock(); defer c.mu.Unlock(); return slices.Clone(c.taken) }

// count is how many messages of one type have come.
func count[T proto.Message](c *cloud) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.seen {
		if _, ok := m.(T); ok {
			n++
		}
	}
	return n
}

// gateway is an uplink in a bubble, and what it reports.
type gateway struct {
	*cloud
	config Config
	box    *box
	loads  int // of TLS settings

	smu    sync.Mutex
	states []State
	stop   context.CancelFunc
	ended  chan struct{}
}

// inBubble runs f with a cloud and a gateway that is not started yet.
func inBubble(t *testing.T, f func(t *testing.T, g *gateway)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ca, err := pki.NewCA("test", time.Now(), 1000*time.Hour)
		must(t, err)
		c := &cloud{
			t: t, ca: ca, conns: make(chan net.Conn), box: newBox(), pending: map[string]*linkpb.Command{},
			at: map[string][len(link.Lanes) + 1]link.Cursor{},
		}
		go c.serve()
		g := &gateway{cloud: c, box: c.box, ended: make(chan struct{})}
		key, csr, err := pki.NewKeyAndCSR()
		must(t, err)
		cert, err := ca.SignGateway(csr, "site", "gw-7w", time.Now(), 400*time.Hour)
		must(t, err)
		file := filepath.Join(t.TempDir(), "id.pem")
		must(t, pki.SaveIdentity(file, cert, key))
		id, err := pki.OpenIdentity(file, file)
		must(t, err)
		g.config = Config{
			URL: "wss://cloud.test/link", Outbox: g.box, Wake: g.box.wake, Dial: c.dial,
			TLS:    func() (*tls.Config, error) { g.loads++; return pki.ClientTLS(id, ca.Pool(), "cloud.test", nil), nil },
			Hello:  func() *linkpb.Hello { return &linkpb.Hello{Software: "test"} },
			Report: func(s State) { g.smu.Lock(); g.states = append(g.states, s); g.smu.Unlock() },
		}
		defer time.Sleep(time.Minute) // what is left of the connections times out
		defer close(c.conns)
		defer c.cut()
		defer g.end()
		f(t, g)
	})
}

func (g *gateway) start() {
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go func() {
		defer close(g.ended)
		must(g.t, Run(ctx, g.config))
	}()
}

func (g *gateway) end() {
	if g.stop != nil {
		g.stop()
		<-g.ended
	}
}

func (g *gateway) state() State {
	g.smu.Lock()
	defer g.smu.Unlock()
	if len(g.states) == 0 {
		return State{}
	}
	return g.states[len(g.states)-1]
}

// until waits for a condition, for an hour of the bubble's time at most.
func (g *gateway) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 36_000 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("never: %s; state %+v", what, g.state())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
