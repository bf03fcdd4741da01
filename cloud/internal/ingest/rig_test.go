package ingest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
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

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// rig is an ingest server on a real store, behind real mutual TLS on in-memory
// connections. It lives in a bubble of fake time.
type rig struct {
	t      *testing.T
	ca     *pki.CA
	store  *store.Store
	server *Server
	conns  chan net.Conn
	gate   chan struct{} // when not nil, odd records wait for it to be closed

	mu        sync.Mutex // guards what follows
	refuse    error      // Admit's answer
	aside     string     // an alert event with this text is set aside
	fail      error      // Alerts' answer
	told      []string   // Session, Released, Odd, Duplicate in order
	pending   map[string]*linkpb.Command
	results   []string
	dropOnce  func(string) bool // of Results, by id
	liveBeds  []string
	waveCount int
}

// inBubble runs f with a rig in a bubble.
func inBubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, filepath.Join(dir, "cloud.db"))
		defer r.close()
		f(t, r)
	})
}

func newRig(t *testing.T, path string) *rig {
	ca, err := pki.NewCA("test", time.Now(), 1000*time.Hour)
	must(t, err)
	st, err := store.Open(path)
	must(t, err)
	r := &rig{t: t, ca: ca, store: st, conns: make(chan net.Conn), pending: map[string]*linkpb.Command{}}
	must(t, st.Do(t.Context(), store.Normal, func(tx *store.Tx) error {
		_, err := tx.Exec(`CREATE TABLE taken (n INTEGER PRIMARY KEY, gateway TEXT, what TEXT, hold INTEGER) STRICT`)
		return err
	}))
	r.server = New(Config{
		Store: st, Admit: r.admit, Alerts: r.alerts, Vitals: r.vitals,
		Hole: func(tx *store.Tx, g Gateway, lane link.Lane, h *linkpb.Hole) error {
			return r.take(tx, g, fmt.Sprintf("hole %d-%d", h.From, h.To), false)
		},
		Odd: func(tx *store.Tx, g Gateway, lane link.Lane, rec link.Record, reason string) error {
			if r.gate != nil {
				<-r.gate
			}
			r.tell("odd " + reason)
			return nil
		},
		Known: func(ctx context.Context, g Gateway, open []alert.ID) error {
			r.tell(fmt.Sprintf("known %s", open))
			return nil
		},
		Released: func(ctx context.Context, g Gateway) error { r.tell("released"); return nil },
		Live: func(g Gateway, l *linkpb.Live) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, b := range l.Beds {
				r.liveBeds = append(r.liveBeds, b.Ward+"/"+b.Bed)
			}
		},
		Wave: func(Gateway, *linkpb.Wave) { r.mu.Lock(); r.waveCount++; r.mu.Unlock() },
		Session: func(g Gateway, up bool, h *linkpb.Hello, why string) {
			if up {
				r.tell("up")
			} else {
				r.tell("down: " + why)
			}
		},
		Duplicate: func(g Gateway, text string) { r.tell("duplicate") },
		Foreign:   func(g Gateway, text string) { r.tell("foreign: " + text) },
		Pending:   r.pendingOf, Result: r.result,
	})
	go r.serve()
	return r
}

