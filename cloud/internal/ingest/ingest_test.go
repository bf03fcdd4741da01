package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

func TestARecordIsTakenOnceHoweverOftenItIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		p := r.dial(id)
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		a, b, c, d := summary(1, "7w", "a"), summary(2, "7w", "b"), summary(3, "7w", "c"), summary(4, "7w", "d")
		p.batch(link.Vitals, false, a, b)
		if ack := next[*linkpb.Ack](p); ack.Through != 2 {
			t.Fatalf("acknowledged %v, want 2", ack)
		}
		p.batch(link.Vitals, false, a, b)
		p.batch(link.Vitals, true, b, c)
		for next[*linkpb.Ack](p).Through < 3 {
		}
		p.cut()
		p = r.dial(id)
		p.send(hello(1, 0, 3))
		w := next[*linkpb.Welcome](p)
		hash := link.Hash{}.Next(a).Next(b).Next(c)
		if at := w.Lanes[2]; at.Through != 3 || link.Hash(at.Hash) != hash {
			t.Fatalf("welcomed with %v", at)
		}
		p.batch(link.Vitals, false, a, b, c, d)
		for next[*linkpb.Ack](p).Through < 4 {
		}
		got := r.taken()
		if want := []string{"a late=false", "b late=false", "c late=true", "d late=false"}; !slices.Equal(got, want) {
			t.Fatalf("taken %q, want %q", got, want)
		}
		if c := r.server.Counts(); c.Records != 4 || c.Repeats != 1 || c.Late != 1 || c.Sessions != 2 {
			t.Fatalf("counted %+v", c)
		}
		p.cut()
	})
}

func TestAnUnreadableRecordIsKeptRawAndHoldsNothingUp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.aside = "third"
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		bad := link.Record{Seq: 2, Kind: link.AlertEvent, Observed: 5, Payload: []byte("{no json")}
		foreign := event(4, "other")
		foreign.Payload = []byte(strings.Replace(string(foreign.Payload), `"ward":"7w"`, `"ward":"8e"`, 1))
		unknown := link.Record{Seq: 5, Kind: 99, Observed: 5, Payload: []byte{1}}
		p.batch(link.Alerts, false, event(1, "first"), bad, event(3, "third"), foreign, unknown, event(6, "sixth"))
		for next[*linkpb.Ack](p).Through < 6 {
		}
		if got, want := r.taken(), []string{"first", "sixth"}; !slices.Equal(got, want) {
			t.Fatalf("taken %q, want %q", got, want)
		}
		var odd []store.OddRecord
		must(t, r.store.View(t.Context(), func(tx *store.Tx) (err error) {
			odd, err = tx.OddRecords("gw-7w", 10)
			return err
		}))
		if len(odd) != 4 || r.server.Counts().Odd != 4 {
			t.Fatalf("%d odd records, %d counted, want 4: %v", len(odd), r.server.Counts().Odd, odd)
		}
		for _, o := range odd {
			if o.Record.Seq == 2 && string(o.Record.Payload) != "{no json" {
				t.Errorf("record 2 was kept as %q", o.Record.Payload)
			}
		}
		p.batch(link.Vitals, false, summary(1, "8e", "foreign"), summary(2, "7w", "ours"))
		for next[*linkpb.Ack](p).Through < 2 {
		}
		if got := r.taken(); got[len(got)-1] != "ours late=false" || len(got) != 3 {
			t.Fatalf("taken %q", got)
		}
		p.cut()
	})
}

