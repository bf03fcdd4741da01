package ingest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipe is a connection in memory, buffered as a kernel's is: net.Pipe's writes
// wait for the reader, and somebody who waits so while holding a lock freezes a
// bubble's time.
func pipe() (net.Conn, net.Conn) {
	a, b := newHalf(), newHalf()
	return &end{in: a, out: b}, &end{in: b, out: a}
}

// halfBound is how much one direction holds. A short write always fits.
const halfBound, short = 32 << 10, 64

// half is one direction.
type half struct {
	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	buf     []byte
	closed  bool // by the writer: what is here can still be read
	broken  bool // by the reader
	read    deadline
	write   deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newHalf() *half {
	h := new(half)
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *half) set(d *deadline, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = at, nil
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() { h.mu.Lock(); h.changed.Broadcast(); h.mu.Unlock() })
	}
	h.changed.Broadcast()
}

// end is one end of a pipe.
type end struct{ in, out *half }

func (e *end) Read(b []byte) (int, error) {
	h := e.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken:
			return 0, net.ErrClosed
		case h.read.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(b, h.buf)
			h.buf = h.buf[n:]
			h.changed.Broadcast()
			return n, nil
		case h.closed:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (e *end) Write(b []byte) (int, error) {
	h := e.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed || h.broken:
			return 0, net.ErrClosed
		case h.write.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) < halfBound || len(b) <= short:
			h.buf = append(h.buf, b...)
			h.changed.Broadcast()
			return len(b), nil
		}
		h.changed.Wait()
	}
}

func (e *end) Close() error {
	for _, h := range []*half{e.in, e.out} {
		h.set(&h.read, time.Time{})
		h.set(&h.write, time.Time{})
		h.mu.Lock()
		h.closed = h.closed || h == e.out
		h.broken = h.broken || h == e.in
		h.changed.Broadcast()
		h.mu.Unlock()
	}
	return nil
}

func (e *end) SetDeadline(t time.Time) error      { e.SetReadDeadline(t); return e.SetWriteDeadline(t) }
func (e *end) SetReadDeadline(t time.Time) error  { e.in.set(&e.in.read, t); return nil }
func (e *end) SetWriteDeadline(t time.Time) error { e.out.set(&e.out.write, t); return nil }
func (e *end) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (e *end) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