// serve is an HTTP server over the rig's connections.
func (r *rig) serve() {
	cert, key, err := r.ca.SignServer([]string{"cloud.test"}, time.Now(), 500*time.Hour)
	must(r.t, err)
	dir := r.t.TempDir()
	must(r.t, pki.SaveIdentity(filepath.Join(dir, "server.pem"), cert, key))
	id, err := pki.OpenIdentity(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.pem"))
	must(r.t, err)
	h := &http.Server{Handler: r.server, TLSConfig: pki.ServerTLS(id, r.ca.Pool(), nil, nil)}
	h.ServeTLS(listener{r.conns}, "", "")
}

func (r *rig) close() {
	r.server.Close()
	close(r.conns)
	must(r.t, r.store.Close())
	time.Sleep(time.Minute) // in the bubble: what is left of the connections times out
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

func (r *rig) admit(ctx context.Context, cert *x509.Certificate) (Gateway, error) {
	site, id, err := pki.GatewayFrom(cert)
	if err != nil {
		return Gateway{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Gateway{Site: site, ID: id, Wards: []string{"7w"}}, r.refuse
}

func (r *rig) alerts(tx *store.Tx, g Gateway, events []alert.Event, hold, late bool) error {
	r.mu.Lock()
	aside, fail := r.aside, r.fail
	r.mu.Unlock()
	for _, e := range events {
		if err := r.take(tx, g, e.Text, hold); err != nil {
			return err
		}
		if aside != "" && e.Text == aside || !slices.Contains(g.Wards, e.Condition.Ward) {
			return &SetAside{Reason: "not for this board"}
		}
	}
	return fail
}

func (r *rig) vitals(tx *store.Tx, g Gateway, list []*linkpb.Summary) error {
	for _, s := range list {
		if err := r.take(tx, g, fmt.Sprintf("%s late=%v", s.Sensor, s.Late), false); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) take(tx *store.Tx, g Gateway, what string, hold bool) error {
	_, err := tx.Exec(`INSERT INTO taken (gateway, what, hold) VALUES ($1, $2, $3)`, g.ID, what, hold)
	return err
}

func (r *rig) pendingOf(ctx context.Context, gateway string) ([]*linkpb.Command, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*linkpb.Command
	for _, c := range r.pending {
		list = append(list, c)
	}
	return list, nil
}

func (r *rig) result(ctx context.Context, gateway string, x *linkpb.Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropOnce != nil && r.dropOnce(x.Id) {
		return fmt.Errorf("dropped")
	}
	delete(r.pending, x.Id)
	r.results = append(r.results, x.Id+" "+x.Outcome)
	return nil
}

func (r *rig) tell(what string) { r.mu.Lock(); r.told = append(r.told, what); r.mu.Unlock() }

func (r *rig) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.told...)
}

// taken is what has had its effect, in order.
func (r *rig) taken() (list []string) {
	r.t.Helper()
	must(r.t, r.store.View(context.Background(), func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT what, hold FROM taken ORDER BY n`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var what string
			var hold bool
			if err := rows.Scan(&what, &hold); err != nil {
				return err
			}
			if hold {
				what += " (held)"
			}
			list = append(list, what)
		}
		return rows.Err()
	}))
	return list
}

// identity is a gateway's key and certificate.
func (r *rig) identity(id string) *pki.Identity {
	r.t.Helper()
	key, csr, err := pki.NewKeyAndCSR()
	must(r.t, err)
	cert, err := r.ca.SignGateway(csr, "site", id, time.Now(), 400*time.Hour)
	must(r.t, err)
	file := filepath.Join(r.t.TempDir(), id+".pem")
	must(r.t, pki.SaveIdentity(file, cert, key))
	identity, err := pki.OpenIdentity(file, file)
	must(r.t, err)
	return identity
}

// peer is a gateway's connection, driven by the test.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	raw  net.Conn
	in   chan proto.Message // closed when the connection has ended
}

func (r *rig) dial(id *pki.Identity) *peer {
	r.t.Helper()
	p := &peer{t: r.t, in: make(chan proto.Message, 1000)}
	settings := pki.ClientTLS(id, r.ca.Pool(), "cloud.test", nil)
	transport := &http.Transport{TLSClientConfig: settings, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := pipe()
		p.raw = near
		r.conns <- far
		return near, nil
	}}
	conn, _, err := websocket.Dial(context.Background(), "wss://cloud.test/link", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{link.Subprotocol},
	})
	must(r.t, err)
	p.conn = conn
	conn.SetReadLimit(link.MaxMessage)
	go func() {
		defer close(p.in)
		for {
			_, b, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			m, err := link.Decode(b)
			if err != nil {
				r.t.Error(err)
				return
			}
			p.in <- m
		}
	}()
	return p
}

func (p *peer) send(m proto.Message) {
	p.t.Helper()
	b, err := link.Encode(m)
	must(p.t, err)
	p.conn.Write(context.Background(), websocket.MessageBinary, b) // the other end may have gone
}

// cut ends the connection without a word.
func (p *peer) cut() { p.raw.Close(); p.conn.CloseNow() }

// next is the next message of type T, skipping others, within a minute.
func next[T proto.Message](p *peer) T {
	p.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case m, ok := <-p.in:
			if !ok {
				p.t.Fatalf("the connection ended while waiting for a %T", *new(T))
			}
			if m, ok := m.(T); ok {
				return m
			}
		case <-timeout:
			p.t.Fatalf("no %T within a minute", *new(T))
		}
	}
}

// ended waits until the connection has ended, and gives the Refuse if one came.
func (p *peer) ended() (r *linkpb.Refuse) {
	for m := range p.in {
		if m, ok := m.(*linkpb.Refuse); ok {
			if r = m; m.Text == "" {
				p.t.Errorf("refused as %s without a word", m.Reason)
			}
			p.conn.CloseNow()
		}
	}
	return r
}

func hello(instance byte, alertsLast, vitalsLast uint64) *linkpb.Hello {
	lane := func(l link.Lane, last uint64) *linkpb.Lane {
		return &linkpb.Lane{Lane: uint32(l), First: 1, Last: last, Hash: make([]byte, 16)}
	}
	return &linkpb.Hello{
		Version: link.Version, Epoch: bytes.Repeat([]byte{1}, 16), Instance: bytes.Repeat([]byte{instance}, 16),
		Lanes: []*linkpb.Lane{lane(link.Alerts, alertsLast), lane(link.Vitals, vitalsLast)},
	}
}

func event(seq uint64, text string) link.Record {
	e := alert.Event{
		Alert: alert.ID(fmt.Sprintf("%032x", seq)), Author: alert.Gateway, N: 1, Type: alert.Raised, At: 1, Text: text,
		Condition: &alert.Condition{Gateway: "gw-7w", Ward: "7w", Bed: "12", Priority: alert.High, Kind: alert.Physiological},
	}
	b, _ := json.Marshal(e)
	return link.Record{Seq: seq, Kind: link.AlertEvent, Observed: time.Now().UnixMicro(), Payload: b}
}

func summary(seq uint64, ward, sensor string) link.Record {
	b, _ := proto.Marshal(&linkpb.Summary{Ward: ward, Bed: "12", Sensor: sensor, Start: int64(seq) * 1e7})
	return link.Record{Seq: seq, Kind: link.VitalsSummary, Observed: time.Now().UnixMicro(), Payload: b}
}

func (p *peer) batch(lane link.Lane, late bool, records ...link.Record) {
	p.t.Helper()
	b, err := link.Pack(lane, records, late)
	must(p.t, err)
	p.send(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