func TestAMissingRecordEndsTheSessionUnlessAHoleDeclaresIt(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		p := r.dial(id)
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		h, err := link.NewHole(&linkpb.Hole{From: 1, To: 7, Reason: "quota", Hash: make([]byte, 16)}, 1)
		must(t, err)
		p.batch(link.Vitals, false, h, summary(8, "7w", "eight"))
		for next[*linkpb.Ack](p).Through < 8 {
		}
		p.batch(link.Vitals, false, summary(10, "7w", "ten"))
		refuse := p.ended()
		if refuse.GetReason() != link.Protocol || !strings.Contains(refuse.Text, "goes on at 10, want 9") {
			t.Fatalf("refused with %v", refuse)
		}
		synctest.Wait()
		if got, want := r.taken(), []string{"eight late=false", "hole 1-7"}; !slices.Equal(got, want) {
			t.Fatalf("taken %q, want %q", got, want)
		}
		if r.server.Counts().Gaps != 1 {
			t.Error("the gap was not counted")
		}
	})
}

func TestABatchThatCannotBeCommittedIsSentAgainAndTakenOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		r.fail = errors.New("disk full")
		p := r.dial(id)
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, false, event(1, "first"))
		for m := range p.in {
			switch m := m.(type) {
			case *linkpb.Ack:
				t.Fatalf("%v though nothing was committed", m)
			case *linkpb.Refuse:
				if m.Reason != link.Busy {
					t.Fatalf("refused with %v", m)
				}
				p.conn.CloseNow()
			}
		}
		r.mu.Lock()
		r.fail = nil
		r.mu.Unlock()
		p = r.dial(id)
		p.send(hello(1, 1, 0))
		if w := next[*linkpb.Welcome](p); w.Lanes[0].Through != 0 {
			t.Fatalf("welcomed at %v", w.Lanes[0])
		}
		p.batch(link.Alerts, false, event(1, "first"))
		next[*linkpb.Ack](p)
		if got, want := r.taken(), []string{"first (held)"}; !slices.Equal(got, want) {
			t.Fatalf("taken %q, want %q", got, want)
		}
		p.cut()
	})
}

func TestASlowDatabaseHoldsTheGatewayBackInsteadOfFillingMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.gate = make(chan struct{})
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		const batches, size = 100, 40 << 10
		random := rand.NewChaCha8([32]byte{})
		go func() {
			for i := range uint64(batches) {
				payload := make([]byte, size)
				random.Read(payload)
				p.batch(link.Vitals, false, link.Record{Seq: i + 1, Kind: 99, Observed: 1, Payload: payload})
			}
		}()
		time.Sleep(time.Second)
		if n := r.server.Counts().Batches; n < 2 || n > queueBound/size+3 {
			t.Errorf("%d batches of %d bytes were read while the database stood still", n, size)
		}
		time.Sleep(2 * silenceBound) // it is we who do not listen: the session goes on
		close(r.gate)
		for next[*linkpb.Ack](p).Through < batches {
		}
		p.cut()
	})
}

func TestTheNewestSessionWinsAndTheOlderIsToldWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		a := r.dial(id)
		a.send(hello(1, 0, 0))
		next[*linkpb.Welcome](a)
		synctest.Wait()
		b := r.dial(id)
		b.send(hello(2, 0, 0))
		if refuse := a.ended(); refuse.GetReason() != link.Replaced {
			t.Fatalf("the older was refused with %v", refuse)
		}
		next[*linkpb.Welcome](b)
		synctest.Wait()
		b.cut()
		time.Sleep(time.Second)
		got := r.heard()
		want := []string{"up", "released", "down: refused: replaced: this gateway has a newer session", "up", "released"}
		if len(got) != 6 || !slices.Equal(got[:5], want) {
			t.Fatalf("told %q, want %q and down", got, want)
		}
	})
}

func TestTwoGatewaysWithOneIdentityAreToldApartAndOneIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		a := r.dial(id)
		a.send(hello(1, 0, 0))
		next[*linkpb.Welcome](a)
		b := r.dial(id)
		b.send(hello(2, 0, 0))
		next[*linkpb.Welcome](b)
		a.ended()
		for range 3 {
			a = r.dial(id)
			a.send(hello(1, 0, 0))
			refuse := a.ended()
			want := "another gateway with this identity is connected: one of the two must be enrolled anew; this one tries again in 60 s"
			if refuse.GetReason() != link.Duplicate || !refuse.Technician || refuse.Text != want || refuse.RetryAfter != 60e6 {
				t.Fatalf("the one that came back was refused with %v", refuse)
			}
		}
		b.batch(link.Alerts, false, event(1, "still served"))
		next[*linkpb.Ack](b)
		if n := strings.Count(strings.Join(r.heard(), "|"), "duplicate"); n != 1 {
			t.Fatalf("told %d times within a minute, want once", n)
		}
		b.cut()
	})
}

func TestRevocationEndsAnOpenSessionWithinASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		began := time.Now()
		r.server.Disconnect("gw-7w", "stolen")
		r.server.Disconnect("gw-8e", "has no session")
		if refuse := p.ended(); refuse.GetReason() != link.Revoked || refuse.Text != "stolen" || !refuse.Technician {
			t.Fatalf("refused with %v", refuse)
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("it took %v", took)
		}
		time.Sleep(time.Second)
		if r.server.Wish("gw-7w", &linkpb.Command{Id: "x"}) {
			t.Error("a revoked gateway still has a session")
		}
	})
}

func TestAPeerThatDoesNotHangUpIsCutOffWithinASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		began := time.Now()
		r.server.Disconnect("gw-7w", "stolen")
		for range p.in {
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("it took %v", took)
		}
	})
}

func TestAGatewayThatIsNotAdmittedIsToldWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.refuse = &link.Refusal{Reason: link.UnknownGateway, Text: "enrol it", Technician: true}
		p := r.dial(r.identity("gw-7w"))
		if refuse := p.ended(); refuse.GetReason() != link.UnknownGateway || refuse.Text != "enrol it" {
			t.Fatalf("refused with %v", refuse)
		}
		if len(r.heard()) != 0 {
			t.Errorf("told %q of a session that never was", r.heard())
		}
	})
}

func TestAGatewayThatWatchesAWardItIsNotEnrolledForIsRefusedBeforeAnythingIsTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		watches := func(wards ...string) *linkpb.Hello {
			h := hello(1, 1, 0)
			for _, w := range wards {
				h.Wards = append(h.Wards, &linkpb.Ward{Id: w})
			}
			return h
		}
		const (
			one  = "this gateway watches ward 8e but is enrolled for 7w only: ask for a token with --ward 8e and enrol with --replace"
			both = "this gateway watches ward 8e but is enrolled for 7w only: ask for a token with --ward 7w --ward 8e and enrol with --replace"
		)
		try := func(text string, wards ...string) {
			t.Helper()
			p := r.dial(id)
			p.send(watches(wards...))
			p.batch(link.Alerts, false, event(1, "kept in the outbox"))
			refuse := p.ended()
			if refuse.GetReason() != link.ForeignWard || refuse.Text != text || !refuse.Technician || refuse.RetryAfter != 60e6 {
				t.Fatalf("refused with %v", refuse)
			}
		}
		try(one, "8e")
		try(one, "8e")
		try(both, "7w", "8e")
		try(both, "7w", "8e")
		p := r.dial(id)
		p.send(watches("7w"))
		next[*linkpb.Welcome](p)
		p.cut()
		try(both, "7w", "8e")
		time.Sleep(time.Second)
		if got := r.taken(); len(got) != 0 {
			t.Errorf("taken %q of a gateway that was refused", got)
		}
		var told []string
		for _, s := range r.heard() {
			if why, ok := strings.CutPrefix(s, "foreign: "); ok {
				told = append(told, why)
			}
		}
		if want := []string{one, both, both}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestAnotherVersionIsRefusedAndSoIsARequestWithoutACertificate(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		h := hello(1, 0, 0)
		h.Version = 2
		p.send(h)
		if refuse := p.ended(); refuse.GetReason() != link.BadVersion {
			t.Fatalf("refused with %v", refuse)
		}
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, httptest.NewRequest("GET", "/link", nil))
		if w.Code != 401 {
			t.Errorf("status %d without a certificate, want 401", w.Code)
		}
	})
}

