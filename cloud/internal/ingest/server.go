package ingest

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// Times of sessions.
const (
	helloWithin  = 20 * time.Second       // from the handshake
	pingEvery    = 10 * time.Second       // and commands without a Result are asked for and sent again
	silenceBound = 25 * time.Second       // without any message the session is over
	foldWithin   = 10 * time.Second       // alerts from before the session are held no longer
	refuseWithin = 500 * time.Millisecond // for a Refuse to arrive before the connection is cut

	displacedFor   = 10 * time.Minute // how long a displaced instance is remembered
	duplicateRetry = time.Minute
	foreignRetry   = time.Minute
)

// displacedBound is how many displaced instances of a gateway are remembered.
const displacedBound = 4

// Server takes sessions as an [http.Handler] for GET /link.
type Server struct {
	c      Config
	counts counts

	mu       sync.Mutex // guards what follows; never held across I/O
	closing  bool
	seats    map[string]*seat // by gateway
	sessions sync.WaitGroup   // Add under mu while not closing
}

// A seat is a gateway's one place. There are as many as gateways were admitted.
type seat struct {
	session   *session // the newest, nil when there is none
	displaced []displaced
	told      int64  // when Duplicate was last told
	foreign   string // what Foreign was told; "" when the gateway was welcomed since
}

// displaced is an agent's run whose session had to make way for another's.
type displaced struct {
	instance string
	at       int64
}

// Counts is what a server has seen since it began.
type Counts struct {
	Sessions   uint64 // welcomed
	Records    uint64 // taken, durable
	Batches    uint64
	Late       uint64 // records in batches that were marked late
	Repeats    uint64 // batches that brought nothing new
	Gaps       uint64 // sessions closed because records were missing
	Odd        uint64 // records kept raw
	Duplicates uint64 // sessions refused because another gateway shows the same identity
}

type counts struct {
	sessions, records, batches, late, repeats, gaps, odd, duplicates atomic.Uint64
}

// New makes a server. Close it before the store.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	if c.Fault == nil {
		c.Fault = func(string) error { return nil }
	}
	return &Server{c: c, seats: map[string]*seat{}}
}

// Counts is what has been seen until now.
func (s *Server) Counts() Counts {
	c := &s.counts
	return Counts{
		Sessions: c.sessions.Load(), Records: c.records.Load(), Batches: c.batches.Load(), Late: c.late.Load(),
		Repeats: c.repeats.Load(), Gaps: c.gaps.Load(), Odd: c.odd.Load(), Duplicates: c.duplicates.Load(),
	}
}

// ServeHTTP is one session, from its handshake to its end. The request must have
// come over TLS with a client certificate that was verified.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		http.Error(w, "a gateway's certificate is required", http.StatusUnauthorized)
		return
	}
	if !s.enter() {
		http.Error(w, "the cloud is stopping", http.StatusServiceUnavailable)
		return
	}
	defer s.sessions.Done()
	cert := r.TLS.PeerCertificates[0]
	g, admitErr := s.c.Admit(r.Context(), cert)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{link.Subprotocol}})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(link.MaxMessage)
	if conn.Subprotocol() != link.Subprotocol {
		conn.Close(websocket.StatusPolicyViolation, "speak "+link.Subprotocol)
		return
	}
	newSession(s, conn, g, cert).serve(context.WithoutCancel(r.Context()), admitErr)
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.sessions.Add(1)
	}
	return !s.closing
}

// refusalOf is what to tell a gateway that Admit does not let in.
func refusalOf(err error) *link.Refusal {
	if refusal, ok := errors.AsType[*link.Refusal](err); ok {
		return refusal
	}
	return &link.Refusal{Reason: link.Busy, Text: "the cloud cannot tell who this is just now", RetryAfter: 5e6}
}

// seat is a gateway's; the caller holds mu.
func (s *Server) seat(gateway string) *seat {
	at := s.seats[gateway]
	if at == nil {
		at = new(seat)
		s.seats[gateway] = at
	}
	return at
}

// foreign refuses x when it watches a ward that it is not enrolled for: taken
// all the same, what it tells of that ward would be set aside and seen by nobody.
// Refused, it keeps everything in its outbox and says why.
func (s *Server) foreign(x *session) *link.Refusal {
	var watched, others []string
	for _, w := range x.hello.Wards {
		watched = append(watched, w.Id)
		if !x.mine(w.Id) {
			others = append(others, w.Id)
		}
	}
	if len(others) == 0 {
		return nil
	}
	text := fmt.Sprintf("this gateway watches %s but is enrolled for %s only: ask for a token with %s and enrol with --replace",
		wardList(others), cmp.Or(few(x.g.Wards, " and "), "no ward"), "--ward "+few(watched, " --ward "))
	s.mu.Lock()
	at := s.seat(x.g.ID)
	tell := at.foreign != text
	at.foreign = text
	s.mu.Unlock()
	if tell && s.c.Foreign != nil {
		s.c.Foreign(x.g, text)
	}
	return &link.Refusal{Reason: link.ForeignWard, Text: text, RetryAfter: foreignRetry.Microseconds(), Technician: true}
}

