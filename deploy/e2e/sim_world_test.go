package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wardline/agent"
	"wardline/cloud"
	"wardline/shared/pki"
)

const (
	simGateways = 3
	simBeds     = 2
	simLink     = "127.0.0.1:2"
)

// simKey seals the gateways' outboxes, so that the model can read them.
var simKey = bytes.Repeat([]byte{0x5a}, 32)

// A world is a cloud, gateways, their brokers and relays in one bubble.
type world struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	dir  string
	net  *fabric
	cost map[int]costs
	days int // by which every clock is ahead of the bubble's

	cloud    *node
	gateways []*gatewayNode
	log      bytes.Buffer
	logMu    sync.Mutex
}

// A node is a process: a folder and a life that can be cut off.
type node struct {
	w     *world
	name  string
	data  string
	lives int
	run   func(ctx context.Context, n *node) error
	ready chan struct{}
	dying func() // is called at the instant of a crash; nil = nothing

	mu    sync.Mutex // guards what follows
	stop  context.CancelFunc
	ended chan struct{}
	err   error
	fault func(point string) error // of this life
	dead  bool                     // this life was cut off
}

// A gatewayNode is a gateway with its relay.
type gatewayNode struct {
	*node
	id     string
	ward   string
	broker string // address
	relay  *simRelay

	acked map[string]map[int]bool // as the relay knew at the last crash

	offset     int64 // by which its wall clock is wrong, µs; under node.mu
	wasStepped bool  // the same
	synced     bool
}

func (w *world) now() int64 { return time.Now().UnixMicro() + int64(w.days)*24*3600*1e6 }

func (w *world) note(format string, a ...any) {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	fmt.Fprintf(&w.log, "%8.3f  %s\n", time.Since(simStart).Seconds(), fmt.Sprintf(format, a...))
}

// simStart is when every bubble begins.
var simStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// begin starts a node's next life on its folder.
func (n *node) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	n.mu.Lock()
	n.stop, n.ended, n.err, n.dead, n.fault = cancel, make(chan struct{}), nil, false, nil
	n.lives++
	ended := n.ended
	n.mu.Unlock()
	n.ready = make(chan struct{}, 1)
	go func() {
		defer close(ended)
		err := n.run(ctx, n)
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			n.w.note("%s ended by itself: %v", n.name, err)
		}
	}()
}

// at is the node's fault hook.
func (n *node) at(point string) error {
	n.mu.Lock()
	f := n.fault
	n.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(point)
}

func (n *node) set(f func(point string) error) {
	n.mu.Lock()
	n.fault = f
	n.mu.Unlock()
}

// errDead is what a life that was cut off gets of its disk.
var errDead = errors.New("this life is over")

// crash is a plug that is pulled at this very instant: the folder is copied as it
// is, and nothing that the old life still does reaches anybody. The next life
// begins by revive, on the copy.
func (n *node) crash() (copied string) {
	if n.dying != nil {
		n.dying()
	}
	copied = filepath.Join(n.w.dir, fmt.Sprintf("%s-%d", n.name, n.lives+1))
	copyFolder(n.w.t, n.data, copied)
	for _, cable := range n.cables() {
		n.w.net.cut(cable, true)
	}
	n.mu.Lock()
	n.dead = true
	n.fault = func(string) error { return errDead }
	stop := n.stop
	n.mu.Unlock()
	stop()
	return copied
}

// cables are those that end at the node.
func (n *node) cables() []string {
	if n == n.w.cloud {
		return []string{"link gw-0", "link gw-1", "link gw-2"}
	}
	return []string{"link " + n.name, "relay " + n.name, "broker " + n.name}
}

// revive waits for the old life to be gone and begins the next on a folder.
func (n *node) revive(data string) {
	n.mu.Lock()
	ended := n.ended
	n.mu.Unlock()
	<-ended
	n.data = data
	for _, cable := range n.cables() {
		n.w.net.cut(cable, false)
	}
	n.begin()
}

// end stops a node in order.
func (n *node) end() {
	n.mu.Lock()
	stop, ended := n.stop, n.ended
	n.fault = nil
	n.mu.Unlock()
	stop()
	<-ended
}

// copyFolder copies files as they all are at one instant, but for sockets and
// locks. A database may be written meanwhile: it is read until two readings agree.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	files := readFolder(t, from)
	for again := readFolder(t, from); !maps.EqualFunc(files, again, bytes.Equal); again = readFolder(t, from) {
		files = again
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func readFolder(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range list {
		if !f.Type().IsRegular() || strings.HasSuffix(f.Name(), "-shm") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // a temporary file
		}
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name()] = b
	}
	return files
}

func (w *world) runCloud(ctx context.Context, n *node) error {
	return cloud.Run(ctx, cloud.Config{
		Data: n.data, People: cloud.People{Listen: "127.0.0.1:1"},
		Gateways: cloud.Gateways{Listen: simLink, PublicURL: "https://" + simLink},
		Now:      w.now, Log: slog.New(slog.DiscardHandler), Stdout: io.Discard, Listen: w.net.listen,
		Fault: n.at, Ready: func(cloud.Addresses) { n.ready <- struct{}{} },
	})
}

// clock is a gateway's machine's.
func (g *gatewayNode) clock() agent.Instant {
	g.mu.Lock()
	defer g.mu.Unlock()
	up := time.Since(simStart).Microseconds()
	return agent.Instant{Boot: 1, Mono: up + 1_000_000, Wall: g.w.now() + g.offset, Synchronised: g.synced}
}