func TestAlertsFromBeforeTheSessionAreHeldUntilAllHaveCome(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 3, 0))
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, true, event(1, "one"), event(2, "two"))
		for next[*linkpb.Ack](p).Through < 2 {
		}
		if slices.Contains(r.heard(), "released") {
			t.Fatal("released before the third had come")
		}
		p.batch(link.Alerts, false, event(3, "three"), event(4, "four"))
		for next[*linkpb.Ack](p).Through < 4 {
		}
		synctest.Wait()
		want := []string{"one (held)", "two (held)", "three (held)", "four"}
		if got := r.taken(); !slices.Equal(got, want) {
			t.Fatalf("taken %q, want %q", got, want)
		}
		p.cut()
		time.Sleep(time.Minute)
		if n := strings.Count(strings.Join(r.heard(), "|"), "released"); n != 1 {
			t.Errorf("released %d times, want once", n)
		}
	})
}

func TestWhatAGatewayKnowsOfIsToldWhenAllFromBeforeTheSessionHasCome(t *testing.T) {
	knows := func(alertsLast uint64) *linkpb.Hello {
		h := hello(1, alertsLast, 0)
		h.OpenKnown, h.OpenAlerts = true, []string{"aa"}
		return h
	}
	fourth := fmt.Sprintf("%032x", 4)
	for name, c := range map[string]struct {
		hello *linkpb.Hello
		late  bool // the fold takes longer than the page waits
		want  []string
	}{
		"at once":                                {knows(0), false, []string{"up", "known [aa]", "released"}},
		"before the release":                     {knows(3), false, []string{"up", "known [" + fourth + " aa]", "released"}},
		"also after ten seconds, and not sooner": {knows(3), true, []string{"up", "released", "known [" + fourth + " aa]"}},
		"not when it does not know":              {func() *linkpb.Hello { h := knows(3); h.OpenKnown = false; return h }(), false, []string{"up", "released"}},
		"whatever its clock says":                {func() *linkpb.Hello { h := knows(0); h.Clock = &linkpb.Clock{Now: 1}; return h }(), false, []string{"up", "known [aa]", "released"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				p := r.dial(r.identity("gw-7w"))
				p.send(c.hello)
				next[*linkpb.Welcome](p)
				synctest.Wait()
				p.batch(link.Alerts, true, event(1, "one"), event(2, "two"))
				next[*linkpb.Ack](p)
				if c.late {
					time.Sleep(foldWithin + time.Second)
				}
				p.batch(link.Alerts, false, event(3, "three"), event(4, "four"))
				for next[*linkpb.Ack](p).Through < 4 {
				}
				p.batch(link.Alerts, false, event(5, "five"))
				for next[*linkpb.Ack](p).Through < 5 {
				}
				synctest.Wait()
				if got := r.heard(); !slices.Equal(got, c.want) {
					t.Errorf("told %q, want %q", got, c.want)
				}
				p.cut()
			})
		})
	}
}

func TestASessionThatEndsBeforeAllHasComeForgetsAndReleasesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		h := hello(1, 3, 0)
		h.OpenKnown = true
		p.send(h)
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, true, event(1, "one"))
		next[*linkpb.Ack](p)
		p.cut()
		time.Sleep(time.Minute)
		if got := strings.Join(r.heard(), "|"); strings.Contains(got, "known") || strings.Contains(got, "released") {
			t.Errorf("told %s", got)
		}
		p = r.dial(r.identity("gw-7w"))
		p.send(h)
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, true, event(2, "two"), event(3, "three"))
		for next[*linkpb.Ack](p).Through < 3 {
		}
		synctest.Wait()
		if got := r.heard(); !slices.Equal(got[len(got)-3:], []string{"up", "known []", "released"}) {
			t.Errorf("told %q when the rest had come", got)
		}
		p.cut()
	})
}

