//go:build system

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// An ear sits on the link and understands it, with the site's own keys. The first
// time that it hears an answer it keeps it to itself: what was answered has had
// its effect, and who asked does not know. An Ack is lost with its connection, as
// they are; a Result alone, as the cloud may drop one.
type ear struct {
	site   *site
	listen net.Listener

	mu   sync.Mutex // guards what follows; never held across I/O
	lost map[string]int
}

func (s *site) newEar() *ear {
	s.t.Helper()
	ca, err := pki.LoadCA(s.caFile(), s.path("cloud/ca-key.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	cert, key, err := ca.SignServer([]string{"127.0.0.1"}, time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	file := s.path("ear.pem")
	if err := pki.SaveIdentity(file, cert, key); err != nil {
		s.t.Fatal(err)
	}
	id, err := pki.OpenIdentity(file, file)
	if err != nil {
		s.t.Fatal(err)
	}
	e := &ear{site: s, lost: map[string]int{}}
	if e.listen, err = net.Listen("tcp", at(0)); err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serve(w, r, ca) }),
		TLSConfig: pki.ServerTLS(id, ca.Pool(), nil, nil),
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.ServeTLS(e.listen, "", "") })
	s.t.Cleanup(func() { server.Close(); serving.Wait() })
	return e
}

// serve is one connection of the gateway's, carried on under its own name.
func (e *ear) serve(w http.ResponseWriter, r *http.Request, ca *pki.CA) {
	_, gateway, err := pki.GatewayFrom(r.TLS.PeerCertificates[0])
	if err != nil {
		return
	}
	file := filepath.Join(e.site.path(gateway), "identity.pem")
	id, err := pki.OpenIdentity(file, file)
	if err != nil {
		return
	}
	transport := &http.Transport{TLSClientConfig: pki.ClientTLS(id, ca.Pool(), "127.0.0.1", nil)}
	defer transport.CloseIdleConnections()
	ctx, end := context.WithCancel(context.Background())
	defer end()
	up, _, err := websocket.Dial(ctx, "wss://"+at(e.site.gatewayPort)+"/link", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{link.Subprotocol},
	})
	if err != nil {
		return // the cloud is not there, and the gateway finds that out
	}
	defer up.CloseNow()
	down, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{link.Subprotocol}})
	if err != nil {
		return
	}
	defer down.CloseNow()
	var both sync.WaitGroup
	both.Go(func() { defer end(); e.copy(ctx, down, up) })
	both.Go(func() { defer end(); e.copy(ctx, up, down) })
	both.Wait()
}

func (e *ear) copy(ctx context.Context, to, from *websocket.Conn) {
	from.SetReadLimit(link.MaxMessage)
	for {
		_, b, err := from.Read(ctx)
		if err != nil {
			return
		}
		m, err := link.Decode(b)
		if err == nil && e.keeps(m) {
			if _, ok := m.(*linkpb.Ack); ok {
				return
			}
			continue
		}
		if to.Write(ctx, websocket.MessageBinary, b) != nil {
			return
		}
	}
}

// keeps says whether m is an answer that was never heard before.
func (e *ear) keeps(m proto.Message) bool {
	key := ""
	switch m := m.(type) {
	case *linkpb.Ack:
		if link.Lane(m.Lane) == link.Alerts {
			key = fmt.Sprint("ack ", m.Through)
		}
	case *linkpb.Result:
		key = "result " + m.Id
	}
	if key == "" {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost[key]++
	return e.lost[key] == 1
}

// heard counts the answers of a sort that were lost once, and those of them that
// were given again.
func (e *ear) heard(sort string) (lost, again int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, n := range e.lost {
		if len(key) > len(sort) && key[:len(sort)] == sort {
			lost++
			if n > 1 {
				again++
			}
		}
	}
	return lost, again
}

func TestPromise3NoAlertIsLostOrDoubledThoughEveryAckAndEveryResultIsLostOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := s.newEar()
	beds := map[string]string{"1": "p1", "2": "p2", "3": "p3"}
	g := &gateway{site: s, id: gatewayID, ward: wardID, plan: plan{beds: beds}, wire: newWire(t, e.listen.Addr().String())}
	g.configure()
	g.enrol()
	g.startAgent()
	g.linked()
	nurse := g.signIn(g.account("nurse", "clinician", wardID))
	patches := map[string]*patch{}
	for bed, sensor := range beds {
		patches[bed] = g.patch(sensor)
	}
	const acts = 4 // of each alert; the last is an acknowledgement
	ids := map[string]string{}
	for _, p := range patches {
		p.set("hr", 190)
	}
	for bed := range beds {
		a := nurse.openAlert(60*time.Second, bed, "hr-extreme-high")
		ids[bed] = a.ID
		for n := range acts {
			act, body := "comment", map[string]any{"text": fmt.Sprint("act ", n)}
			if n == acts-1 {
				act, body = "acknowledge", map[string]any{}
			}
			if got := nurse.post("/api/v1/alerts/"+a.ID+"/"+act, body, nil); got.Status != http.StatusOK {
				t.Fatalf("%s: %v", act, got)
			}
		}
	}
	until(t, 120*time.Second, "every response at the gateway, and a Result of each that was lost before", func() error {
		for bed, id := range ids {
			if a := nurse.alert(id); !a.AtGateway {
				return fmt.Errorf("the responses to bed %s's alert are not at the gateway", bed)
			}
		}
		if lost, again := e.heard("result "); lost != acts*len(ids) || again != lost {
			return fmt.Errorf("%d Results were lost and %d given again, want %d", lost, again, acts*len(ids))
		}
		return nil
	})
	for _, id := range ids {
		g.acknowledged(id, "nurse")
	}
	for _, p := range patches {
		p.set("hr", 72)
	}
	for bed := range beds {
		until(t, 60*time.Second, "the end of bed "+bed+"'s condition in the cloud", func() error {
			if a := nurse.alert(ids[bed]); a.EndedAt == 0 {
				return fmt.Errorf("it is %s", a.Phase)
			}
			return nil
		})
	}
	g.drained(60 * time.Second)
	if lost, _ := e.heard("ack "); lost < 2 {
		t.Errorf("%d Acks of alerts were lost, want those of what was raised and of what ended at least", lost)
	}
	all := nurse.alerts("all")
	for bed, id := range ids {
		if mine := of(all, bed, "hr-extreme-high"); len(mine) != 1 || mine[0].ID != id {
			t.Errorf("bed %s has %d alerts, want the one", bed, len(mine))
		}
		numbers := map[string][]uint32{}
		for _, x := range nurse.alert(id).Events {
			numbers[x.Author] = append(numbers[x.Author], x.N)
		}
		for author, got := range numbers {
			slices.Sort(got)
			for i, n := range got {
				// The board's first number is the time; these acts follow within a second.
				if n != got[0]+uint32(i) && (author == "gateway" || n <= got[max(0, i-1)]) || author == "gateway" && got[0] != 1 {
					t.Errorf("bed %s: the %s's events are numbered %d", bed, author, got)
					break
				}
			}
		}
		if len(numbers["board"]) != acts || len(numbers["gateway"]) < 2 {
			t.Errorf("bed %s has %d events of the board and %d of the gateway", bed, len(numbers["board"]), len(numbers["gateway"]))
		}
	}
}
