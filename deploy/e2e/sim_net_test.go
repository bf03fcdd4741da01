package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A fabric is a network in memory, for a bubble of fake time: real sockets would
// hold its clock. Connections are buffered as a kernel's are.
type fabric struct {
	mu        sync.Mutex // guards what follows
	listeners map[string]*memListener
	conns     map[*memConn]struct{}
	down      map[string]bool // cables that are pulled
	mute      map[string]bool // cables that carry nothing and say nothing of it
	unmuted   chan struct{}   // closed when a cable carries again
}

func newFabric() *fabric {
	return &fabric{
		listeners: map[string]*memListener{}, conns: map[*memConn]struct{}{},
		down: map[string]bool{}, mute: map[string]bool{}, unmuted: make(chan struct{}),
	}
}

// listen opens a listener; a port is its address.
func (f *fabric) listen(_, address string) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners[address] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &memListener{f: f, address: address, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	f.listeners[address] = l
	return l, nil
}

// dial returns how to connect over a cable.
func (f *fabric) dial(cable string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		l := f.listeners[address]
		if f.down[cable] || l == nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		a, b := f.pair(cable)
		select {
		case l.conns <- b:
		default:
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		f.conns[a], f.conns[b] = struct{}{}, struct{}{}
		return a, nil
	}
}

// cut ends every connection over a cable, and keeps new ones from being made
// while it is down.
func (f *fabric) cut(cable string, down bool) {
	f.mu.Lock()
	var over []*memConn
	for c := range f.conns {
		if c.cable == cable {
			over = append(over, c)
		}
	}
	f.down[cable] = down
	f.mu.Unlock()
	for _, c := range over {
		c.Close()
	}
}

// silence has a cable carry nothing, or again what was written meanwhile.
func (f *fabric) silence(cable string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mute[cable] = on
	if !on {
		close(f.unmuted)
		f.unmuted = make(chan struct{})
	}
}

func (f *fabric) muted(cable string) (<-chan struct{}, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unmuted, f.mute[cable]
}

type memListener struct {
	f       *fabric
	address string
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.f.mu.Lock()
		delete(l.f.listeners, l.address)
		l.f.mu.Unlock()
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr(l.address) }

func memAddr(address string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return &net.TCPAddr{}
	}
	return a
}

// A memConn is one end of a connection. A chunk a write; what is more than a bound
// makes the writer wait.
type memConn struct {
	f       *fabric
	cable   string
	in, out *memHalf
	rest    []byte // of the chunk being read
	once    sync.Once

	mu          sync.Mutex // guards what follows
	read, write memDeadline
}

type memHalf struct {
	chunks chan []byte
	closed chan struct{} // by the writer
	once   sync.Once
}

func (h *memHalf) close() { h.once.Do(func() { close(h.closed) }) }

type memDeadline struct {
	at      time.Time
	changed chan struct{} // closed when at changes
}

func (f *fabric) pair(cable string) (a, b *memConn) {
	x, y := newMemHalf(), newMemHalf()
	return newMemConn(f, cable, x, y), newMemConn(f, cable, y, x)
}

func newMemHalf() *memHalf {
	return &memHalf{chunks: make(chan []byte, 256), closed: make(chan struct{})}
}

func newMemConn(f *fabric, cable string, in, out *memHalf) *memConn {
	c := &memConn{f: f, cable: cable, in: in, out: out}
	c.read.changed, c.write.changed = make(chan struct{}), make(chan struct{})
	return c
}

// until is a channel that closes when a deadline passes or changes.
func (c *memConn) until(d *memDeadline) (passed <-chan time.Time, changed <-chan struct{}, stop func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.at.IsZero() {
		return nil, d.changed, func() {}, nil
	}
	left := time.Until(d.at)
	if left <= 0 {
		return nil, nil, func() {}, os.ErrDeadlineExceeded
	}
	t := time.NewTimer(left)
	return t.C, d.changed, func() { t.Stop() }, nil
}

func (c *memConn) Read(b []byte) (int, error) {
	for {
		passed, changed, stop, err := c.until(&c.read)
		if err != nil {
			return 0, err
		}
		unmuted, mute := c.f.muted(c.cable)
		chunks := c.in.chunks
		if mute {
			chunks = nil
		} else if len(c.rest) > 0 {
			stop()
			n := copy(b, c.rest)
			c.rest = c.rest[n:]
			return n, nil
		}
		closed := c.in.closed
		if mute || len(c.in.chunks) > 0 {
			closed = nil // what was written before is read first; a mute cable says nothing
		}
		select {
		case c.rest = <-chunks:
		case <-closed:
			if len(c.in.chunks) == 0 {
				stop()
				return 0, io.EOF
			}
		case <-c.out.closed: // by this end
			stop()
			return 0, net.ErrClosed
		case <-unmuted:
		case <-changed:
		case <-passed:
		}
		stop()
	}
}

func (c *memConn) Write(b []byte) (int, error) {
	chunk := append([]byte(nil), b...)
	for {
		passed, changed, stop, err := c.until(&c.write)
		if err != nil {
			return 0, err
		}
		select {
		case <-c.out.closed:
			stop()
			return 0, net.ErrClosed
		case <-c.in.closed:
			stop()
			return 0, syscall.EPIPE
		default:
		}
		select {
		case c.out.chunks <- chunk:
			stop()
			return len(b), nil
		case <-c.out.closed:
		case <-c.in.closed:
		case <-changed:
		case <-passed:
		}
		stop()
	}
}

func (c *memConn) Close() error {
	err := errors.New("closed before")
	c.once.Do(func() {
		err = nil
		c.out.close()
		c.f.mu.Lock()
		delete(c.f.conns, c)
		c.f.mu.Unlock()
	})
	return err
}

func (c *memConn) set(d *memDeadline, at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.at = at
	close(d.changed)
	d.changed = make(chan struct{})
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *memConn) SetReadDeadline(t time.Time) error  { return c.set(&c.read, t) }
func (c *memConn) SetWriteDeadline(t time.Time) error { return c.set(&c.write, t) }
func (c *memConn) LocalAddr() net.Addr                { return memAddr("127.0.0.1:9") }
func (c *memConn) RemoteAddr() net.Addr               { return memAddr("127.0.0.1:9") }
