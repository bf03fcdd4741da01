package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/feed"
	"wardline/cloud/internal/fleet"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

const password = "correct horse battery"

// world is the cloud as people's programs see it: everything real but the
// gateways, which the test plays, and the time, which it turns.
type world struct {
	*httptest.Server
	store   *store.Store
	access  *access.Access
	board   *board.Board
	hub     *feed.Hub
	api     *Server
	at      atomic.Int64
	watches chan string // "ward/bed on" as the hub asks for waveforms
}

func (w *world) now() int64    { return w.at.Load() }
func (w *world) turn(us int64) { w.at.Add(us) }

// open makes two wards with a gateway each and an account of every role.
func open(t *testing.T) *world {
	return openWith(t, bounds{100 * time.Millisecond, 50 * time.Millisecond, writeTime, helloTime, answerTime})
}

func openWith(t *testing.T, b bounds) *world {
	t.Helper()
	w := &world{watches: make(chan string, 64)}
	w.at.Store(night)
	var err error
	if w.store, err = store.OpenAt(filepath.Join(t.TempDir(), "cloud.db"), w.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.access = access.New(access.Config{Store: w.store, Now: w.now, Cost: access.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}})
	w.board = board.New(board.Config{Store: w.store, Now: w.now})
	w.hub = feed.NewHub(func(ward, bed string, on bool) {
		w.watches <- ward + "/" + bed + map[bool]string{true: " on", false: " off"}[on]
	}, w.now)
	gateways := fleet.New(fleet.Config{Store: w.store, Now: w.now, Audit: func(tx *store.Tx, r fleet.Row) error {
		return w.access.Audit(tx, access.Row{Who: r.Who, From: r.From, What: r.What, On: r.On, Outcome: access.Done, Why: r.Why})
	}})
	s := New(Config{Store: w.store, Access: w.access, Board: w.board, Feed: feed.New(w.store), Hub: w.hub, Now: w.now,
		Revoke: gateways.Revoke,
		Status: func(context.Context) (Status, error) { return Status{At: w.now()}, nil }, Page: fstest.MapFS{
			"index.html":    {Data: []byte("<!doctype html><title>Wardline</title>")},
			"assets/app.js": {Data: []byte(strings.Repeat("export {}\n", 100))},
		}})
	s.live.bounds = b
	w.api = s
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	g.Go(func() { s.Run(ctx) })
	g.Go(func() { w.hub.Run(ctx) })
	w.Server = httptest.NewTLSServer(s)
	t.Cleanup(func() { cancel(); g.Wait(); w.Server.Close() })
	w.populate(t)
	return w
}

