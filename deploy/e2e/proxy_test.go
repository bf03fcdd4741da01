//go:build system || bench

package e2e

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A wire is the TCP path between a gateway and the cloud, which a test can cut.
// It knows nothing of what it carries.
type wire struct {
	to     string
	listen net.Listener
	done   sync.WaitGroup
	gate   sync.RWMutex // held for writing while nothing passes

	mu    sync.Mutex // guards what follows; never held across I/O
	isCut bool
	still bool
	conns map[net.Conn]struct{}
	made  int                     // connections that were carried
	cuts  int                     // connections that were cut by a budget
	next  func() (down, up int64) // bytes after which a new connection is cut, 0 = never
	drag  time.Duration           // what a KiB takes on its way
}

// newWire carries what comes to its address on to another.
func newWire(t testing.TB, to string) *wire {
	t.Helper()
	w := &wire{to: to, conns: map[net.Conn]struct{}{}}
	var err error
	if w.listen, err = net.Listen("tcp", at(0)); err != nil {
		t.Fatal(err)
	}
	w.done.Go(w.accept)
	t.Cleanup(func() {
		w.listen.Close()
		w.cut()
		w.flow()
		w.done.Wait()
	})
	return w
}

func (w *wire) addr() string { return w.listen.Addr().String() }

func (w *wire) accept() {
	for {
		c, err := w.listen.Accept()
		if err != nil {
			return
		}
		w.done.Go(func() { w.carry(c) })
	}
}

func (w *wire) carry(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer up.Close()
	fromCloud, fromGateway, ok := w.keep(down, up)
	if !ok {
		return
	}
	defer w.drop(down, up)
	var both sync.WaitGroup
	both.Go(func() { w.copy(down, up, fromCloud); down.Close(); up.Close() })
	both.Go(func() { w.copy(up, down, fromGateway); down.Close(); up.Close() })
	both.Wait()
}

func (w *wire) keep(conns ...net.Conn) (fromCloud, fromGateway int64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		return 0, 0, false
	}
	for _, c := range conns {
		w.conns[c] = struct{}{}
	}
	w.made++
	if w.next != nil {
		fromCloud, fromGateway = w.next()
	}
	return fromCloud, fromGateway, true
}

func (w *wire) drop(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.conns, c)
	}
}

// copy carries bytes until an end closes or, with a budget, until so many are
// through: the receiver has them, and what the sender would say next is lost.
func (w *wire) copy(to, from net.Conn, budget int64) {
	buf := make([]byte, 32<<10)
	for left := budget; ; {
		n, err := from.Read(buf)
		if budget > 0 {
			n = int(min(int64(n), left))
			left -= int64(n)
		}
		if n > 0 {
			if d := w.dragged(); d > 0 {
				time.Sleep(d * time.Duration(1+n>>10))
			}
			w.gate.RLock()
			_, err := to.Write(buf[:n])
			w.gate.RUnlock()
			if err != nil {
				return
			}
		}
		if err != nil {
			return
		}
		if budget > 0 && left == 0 {
			w.mu.Lock()
			w.cuts++
			w.mu.Unlock()
			return
		}
	}
}

// cut ends what is under way and refuses what comes, until restore.
func (w *wire) cut() {
	w.mu.Lock()
	w.isCut = true
	var open []net.Conn
	for c := range w.conns {
		open = append(open, c)
	}
	w.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

func (w *wire) restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}

// stall lets nothing through and closes nothing, as a pulled cable does.
func (w *wire) stall() {
	w.gate.Lock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.still = true
}

// flow ends stall.
func (w *wire) flow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.still {
		w.still = false
		w.gate.Unlock()
	}
}

// tear cuts every connection after a random number of bytes of one direction or
// the other, so that over many connections it strikes everywhere: in the
// handshake, in a batch, between a commit and its acknowledgement.
func (w *wire) tear(seed uint64) {
	r := rand.New(rand.NewPCG(seed, seed))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = func() (int64, int64) { // called with mu held
		if r.IntN(2) == 0 {
			return 1500 + r.Int64N(4000), 0
		}
		return 0, 1500 + r.Int64N(8000)
	}
	for c := range w.conns {
		c.Close() // does not block: no linger is set
	}
}

// mend lets connections live again. It returns how many were cut.
func (w *wire) mend() (cuts int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = nil
	for c := range w.conns {
		c.Close()
	}
	return w.cuts
}

// slow makes a KiB take so long in each direction; 0 is as fast as can be.
func (w *wire) slow(kib time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drag = kib
}

func (w *wire) dragged() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drag
}
