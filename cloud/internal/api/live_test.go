package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/fleet"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link/linkpb"
	"wardline/shared/vital"
)

// screen is one live socket. patience bounds every wait: nothing that is waited
// for takes longer unless something is wrong.
type screen struct {
	t    *testing.T
	conn *websocket.Conn
}

const patience = 20 * time.Second

func (c *client) live() *screen {
	c.t.Helper()
	conn, res, err := websocket.Dial(c.t.Context(), strings.Replace(c.w.URL, "https", "wss", 1)+"/api/v1/live", &websocket.DialOptions{
		HTTPClient: c.w.Client(), HTTPHeader: http.Header{"Cookie": {cookieName + "=" + c.token}},
	})
	if err != nil {
		c.t.Fatalf("open the live socket: %v (%v)", err, res)
	}
	conn.SetReadLimit(1 << 20)
	c.t.Cleanup(func() { conn.CloseNow() })
	return &screen{c.t, conn}
}

func (x *screen) say(m Up) {
	x.t.Helper()
	if err := x.conn.Write(x.t.Context(), websocket.MessageText, encode(m)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *screen) read() (websocket.MessageType, []byte, error) {
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	return x.conn.Read(ctx)
}

// next waits for the next message of a sort; pings and live values in between do
// not count. For "wave" it is the next binary one.
func (x *screen) next(sort string) []byte {
	x.t.Helper()
	for {
		kind, b, err := x.read()
		if err != nil {
			x.t.Fatalf("waiting for %s: %v", sort, err)
		}
		var m struct{ T string }
		if kind == websocket.MessageBinary {
			m.T = "wave"
		} else if err := json.Unmarshal(b, &m); err != nil {
			x.t.Fatal(err)
		}
		if m.T == sort {
			return b
		}
		if m.T != "ping" && m.T != "vitals" && m.T != "wave" {
			x.t.Fatalf("got %s, want %s", b, sort)
		}
	}
}

func message[T any](t *testing.T, b []byte) T {
	t.Helper()
	var m T
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return m
}

// closed waits for the end and gives its code.
func (x *screen) closed() websocket.StatusCode {
	x.t.Helper()
	for {
		if _, _, err := x.read(); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func TestAScreenGetsASnapshotAndThenEveryChange(t *testing.T) {
	w := open(t)
	old := w.raise(t, "7w", "12", "hr-high", night-60*second, false)
	w.raise(t, "5e", "1", "hr-high", night-60*second, false)
	w.do(t, func(tx *store.Tx) error {
		return tx.PutVitals([]store.Summary{{Ward: "7w", Bed: "12", Start: night - 600*second, End: night - 590*second, Contact: true,
			Vitals: []store.VitalSummary{{Vital: vital.HeartRate, N: 10, Min: 80, Mean: 84.5, Max: 90, Last: 85}}}})
	})
	w.hub.PutLive([]string{"7w"}, &linkpb.Live{At: night, Beds: []*linkpb.BedLive{{Ward: "7w", Bed: "12", At: night,
		Values: []*linkpb.Value{{Vital: uint32(vital.HeartRate), Value: 156, At: night, Quality: 99}}}}})

	x := w.as(t, "viewer").live()
	x.say(Up{T: "hello"})
	s := message[Snapshot](t, x.next("snapshot"))
	if len(s.Wards) != 1 || s.Wards[0].ID != "7w" || len(s.Wards[0].Beds) != 2 || len(s.Wards[0].Gateways) != 1 || s.Now != night {
		t.Fatalf("snapshot %+v", s)
	}
	if len(s.Alerts) != 1 || s.Alerts[0].ID != string(old) || !s.Alerts[0].Page {
		t.Errorf("alerts %+v", s.Alerts)
	}
	bed := s.Wards[0].Beds[0]
	if bed.Live == nil || bed.Live.V["hr"] != (LiveItem{156, float64(night), 99}) || bed.Limits["hr.high"] != 120 {
		t.Errorf("bed %+v, live %+v", bed, bed.Live)
	}
	if line := bed.Line["hr"]; len(line) != 1 || line[0][1] != 84.5 || line[0][0] != float64((night-600*second)/lineStep*lineStep) {
		t.Errorf("line %+v", bed.Line)
	}

	id := w.raise(t, "7w", "14", "spo2-low", night, false)
	m := message[Change](t, x.next("change"))
	if m.Kind != "alert" || m.Alert.ID != string(id) || !m.Page || m.Cursor <= s.Cursor {
		t.Errorf("change %+v %+v", m, m.Alert)
	}
	w.raise(t, "5e", "1", "spo2-low", night, false) // not this screen's
	w.as(t, "clinician").post("/api/v1/alerts/"+string(id)+"/acknowledge", "{}")
	if m = message[Change](t, x.next("change")); m.Alert.ID != string(id) || m.Alert.Ack == nil || m.Page || m.Alert.Page {
		t.Errorf("change %+v %+v", m, m.Alert)
	}
	if m.Alert.AtGateway {
		t.Error("the gateway has answered before it was asked")
	}
	pending, err := w.board.Pending(t.Context(), "gw-7w")
	if err != nil || len(pending) != 1 {
		t.Fatalf("pending %+v, %v", pending, err)
	}
	if err := w.board.Finish(t.Context(), "gw-7w", pending[0].ID, board.Done, ""); err != nil {
		t.Fatal(err)
	}
	if m = message[Change](t, x.next("change")); !m.Alert.AtGateway || m.Alert.Ack == nil {
		t.Errorf("change %+v %+v", m, m.Alert)
	}
	v := message[Vitals](t, x.next("vitals"))
	if v.Ward != "7w" || len(v.Beds) != 1 || v.Beds[0].V["hr"][0] != 156 {
		t.Errorf("vitals %+v", v)
	}
	w.wantAudited(t, 1, "viewer|live||7w|done|")
}

func TestGatewaysAndWardsThatChangeAreToldToTheirWardsOnly(t *testing.T) {
	w := open(t)
	x := w.as(t, "viewer").live()
	x.say(Up{T: "hello"})
	x.next("snapshot")
	w.do(t, func(tx *store.Tx) error {
		for _, ward := range []string{"5e", "7w"} {
			g, err := tx.Gateway("gw-" + ward)
			if err != nil {
				return err
			}
			g.Link, g.LinkSince = store.LinkDown, night
			tx.Feed(fleet.GatewayChange, "", encode(g))
			row, err := tx.Ward(ward)
			if err != nil {
				return err
			}
			tx.Feed(fleet.WardChange, ward, encode(row))
		}
		return nil
	})
	if m := message[Change](t, x.next("change")); m.Gateway == nil || m.Gateway.ID != "gw-7w" || m.Gateway.Link != "down" || m.Gateway.Since != night {
		t.Errorf("change %+v", m)
	}
	if m := message[Change](t, x.next("change")); m.Ward == nil || m.Ward.ID != "7w" || len(m.Ward.Beds) != 2 {
		t.Errorf("change %+v", m)
	}
}

func TestAScreenThatReconnectsWithItsCursorLosesNothing(t *testing.T) {
	w := open(t)
	c := w.as(t, "viewer")
	x := c.live()
	x.say(Up{T: "hello"})
	cursor := message[Snapshot](t, x.next("snapshot")).Cursor
	x.conn.CloseNow()
	var want []string
	for i := range 1200 { // more than one reading of the feed
		id := alert.Identify("gw-7w", alert.Subject{Kind: "binding", ID: "7w/12"}, "rule", night+int64(i))
		want = append(want, string(id))
	}
	for i := range 12 {
		w.do(t, func(tx *store.Tx) error {
			for j := range 100 {
				n := i*100 + j
				if err := w.board.Take(tx, "gw-7w", []string{"7w"}, []alert.Event{{Alert: alert.ID(want[n]), Author: alert.Gateway, N: 1,
					Type: alert.Raised, At: night, Condition: &alert.Condition{Gateway: "gw-7w", Ward: "7w", Bed: "12", Rule: "rule",
						Kind: alert.Technical, Priority: alert.Low, Text: "Lead off", Onset: night + int64(n)}}}, false, false); err != nil {
					return err
				}
			}
			return nil
		})
	}
	x = c.live()
	x.say(Up{T: "hello", Cursor: cursor})
	for i, id := range want {
		if m := message[Change](t, x.next("change")); m.Alert.ID != id {
			t.Fatalf("change %d is of %s, want %s", i, m.Alert.ID, id)
		}
	}
}

func TestAnOldOrStrangeCursorIsToldToStartOver(t *testing.T) {
	w := open(t)
	for i := range 10 {
		w.raise(t, "7w", "12", "rule-"+strconv.Itoa(i), night, false)
	}
	w.do(t, func(tx *store.Tx) error { _, err := tx.TrimFeed(0, 3, 100); return err })
	x := w.as(t, "viewer").live()
	for _, cursor := range []string{"1", "999999", "nonsense", "-1"} {
		x.say(Up{T: "hello", Cursor: cursor})
		x.next("gap")
	}
	x.say(Up{T: "hello"})
	if s := message[Snapshot](t, x.next("snapshot")); len(s.Alerts) != 10 {
		t.Errorf("%d alerts", len(s.Alerts))
	}
}

func TestTwoViewersGetTheSameBytes(t *testing.T) {
	w := open(t)
	a, b := w.as(t, "viewer").live(), w.as(t, "lead").live()
	a.say(Up{T: "hello"})
	b.say(Up{T: "hello", Wards: []string{"7w"}})
	a.next("snapshot")
	b.next("snapshot")
	w.raise(t, "7w", "12", "hr-high", night, false)
	if x, y := a.next("change"), b.next("change"); !bytes.Equal(x, y) {
		t.Errorf("%s\nand\n%s", x, y)
	}
	if x, y := a.next("vitals"), b.next("vitals"); !bytes.Equal(x, y) {
		t.Errorf("%s\nand\n%s", x, y)
	}
}

func TestWaveformsAreAskedForOnlyWhileSomebodyLooks(t *testing.T) {
	w := open(t)
	c := w.as(t, "viewer")
	a, b := c.live(), c.live()
	for _, x := range []*screen{a, b} {
		x.say(Up{T: "hello"})
		x.next("snapshot")
		x.say(Up{T: "wave", Ward: "7w", Bed: "12", On: true})
	}
	wantWatch(t, w, "7w/12 on")
	piece := &linkpb.Wave{Ward: "7w", Bed: "12", Lead: 131329, Start: night, IntervalNum: 4096, IntervalDen: 1, NvPerCount: 2441,
		Samples: []int32{0, 1, -1, 40000, -40000}}
	want := encodeWave(waveOf(piece))
	for _, x := range []*screen{a, b} {
		if got := until(x, func() { w.hub.PutWave([]string{"7w"}, piece) }); !bytes.Equal(got, want) {
			t.Errorf("got % x, want % x", got, want)
		}
	}
	a.say(Up{T: "wave", Ward: "7w", Bed: "12"})
	b.conn.CloseNow()
	wantWatch(t, w, "7w/12 off")
	w.wantAudited(t, 2, "viewer|watch|12|7w|done|")

	for _, bad := range []Up{{T: "wave", Ward: "7w", Bed: "99", On: true}, {T: "wave", Ward: "5e", Bed: "1", On: true}, {T: "dance"}} {
		a.say(bad)
		m := message[Failure](t, a.next("error"))
		if m.Problem.Detail == "" {
			t.Errorf("%+v: %+v", bad, m)
		}
	}
	w.wantAudited(t, 1, "viewer|watch|1|5e|refused|other_ward")
}

func TestNothingIsLeftRunningOfALookThatWasEnded(t *testing.T) {
	w := open(t)
	viewer := w.as(t, "viewer")
	p, err := w.access.Check(t.Context(), viewer.token)
	if err != nil {
		t.Fatal(err)
	}
	x := newSocket(w.api.live, nil, caller{Person: p, token: viewer.token})
	for range 3 {
		for _, on := range []bool{true, false} {
			if err := x.heard(t.Context(), Up{T: "wave", Ward: "7w", Bed: "12", On: on}); err != nil {
				t.Fatal(err)
			}
			// Nobody writes for this screen, so what passes a piece on is held by it.
			w.hub.PutWave([]string{"7w"}, &linkpb.Wave{Ward: "7w", Bed: "12", Samples: []int32{1}})
		}
	}
	ended := make(chan struct{})
	go func() { x.g.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("a goroutine goes on after its look was ended")
	}
}

func wantWatch(t *testing.T, w *world, want string) {
	t.Helper()
	select {
	case got := <-w.watches:
		if got != want {
			t.Fatalf("the hub asked for %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the hub did not ask for %q", want)
	}
}

// until repeats put until the screen gets a piece: when a screen begins to look
// is not told to it.
func until(x *screen, put func()) []byte {
	got := make(chan []byte, 1)
	go func() {
		defer close(got) // also when nothing comes and the test fails
		got <- x.next("wave")
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		put()
		select {
		case b := <-got:
			return b
		case <-tick.C:
		}
	}
}

func TestAnEndedSessionEndsItsSocketAtOnceAndSaysSo(t *testing.T) {
	w := openWith(t, bounds{time.Hour, time.Hour, writeTime, helloTime, answerTime}) // no ping finds it out
	for name, end := range map[string]func(c *client){
		"signed out elsewhere": func(c *client) { c.send("DELETE", "/api/v1/session", "") },
		"account disabled": func(c *client) {
			if err := w.access.Disable(t.Context(), "operator", access.From{}, "viewer"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := w.access.Enable(t.Context(), "operator", access.From{}, "viewer"); err != nil {
				t.Fatal(err)
			}
			c := w.as(t, "viewer")
			x := c.live()
			x.say(Up{T: "hello"})
			x.next("snapshot")
			end(c)
			if m := message[Failure](t, x.next("error")); m.Problem.Status != 401 && m.Problem.Status != 403 {
				t.Errorf("told %+v", m)
			}
			if code := x.closed(); code != closeSignedOut {
				t.Errorf("closed with %d", code)
			}
		})
	}
}

func TestASessionThatRunsOutEndsItsSocketAtTheNextPing(t *testing.T) {
	w := open(t)
	x := w.as(t, "viewer").live()
	x.say(Up{T: "hello"})
	x.next("snapshot")
	w.turn(24 * 3600 * second)
	if m := message[Failure](t, x.next("error")); m.Problem.Reason != string(access.SessionOver) {
		t.Errorf("told %+v", m)
	}
	if code := x.closed(); code != closeSignedOut {
		t.Errorf("closed with %d", code)
	}
}

func TestAnotherWardIsRefusedOnTheSocketAndAudited(t *testing.T) {
	w := open(t)
	x := w.as(t, "clinician").live()
	x.say(Up{T: "hello", Wards: []string{"7w", "5e"}})
	if m := message[Failure](t, x.next("error")); m.Problem.Reason != string(access.OtherWard) {
		t.Errorf("told %+v", m)
	}
	if code := x.closed(); code != closeForbidden {
		t.Errorf("closed with %d", code)
	}
	w.wantAudited(t, 1, "clinician|live||5e|refused|other_ward")
}

func TestAnotherOriginsPageGetsNoSocket(t *testing.T) {
	w := open(t)
	c := w.as(t, "viewer")
	_, res, err := websocket.Dial(t.Context(), strings.Replace(w.URL, "https", "wss", 1)+"/api/v1/live", &websocket.DialOptions{
		HTTPClient: w.Client(), HTTPHeader: http.Header{"Cookie": {cookieName + "=" + c.token}, "Origin": {"https://evil.example"}},
	})
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("%v %v", res, err)
	}
}

func TestAScreenThatDoesNotReadIsDroppedAndTheOthersGoOn(t *testing.T) {
	w := openWith(t, bounds{100 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, helloTime, answerTime})
	slow, quick := w.as(t, "viewer").live(), w.as(t, "lead").live()
	slow.say(Up{T: "hello"})
	slow.next("snapshot")
	quick.say(Up{T: "hello", Wards: []string{"7w"}})
	quick.next("snapshot")
	id := w.raise(t, "7w", "12", "hr-high", night, false)
	quick.next("change")
	n := uint32(1)
	for w.screens() == 2 { // fill what the system keeps for the slow one
		n++
		w.take(t, "7w", alert.Event{Alert: id, Author: alert.Gateway, N: n, Type: alert.Updated, At: night, Condition: &alert.Condition{
			Gateway: "gw-7w", Ward: "7w", Bed: "12", Rule: "hr-high", Kind: alert.Physiological, Priority: alert.High,
			Text: strings.Repeat("x", 200_000), Onset: night}})
		if m := message[Change](t, quick.next("change")); m.Alert.Version != uint64(n) {
			t.Fatalf("the quick one got version %d, want %d", m.Alert.Version, n)
		}
	}
	if n < 3 {
		t.Errorf("the slow one was dropped after %d changes", n)
	}
}

func (w *world) screens() int {
	w.api.live.mu.Lock()
	defer w.api.live.mu.Unlock()
	return w.api.live.count
}

func TestASocketThatSaysNothingAtFirstIsClosed(t *testing.T) {
	w := openWith(t, bounds{time.Hour, time.Hour, writeTime, 20 * time.Millisecond, answerTime})
	if code := w.as(t, "viewer").live().closed(); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %d", code)
	}
}

func TestOnePersonDoesNotTakeAllSockets(t *testing.T) {
	w := open(t)
	c := w.as(t, "viewer")
	for range maxOfOne {
		if err := w.api.live.enter("viewer"); err != nil {
			t.Fatal(err)
		}
		defer w.api.live.leave("viewer")
	}
	wantProblem(t, c.get("/api/v1/live"), 503, "unavailable")
	w.as(t, "clinician").live().say(Up{T: "hello"})
}