func (w *world) populate(t *testing.T) {
	t.Helper()
	w.do(t, func(tx *store.Tx) error {
		for ward, beds := range map[string][]string{"7w": {"12", "14"}, "5e": {"1"}} {
			g := store.Gateway{ID: "gw-" + ward, Site: "st-anne", Wards: []string{ward}, Link: store.LinkUp, LinkSince: night - 3600*second}
			row := store.Ward{ID: ward, Name: "Ward " + ward}
			for _, b := range beds {
				row.Beds = append(row.Beds, store.Bed{ID: b, Sensor: "LX-" + b, Limits: []store.Limit{{Name: "hr.high", Value: 120, Unit: "/min"}}, Expect: []string{"hr"}})
			}
			if err := tx.PutGateway(g); err != nil {
				return err
			}
			if _, err := tx.PutTopology(g.ID, []store.Ward{row}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, a := range []access.Account{
		{Name: "viewer", Role: access.Viewer, Wards: []string{"7w"}},
		{Name: "clinician", Role: access.Clinician, Wards: []string{"7w"}},
		{Name: "lead", Role: access.Lead, Wards: []string{"*"}},
		{Name: "technician", Role: access.Technician, Wards: []string{"7w"}},
		{Name: "administrator", Role: access.Administrator},
	} {
		if err := w.access.Add(t.Context(), "operator", access.From{}, a, password); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) do(t *testing.T, f func(tx *store.Tx) error) {
	t.Helper()
	if err := w.store.Do(t.Context(), store.High, f); err != nil {
		t.Fatal(err)
	}
}

// take folds events that come from a gateway.
func (w *world) take(t *testing.T, ward string, events ...alert.Event) {
	t.Helper()
	w.do(t, func(tx *store.Tx) error { return w.board.Take(tx, "gw-"+ward, []string{ward}, events, false, false) })
}

// raise makes a gateway raise an alert, and returns its id.
func (w *world) raise(t *testing.T, ward, bed, rule string, onset int64, latch bool) alert.ID {
	t.Helper()
	subject := alert.Subject{Kind: "binding", ID: ward + "/" + bed}
	id := alert.Identify("gw-"+ward, subject, rule, onset)
	w.take(t, ward, alert.Event{Alert: id, Author: alert.Gateway, N: 1, Type: alert.Raised, At: onset + 6*second,
		Condition: &alert.Condition{Gateway: "gw-" + ward, Ward: ward, Bed: bed, Subject: subject, Rule: rule, Kind: alert.Physiological,
			Priority: alert.High, Text: "Heart rate 156 above 140 /min", Onset: onset, Latch: latch}})
	return id
}

// client is one signed-in person's program.
type client struct {
	t     *testing.T
	w     *world
	token string
}

func (w *world) as(t *testing.T, name string) *client {
	t.Helper()
	if name == "" {
		return &client{t: t, w: w}
	}
	token, _, err := w.access.SignIn(t.Context(), name, password, access.From{Address: "192.0.2.7"})
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, w: w, token: token}
}

// reply is what came back.
type reply struct {
	*http.Response
	body []byte
}

func (c *client) send(method, path, body string, headers ...string) reply {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.w.URL+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: c.token})
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.w.Client().Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{res, b}
}

func (c *client) get(path string) reply        { c.t.Helper(); return c.send("GET", path, "") }
func (c *client) post(path, body string) reply { c.t.Helper(); return c.send("POST", path, body) }

// decoded reads an answer of 200 strictly.
func decoded[T any](t *testing.T, r reply) T {
	t.Helper()
	var out T
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", r.Request.Method, r.Request.URL.Path, r.Status, r.body)
	}
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%s: %v in %s", r.Request.URL.Path, err, r.body)
	}
	return out
}

// wantProblem checks a refusal's status, reason and form.
func wantProblem(t *testing.T, r reply, status int, reason string) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(r.body, &p); err != nil || r.StatusCode != status || p.Reason != reason || p.Status != status {
		t.Fatalf("%s %s: %s %s, want %d %s", r.Request.Method, r.Request.URL.Path, r.Status, r.body, status, reason)
	}
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" || p.Detail == "" || p.Title == "" {
		t.Errorf("%s %s: a problem of type %q: %s", r.Request.Method, r.Request.URL.Path, got, r.body)
	}
	return p
}

// rows are those of the log that read "who|what|on|ward|outcome|why".
func (w *world) rows(t *testing.T, want string) (out []access.Entry) {
	t.Helper()
	rows, err := w.access.Log(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if strings.Join([]string{r.Who, r.What, r.On, r.Ward, string(r.Outcome), r.Why}, "|") == want {
			out = append(out, r)
		}
	}
	return out
}

// from is the address of the one row that reads so.
func (w *world) from(t *testing.T, row string) string {
	t.Helper()
	rows := w.rows(t, row)
	if len(rows) != 1 {
		t.Fatalf("%d rows %q in the audit log, want 1", len(rows), row)
	}
	return rows[0].From
}

func (w *world) wantAudited(t *testing.T, n int, want string) {
	t.Helper()
	if got := len(w.rows(t, want)); got != n {
		t.Errorf("%d rows %q in the audit log, want %d", got, want, n)
	}
}