func TestAlertsAreToldWithWhetherTheyWereSentLate(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var got []string
		r.server.c.Alerts = func(_ *store.Tx, _ Gateway, events []alert.Event, hold, late bool) error {
			for _, e := range events {
				got = append(got, fmt.Sprintf("%s hold=%v late=%v", e.Text, hold, late))
			}
			return nil
		}
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 1, 0))
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, true, event(1, "one"), event(2, "two"))
		p.batch(link.Alerts, false, event(3, "three"))
		for next[*linkpb.Ack](p).Through < 3 {
		}
		if want := []string{"one hold=true late=true", "two hold=false late=true", "three hold=false late=false"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		p.cut()
	})
}

func TestNothingIsReleasedWhenWhatTheGatewayLostCannotBeEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.server.c.Known = func(context.Context, Gateway, []alert.ID) error { return fmt.Errorf("the disk is full") }
		p := r.dial(r.identity("gw-7w"))
		h := hello(1, 1, 0)
		h.OpenKnown = true
		p.send(h)
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, true, event(1, "one"))
		p.ended()
		time.Sleep(time.Minute)
		if got := strings.Join(r.heard(), "|"); strings.Contains(got, "released") || !strings.Contains(got, "the disk is full") {
			t.Errorf("told %s", got)
		}
	})
}

func TestHeldAlertsAreReleasedAfterTenSecondsAtMost(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 3, 0))
		next[*linkpb.Welcome](p)
		p.batch(link.Alerts, true, event(1, "one"))
		next[*linkpb.Ack](p)
		time.Sleep(foldWithin - time.Second)
		if slices.Contains(r.heard(), "released") {
			t.Fatal("released too early")
		}
		time.Sleep(2 * time.Second)
		if !slices.Contains(r.heard(), "released") {
			t.Fatal("not released after ten seconds")
		}
		p.batch(link.Alerts, true, event(2, "two"))
		next[*linkpb.Ack](p)
		if got, want := r.taken(), []string{"one (held)", "two"}; !slices.Equal(got, want) {
			t.Fatalf("taken %q, want %q", got, want)
		}
		p.cut()
	})
}

func TestACommandIsSentUntilItsResultIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		dropped := map[string]bool{}
		r.dropOnce = func(id string) bool { first := !dropped[id]; dropped[id] = true; return first }
		r.pending["a"] = &linkpb.Command{Id: "a"}
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		if c := next[*linkpb.Command](p); c.Id != "a" {
			t.Fatalf("got %v, want a", c)
		}
		b := &linkpb.Command{Id: "b"}
		r.mu.Lock()
		r.pending["b"] = b
		r.mu.Unlock()
		for range 2 {
			r.server.Wake("gw-7w")
		}
		sent := map[string]int{"a": 1}
		for len(sent) < 2 || sent["a"]+sent["b"] < 4 {
			p.send(&linkpb.Ping{At: 1})
			c := next[*linkpb.Command](p)
			sent[c.Id]++
			p.send(&linkpb.Result{Id: c.Id, Outcome: "done"})
		}
		p.send(&linkpb.Result{Id: "a", Outcome: "done"})
		time.Sleep(time.Second)
		r.mu.Lock()
		left, results := len(r.pending), slices.Clone(r.results)
		r.mu.Unlock()
		if left != 0 {
			t.Errorf("%d commands are left, results %q", left, results)
		}
		for range 3 {
			p.send(&linkpb.Ping{At: 1})
			time.Sleep(pingEvery)
		}
		for len(p.in) > 0 {
			if c, ok := (<-p.in).(*linkpb.Command); ok {
				t.Errorf("%s was sent again after its Result was kept", c.Id)
			}
		}
		p.cut()
	})
}

func TestASilentGatewayIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		began := time.Now()
		pings := 0
		for m := range p.in {
			if _, ok := m.(*linkpb.Ping); ok {
				pings++
			}
		}
		if took := time.Since(began); took < silenceBound || took > silenceBound+time.Second || pings != 2 {
			t.Fatalf("given up after %v and %d pings", took, pings)
		}
		synctest.Wait()
		if got := r.heard(); got[len(got)-1] != "down: "+errSilence.Error() {
			t.Errorf("told %q", got)
		}
	})
}

