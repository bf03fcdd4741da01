package virtual

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
)

// ward is a broker in memory, and all that was published to it.
type ward struct {
	*mochi.Server
	tls    *tls.Config // nil: in clear
	accept chan net.Conn
	closed chan struct{}

	mu    sync.Mutex
	conns []net.Conn
	down  bool
	got   []message
}

type message struct {
	at       time.Time
	topic    frame.Topic
	payload  []byte
	retained bool
}

func (w *ward) Accept() (net.Conn, error) {
	select {
	case c := <-w.accept:
		if w.tls != nil {
			return tls.Server(c, w.tls), nil
		}
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *ward) Addr() net.Addr { return &net.TCPAddr{} }
func (w *ward) Close() error   { return nil }

func (w *ward) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, errors.New("no broker there")
	}
	ours, theirs := net.Pipe()
	w.conns = append(w.conns, ours, theirs)
	w.accept <- theirs
	return ours, nil
}

// cut ends every connection; nothing connects until mend.
func (w *ward) cut() {
	w.mu.Lock()
	conns := w.conns
	w.conns, w.down = nil, true
	w.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

func (w *ward) mend() {
	w.mu.Lock()
	w.down = false
	w.mu.Unlock()
}

// listener hides the server's own Close from the broker.
type listener struct{ w *ward }

func (l listener) Accept() (net.Conn, error) { return l.w.Accept() }
func (l listener) Addr() net.Addr            { return l.w.Addr() }
func (l listener) Close() error              { close(l.w.closed); return nil }

// everybody may connect, publish and subscribe.
type everybody struct{ mochi.HookBase }

func (everybody) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (everybody) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (everybody) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// open starts a broker that ends with the test.
func open(t *testing.T) *ward {
	t.Helper()
	w := &ward{accept: make(chan net.Conn, 16), closed: make(chan struct{})}
	w.Server = mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	err := errors.Join(w.AddHook(new(everybody), nil), w.AddListener(listeners.NewNet("memory", listener{w})), w.Serve(),
		w.Subscribe("wl/#", 1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) {
			if topic, ok := frame.ParseTopic(pk.TopicName); ok {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.got = append(w.got, message{time.Now(), topic, slices.Clone(pk.Payload), pk.FixedHeader.Retain})
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Server.Close() })
	return w
}

func (w *ward) messages(kind frame.Kind) []message {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []message
	for _, m := range w.got {
		if m.topic.Kind == kind {
			out = append(out, m)
		}
	}
	return out
}

// frames opens what came and groups the seqs by sensor, in order of arrival.
func (w *ward) frames(t *testing.T, key []byte) (all []*pb.Frame, seqs map[string][]uint32) {
	t.Helper()
	seqs = map[string][]uint32{}
	for _, m := range w.messages(frame.KindFrame) {
		f, _, err := frame.Open(m.payload, key)
		if err != nil {
			t.Fatal(err)
		}
		if f.Sensor != m.topic.Sensor {
			t.Fatalf("frame of %s on the topic of %s", f.Sensor, m.topic.Sensor)
		}
		all = append(all, f)
		seqs[f.Sensor] = append(seqs[f.Sensor], f.Seq)
	}
	return all, seqs
}

func (w *ward) ask(t *testing.T, sensor string, r *pb.Request, key []byte) {
	t.Helper()
	r.Major = frame.Major
	wire, err := frame.SealRequest(nil, r, key)
	if err == nil {
		err = w.Publish(frame.Topic{Relay: "virtual", Sensor: sensor, Kind: frame.KindRequest}.String(), wire, false, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// certificate is one for host, and the pool that trusts it.
func certificate(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
