package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/store"
)

// Bounds of the live sockets.
const (
	maxSockets  = 2000
	maxOfOne    = 40      // sockets of one person
	maxUp       = 4 << 10 // bytes of a message from a screen
	maxWatched  = 8       // beds of which one screen sees waveforms
	pingEvery   = 5 * time.Second
	vitalsEvery = time.Second
	writeTime   = 10 * time.Second // a screen that takes longer for one message is dropped
	helloTime   = 10 * time.Second // for the first message
	answerTime  = 20 * time.Second // for a WebSocket ping's answer
	keptChanges = 1024             // encoded changes that are kept for other viewers
)

// Private close codes: 4000 and an HTTP status.
const (
	closeSignedOut websocket.StatusCode = 4401
	closeForbidden websocket.StatusCode = 4403
)

// live is what all live sockets share: each message is encoded once, and the
// same bytes are written to every viewer of a ward.
type live struct {
	s       *Server
	bounds  bounds
	closing chan struct{} // closed when Run ends
	sockets sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	count   int
	people  map[string]int    // sockets by person
	watched map[string]int    // sockets by ward
	vitals  map[string][]byte // the newest message by ward
	ticked  chan struct{}     // closed when vitals is made anew
	changes map[uint64][]byte // encoded, by the feed's seq
	order   []uint64          // of changes, the oldest first
}

// bounds are the times of live sockets; tests shorten them.
type bounds struct{ ping, vitals, write, hello, answer time.Duration }

func newLive(s *Server) *live {
	return &live{s: s, bounds: bounds{pingEvery, vitalsEvery, writeTime, helloTime, answerTime}, people: map[string]int{}, closing: make(chan struct{}), watched: map[string]int{}, vitals: map[string][]byte{},
		ticked: make(chan struct{}), changes: map[uint64][]byte{}}
}

// run makes the messages of live values until ctx ends, and then ends all sockets.
func (l *live) run(ctx context.Context) {
	tick := time.NewTicker(l.bounds.vitals)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.mu.Lock()
			l.closed = true
			l.mu.Unlock()
			close(l.closing)
			l.sockets.Wait()
			return
		case <-tick.C:
			l.tick()
		}
	}
}

// tick encodes the newest values of every ward that somebody looks at.
func (l *live) tick() {
	l.mu.Lock()
	wards := make([]string, 0, len(l.watched))
	for w := range l.watched {
		wards = append(wards, w)
	}
	l.mu.Unlock()
	made := make(map[string][]byte, len(wards))
	for _, w := range wards {
		m := Vitals{T: "vitals", Ward: w, At: l.s.c.Now(), Beds: []BedLive{}}
		for _, b := range l.s.c.Hub.Vitals(w) {
			m.Beds = append(m.Beds, newBedLive(b))
		}
		made[w] = encode(m)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vitals = made
	close(l.ticked)
	l.ticked = make(chan struct{})
}

// newest is the messages of live values, and what is closed when there are newer.
func (l *live) newest() (map[string][]byte, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vitals, l.ticked
}

func (l *live) watch(wards []string, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range wards {
		if l.watched[w] += by; l.watched[w] <= 0 {
			delete(l.watched, w)
		}
	}
}

// change gives the message of a feed row, the same bytes to everyone; nil when
// there is nothing to tell.
func (l *live) change(row store.FeedRow) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.changes[row.Seq]; ok {
		return b, nil
	}
	b, err := encodeChange(row)
	if err != nil {
		return nil, err
	}
	l.changes[row.Seq] = b
	if l.order = append(l.order, row.Seq); len(l.order) > keptChanges {
		delete(l.changes, l.order[0])
		l.order = l.order[1:]
	}
	return b, nil
}

// serve answers GET /api/v1/live.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	token, via := credentials(r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	c := caller{via: via, token: token, from: access.From{Address: r.RemoteAddr, Agent: r.UserAgent()}}
	p, err := l.s.c.Access.Authenticate(r.Context(), token)
	if err == nil {
		c.Person = p
		err = l.s.permit(r.Context(), c, access.PatientsRead, "live", "", "")
	}
	if err == nil {
		err = l.enter(c.Name)
	}
	if err != nil {
		writeProblem(w, l.s.problem(err))
		return
	}
	defer l.leave(c.Name)
	conn, err := websocket.Accept(w, r, nil) // which refuses another origin's page
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxUp)
	x := newSocket(l, conn, c)
	err = x.run()
	l.s.c.Log.Debug("a screen has gone", slog.String("person", c.Name), slog.Any("why", err))
}

func (l *live) enter(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.count >= maxSockets || l.people[name] >= maxOfOne {
		return newProblem(http.StatusServiceUnavailable, reasonUnavailable, "No more screens can be served at this moment. Close one, or try again in a minute.")
	}
	l.count++
	l.people[name]++
	l.sockets.Add(1)
	return nil
}

func (l *live) leave(name string) {
	l.mu.Lock()
	l.count--
	if l.people[name]--; l.people[name] == 0 {
		delete(l.people, name)
	}
	l.mu.Unlock()
	l.sockets.Done()
}

// wardsFor is the wards that a hello asks for, each of which the person may see;
// nil = every ward.
func (s *Server) wardsFor(ctx context.Context, c caller, asked []string) ([]string, error) {
	if len(asked) == 0 || slices.Contains(asked, access.Every) {
		return c.limit(), nil
	}
	for _, w := range asked {
		if err := s.permit(ctx, c, access.PatientsRead, "live", "", w); err != nil {
			return nil, err
		}
	}
	return slices.Clone(asked), nil
}

func encode(m any) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("api: a message cannot be encoded: " + err.Error()) // its types are ours
	}
	return b
}

func refused(err error) bool {
	_, ok := errors.AsType[*access.Refusal](err)
	return ok
}