func (g *gatewayNode) config(n *node) agent.Config {
	c := agent.Config{
		Data: n.data, Gateway: g.id, Broker: agent.Broker{Listen: g.broker}, Log: slog.New(slog.DiscardHandler),
		Clock: g.clock, Dial: g.w.net.dial("link " + g.id), DialBroker: g.w.net.dial("broker " + g.id), Fault: n.at,
		Listen:  func(network, address string) (net.Listener, error) { return g.w.net.listen(network, address) },
		Control: "control " + g.id, Ready: func(agent.Ready) { n.ready <- struct{}{} },
		Outbox: agent.Outbox{KeyFile: filepath.Join(g.w.dir, "key")},
	}
	ward := agent.Ward{ID: g.ward}
	for _, s := range g.relay.sensors {
		ward.Beds = append(ward.Beds, agent.Bed{Bed: s.bed, Sensor: s.id})
	}
	c.Wards = []agent.Ward{ward}
	return c
}

// template is folders of a cloud and of gateways that are enrolled with it, made
// in a bubble like all the others.
func template(t *testing.T, dir string) {
	w := &world{t: t, dir: dir, net: newFabric()}
	w.cloud = &node{w: w, name: "cloud", data: filepath.Join(dir, "cloud"), run: w.runCloud}
	w.cloud.begin()
	<-w.cloud.ready
	admin, err := cloud.OpenAdmin(cloud.Config{Data: w.cloud.data, Gateways: cloud.Gateways{PublicURL: "https://" + simLink}, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	for i := range simGateways {
		w.enrol(admin, fmt.Sprintf("gw-%d", i), fmt.Sprintf("w%d", i))
	}
	if err := admin.Close(); err != nil {
		t.Fatal(err)
	}
	w.cloud.end()
}

// enrol does what wardline-agent enrol does, over the fabric.
func (w *world) enrol(admin *cloud.Admin, id, ward string) {
	w.t.Helper()
	line, _, err := admin.Token(w.t.Context(), id, []string{ward}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	key, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"token": line, "csr": string(csr)})
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{DialContext: w.net.dial("enrol"), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Post("https://"+simLink+"/enrol", "application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ Site, Gateway, Certificate, CA, Link string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Certificate == "" {
		w.t.Fatalf("enrol %s: %s, %v", id, resp.Status, err)
	}
	dir := filepath.Join(w.dir, id)
	text, err := json.Marshal(map[string]any{"site": got.Site, "gateway": got.Gateway, "link": got.Link, "at": w.now()})
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = pki.SaveIdentity(filepath.Join(dir, "identity.pem"), []byte(got.Certificate), key)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cloud-ca.pem"), []byte(got.CA), 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "enrolment.json"), text, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// newWorld starts everything on copies of the template.
func newWorld(t *testing.T, from string, seed uint64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), dir: simFolder(t), net: newFabric()}
	if err := os.WriteFile(filepath.Join(w.dir, "key"), fmt.Appendf(nil, "%x\n", simKey), 0o600); err != nil {
		t.Fatal(err)
	}
	w.cloud = &node{w: w, name: "cloud", data: filepath.Join(w.dir, "cloud-1"), run: w.runCloud}
	copyFolder(t, filepath.Join(from, "cloud"), w.cloud.data)
	for i := range simGateways {
		g := &gatewayNode{id: fmt.Sprintf("gw-%d", i), ward: fmt.Sprintf("w%d", i), broker: fmt.Sprintf("127.0.0.1:1%d", i), synced: w.rng.IntN(2) == 0}
		g.node = &node{w: w, name: g.id, data: filepath.Join(w.dir, g.id+"-1")}
		g.run = func(ctx context.Context, n *node) error { return agent.Run(ctx, g.config(n)) }
		g.dying = func() { g.acked = g.relay.acked() }
		copyFolder(t, filepath.Join(from, g.id), g.data)
		dial := w.net.dial("relay " + g.id)
		g.relay = &simRelay{id: fmt.Sprintf("r%d", i), now: w.now, dial: func() (net.Conn, error) { return dial(context.Background(), "tcp", g.broker) }}
		for k := range simBeds {
			g.relay.sensors = append(g.relay.sensors, &simSensor{id: fmt.Sprintf("s%d-%d", i, k), bed: fmt.Sprint(k + 1)})
		}
		w.gateways = append(w.gateways, g)
	}
	return w
}

// A simStatus is what an agent says of itself.
type simStatus struct {
	Uplink struct{ State, Error string }
	Broker struct{ State string }
	Lanes  []struct {
		Lane    string
		Pending uint64
		Evicted uint64
	}
	Alerts []struct{ Rule, Bed, Alert string }
}

// status asks an agent; false when it does not answer.
func (g *gatewayNode) status() (s simStatus, ok bool) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return g.w.net.dial("tool")(ctx, "unix", "control "+g.id)
	}}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	resp, err := client.Get("http://agent/status")
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s) == nil && resp.StatusCode == http.StatusOK
}

// certificate is the one that a gateway has now.
func (g *gatewayNode) certificate() *x509.Certificate {
	text, err := os.ReadFile(filepath.Join(g.data, "identity.pem"))
	if err != nil {
		g.w.t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(text)
	if err != nil {
		g.w.t.Fatal(err)
	}
	return cert
}