func wardList(ids []string) string {
	if len(ids) == 1 {
		return "ward " + few(ids, "")
	}
	return "wards " + few(ids, " and ")
}

// few joins ids for a sentence; a gateway must not make it long.
func few(ids []string, by string) string {
	const most = 8
	var out []string
	for _, id := range ids[:min(len(ids), most)] {
		out = append(out, fmt.Sprintf("%.32s", id))
	}
	if len(ids) > most {
		out = append(out, "…")
	}
	return strings.Join(out, by)
}

// claim makes x the gateway's session. The one before is told to go and has
// ended when claim returns. It refuses x when both are alive and take the
// gateway's identity from each other.
func (s *Server) claim(x *session) *link.Refusal {
	now := s.c.Now()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return stopping()
	}
	at := s.seat(x.g.ID)
	before := at.session
	at.displaced = slices.DeleteFunc(at.displaced, func(d displaced) bool { return now-d.at > displacedFor.Microseconds() })
	if before != nil && before.instance != x.instance {
		if slices.ContainsFunc(at.displaced, func(d displaced) bool { return d.instance == x.instance }) {
			tell := now-at.told >= time.Minute.Microseconds()
			if tell {
				at.told = now
			}
			s.mu.Unlock()
			return s.duplicate(x, tell)
		}
		if len(at.displaced) == displacedBound {
			at.displaced = at.displaced[1:]
		}
		at.displaced = append(at.displaced, displaced{before.instance, now})
	}
	at.session, at.foreign = x, ""
	s.mu.Unlock()
	if before != nil {
		before.refuse(&link.Refusal{Reason: link.Replaced, Text: "this gateway has a newer session"})
		<-before.done
	}
	return nil
}

// duplicate refuses x: an instance that had to make way for another has come
// back while that one is still here, so there are two.
func (s *Server) duplicate(x *session, tell bool) *link.Refusal {
	s.counts.duplicates.Add(1)
	if tell && s.c.Duplicate != nil {
		s.c.Duplicate(x.g, "one of them must be enrolled anew")
	}
	return &link.Refusal{
		Reason: link.Duplicate, RetryAfter: duplicateRetry.Microseconds(), Technician: true,
		Text: fmt.Sprintf("another gateway with this identity is connected: one of the two must be enrolled anew; this one tries again in %d s",
			int(duplicateRetry.Seconds())),
	}
}

func stopping() *link.Refusal {
	return &link.Refusal{Reason: link.Stopping, Text: "the cloud is stopping", RetryAfter: 1e6}
}

// leave gives x's seat back, unless a newer session has it.
func (s *Server) leave(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.seats[x.g.ID]; at != nil && at.session == x {
		at.session = nil
	}
}

func (s *Server) session(gateway string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.seats[gateway]; at != nil {
		return at.session
	}
	return nil
}

// Wake hints that Pending has something new for a gateway: its session, if it has
// one here, asks. A hint that is lost costs at most pingEvery.
func (s *Server) Wake(gateway string) {
	if x := s.session(gateway); x != nil {
		x.out.put(func(m *mail) { m.ask = true })
	}
}

// Wish hands the gateway's session a command that Pending does not know; false
// when it has none here. It is written at most once: whoever still wishes it asks
// again, and it should have a deadline.
func (s *Server) Wish(gateway string, c *linkpb.Command) bool {
	x := s.session(gateway)
	if x == nil {
		return false
	}
	x.out.wish(c)
	return true
}

// Disconnect refuses the gateway's open session, if any, as revoked: within a
// second it has ended. It does not wait for that.
func (s *Server) Disconnect(gateway, reason string) {
	if x := s.session(gateway); x != nil {
		x.refuse(&link.Refusal{Reason: link.Revoked, Text: reason, Technician: true})
	}
}

// End ends the gateway's open session, if any: it is told why and comes again
// soon. It does not wait for that.
func (s *Server) End(gateway, why string) {
	if x := s.session(gateway); x != nil {
		x.refuse(&link.Refusal{Reason: link.Busy, Text: why, RetryAfter: 5e6})
	}
}

// Close refuses new sessions, ends those that are open and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing = true
	for _, at := range s.seats {
		if at.session != nil {
			at.session.refuse(stopping())
		}
	}
	s.mu.Unlock()
	s.sessions.Wait()
}

// admit asks again, once the session can be found by Disconnect: between the
// first time and now the gateway may have been revoked.
func (s *Server) admit(ctx context.Context, cert *x509.Certificate) *link.Refusal {
	if _, err := s.c.Admit(ctx, cert); err != nil {
		return refusalOf(err)
	}
	return nil
}
