package intake

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"sync"
	"time"
)

// wire is a connection that reads ahead and writes behind. paho reads a packet
// in three calls and writes each acknowledgement in one, all of them system
// calls; here a read takes what has come, and a goroutine writes what has
// gathered. Nothing waits for more: what is written is on its way at once.
type wire struct {
	net.Conn
	in      *bufio.Reader
	timeout time.Duration
	wake    chan struct{} // holds one when buf has something, or closing
	done    chan struct{} // closed when the writer has ended

	mu      sync.Mutex // guards what follows
	room    sync.Cond  // buf has become shorter, or err is set
	buf     []byte
	closing bool
	err     error
}

// maxBehind bounds what Write may leave to the writer, in bytes.
const maxBehind = 1 << 20

func newWire(c net.Conn, timeout time.Duration) *wire {
	w := &wire{Conn: c, in: bufio.NewReaderSize(c, 32<<10), timeout: timeout, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.room.L = &w.mu
	go w.write() // ends with Close, which waits for it
	return w
}

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

// Write leaves p to the writer. An error is that of an earlier one.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) > maxBehind && w.err == nil && !w.closing {
		w.room.Wait()
	}
	if w.closing && w.err == nil {
		return 0, net.ErrClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	w.buf = append(w.buf, p...)
	signal(w.wake)
	return len(p), nil
}

func (w *wire) write() {
	defer close(w.done)
	var spare []byte
	for range w.wake {
		runtime.Gosched() // who is about to write goes first, and shares the call
		w.mu.Lock()
		buf, closing := w.buf, w.closing
		w.buf = spare[:0]
		w.room.Broadcast()
		w.mu.Unlock()
		if len(buf) > 0 {
			w.Conn.SetWriteDeadline(time.Now().Add(w.timeout))
			if _, err := w.Conn.Write(buf); err != nil {
				w.fail(err)
				return
			}
		}
		spare = buf
		if closing {
			return
		}
	}
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	w.err, w.buf = fmt.Errorf("write to the broker: %w", err), nil
	w.room.Broadcast()
	w.mu.Unlock()
	w.Conn.Close() // its reader learns of it
}

// Close sends what is left, for at most a second, and closes.
func (w *wire) Close() error {
	w.mu.Lock()
	w.closing = true
	w.room.Broadcast()
	w.mu.Unlock()
	w.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	signal(w.wake)
	<-w.done
	return w.Conn.Close()
}

// cut closes at once.
func (w *wire) cut() {
	w.Conn.Close()
	w.Close()
}

// The deadlines of writing are the writer's own.
func (w *wire) SetDeadline(t time.Time) error    { return w.Conn.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// parseURL reads tcp://host:port or tls://host:port.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("broker's address %q: %w", raw, err)
	}
	switch u.Scheme {
	case "tcp", "mqtt", "tls", "ssl", "mqtts":
	default:
		return nil, fmt.Errorf("broker's address %q: want tcp://host:port or tls://host:port", raw)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("broker's address %q has no host", raw)
	}
	if u.Port() == "" {
		port := "1883"
		if secure(u) {
			port = "8883"
		}
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

func secure(u *url.URL) bool { return u.Scheme == "tls" || u.Scheme == "ssl" || u.Scheme == "mqtts" }

// dial connects to the broker.
func dial(ctx context.Context, how func(context.Context, string, string) (net.Conn, error), u *url.URL, conf *tls.Config, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if how != nil {
		return how(ctx, "tcp", u.Host)
	}
	if !secure(u) {
		return new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	}
	return (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", u.Host)
}