func TestAGatewayThatHangsUpIsSaidToHaveDoneSo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		p.cut()
		time.Sleep(time.Second)
		if got := r.heard(); got[len(got)-1] != "down: the gateway closed the connection" {
			t.Errorf("told %q", got)
		}
		p = r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		must(t, p.conn.Write(t.Context(), websocket.MessageBinary, make([]byte, link.MaxMessage+1)))
		p.ended()
		time.Sleep(time.Second)
		if got := r.heard(); !strings.HasPrefix(got[len(got)-1], "down: read: ") {
			t.Errorf("told %q", got)
		}
	})
}

func TestLiveValuesAndWavesOfOtherWardsArePassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		next[*linkpb.Welcome](p)
		p.send(&linkpb.Live{At: 1, Beds: []*linkpb.BedLive{{Ward: "8e", Bed: "1"}, {Ward: "7w", Bed: "12"}}})
		for _, ward := range []string{"7w", "8e"} {
			p.send(&linkpb.Wave{Ward: ward, Bed: "12", IntervalNum: 4096, IntervalDen: 1, Samples: []int32{1}})
		}
		p.send(&linkpb.Ping{At: 77})
		if pong := next[*linkpb.Pong](p); pong.At != 77 {
			t.Fatalf("got %v", pong)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if !slices.Equal(r.liveBeds, []string{"7w/12"}) || r.waveCount != 1 {
			t.Errorf("live %q, %d waves", r.liveBeds, r.waveCount)
		}
		p.cut()
	})
}

// A gateway made of link.Sender meets breaks at every message, and the first of
// every Ack is lost.
func TestNothingIsLostNorTakenTwiceThoughEveryAckIsDroppedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		id := r.identity("gw-7w")
		var records []link.Record
		var want []string
		for i := range uint64(300) {
			records = append(records, summary(i+1, "7w", fmt.Sprint(i)))
			want = append(want, fmt.Sprintf("%d late=false", i))
		}
		dropped := map[uint64]bool{}
		for round := 0; len(dropped) < 300 && round < 400; round++ {
			if carryOver(t, r, id, records, round, dropped) {
				break
			}
		}
		if got := r.taken(); !slices.Equal(got, want) {
			t.Fatalf("taken %d records, want %d, in order: %q", len(got), len(want), got)
		}
		if len(dropped) < 10 {
			t.Fatalf("%d Acks were dropped, want many", len(dropped))
		}
	})
}

// carryOver is one session that ends after a few messages; true when the cloud
// has said that it has everything.
func carryOver(t *testing.T, r *rig, id *pki.Identity, records []link.Record, round int, dropped map[uint64]bool) bool {
	p := r.dial(id)
	defer p.cut()
	p.send(hello(1, 0, uint64(len(records))))
	w := next[*linkpb.Welcome](p)
	var hash link.Hash
	s, err := link.NewSender(w, []link.LaneState{{Lane: link.Vitals, First: 1, Last: uint64(len(records)), Hash: hash}},
		func(link.Lane, uint64) (link.Hash, bool) { return link.Hash{}, false })
	must(t, err)
	if s.Durable(link.Vitals) == uint64(len(records)) {
		return true
	}
	read := func(_ link.Lane, after uint64, _ int) ([]link.Record, error) {
		return records[after:min(after+uint64(1+round%7), uint64(len(records)))], nil
	}
	for range 1 + round%5 {
		now := time.Now().UnixMicro()
		b, err := s.Next(now, now, read)
		must(t, err)
		if b == nil {
			break
		}
		p.send(b)
		if round%3 == 0 {
			p.send(b)
		}
	}
	if round%2 == 0 {
		a := next[*linkpb.Ack](p)
		if dropped[a.Through] {
			_, err := s.Ack(0, a)
			must(t, err)
		}
		dropped[a.Through] = true
	}
	return false
}
