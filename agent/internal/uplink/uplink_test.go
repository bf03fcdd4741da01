package uplink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

func names(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s-%d", prefix, i))
	}
	return list
}

func only(list []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !strings.HasPrefix(s, prefix) })
}

// noise is 1,000 bytes that cannot be compressed.
func noise(seed int) string {
	b := make([]byte, 1000)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return string(b)
}

func TestEveryRecordArrivesOnceAndInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		want := names("v", 3000)
		g.box.put(link.Vitals, want...)
		g.start()
		g.until(t, "all vitals arrive", func() bool { return len(g.has()) == 3000 })
		g.box.put(link.Alerts, "a-0")
		synctest.Wait()
		if got := g.has(); got[len(got)-1] != "a-0" || !slices.Equal(only(got, "v"), want) {
			t.Fatalf("%d arrived, in another order", len(got))
		}
		time.Sleep(2 * time.Second)
		s := g.state()
		if !s.Connected || s.AckedRecords != 3001 || s.SentRecords != 3001 || s.Pending[link.Vitals] != 0 || s.Cloud != "cloud.test" {
			t.Errorf("state %+v", s)
		}
	})
}

func TestNothingIsLostThoughEveryAckIsDroppedOnceAndConnectionsBreak(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		dropped := map[string]bool{}
		g.set(func() {
			g.dropAck = func(a *linkpb.Ack) bool {
				key := fmt.Sprint(a.Lane, a.Through)
				first := !dropped[key]
				dropped[key] = true
				return first
			}
		})
		g.box.durable = func(lane link.Lane, through uint64) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, at := range g.at {
				if at[lane].Seq >= through {
					return true
				}
			}
			return false
		}
		g.start()
		wantV, wantA := names("v", 200), names("a", 50)
		for i := range 50 {
			g.box.put(link.Vitals, wantV[4*i:4*i+4]...)
			g.box.put(link.Alerts, wantA[i])
			time.Sleep(time.Duration(i%7) * 300 * time.Millisecond)
			if i%5 == 0 {
				g.cut()
			}
		}
		g.until(t, "the outbox is empty", func() bool {
			for _, l := range g.box.Lanes() {
				if l.Pending() > 0 {
					return false
				}
			}
			return true
		})
		time.Sleep(2 * time.Second) // a report
		got := g.has()
		if !slices.Equal(only(got, "v"), wantV) || !slices.Equal(only(got, "a"), wantA) {
			t.Fatalf("taken %q", got)
		}
		if n := g.state().AckedRecords; n != 250 {
			t.Errorf("%d records count as acknowledged, want 250", n)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(dropped) == 0 || g.box.early {
			t.Errorf("%d Acks dropped; forgotten too early: %v", len(dropped), g.box.early)
		}
	})
}

// What is open is asked after the lanes' ends were read: the cloud ends an alert
// whose record is among them and that is not named.
func TestAnAlertThatIsRaisedWhileItIsAskedWhatIsOpenIsNotAmongWhatHelloCountsAsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		var said []*linkpb.Hello
		g.config.Hello = func() *linkpb.Hello {
			h := &linkpb.Hello{OpenKnown: true} // none is open
			g.box.put(link.Alerts, "raised")
			said = append(said, h)
			return h
		}
		g.start()
		g.until(t, "the alert", func() bool { return len(g.has()) > 0 })
		g.end()
		for _, l := range said[0].Lanes {
			if link.Lane(l.Lane) == link.Alerts && l.Last != 0 {
				t.Errorf("a hello that names no alert counts %d records of alerts", l.Last)
			}
		}
		if len(said[0].Lanes) != len(link.Lanes) {
			t.Errorf("it tells of %d lanes", len(said[0].Lanes))
		}
	})
}

func TestAnAlertWaitsForNoMoreThanOneMessageOfSomethingElse(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.set(func() { g.slow = 200 * time.Millisecond })
		for i := range 2000 {
			g.box.put(link.Vitals, "v"+noise(i))
		}
		g.start()
		g.until(t, "vitals flow", func() bool { return len(g.has()) > 0 })
		before := len(g.has())
		g.box.put(link.Alerts, "a")
		g.until(t, "the alert arrives", func() bool { return slices.Contains(g.has(), "a") })
		// One message was being read, one was on the wire, one in the writer's hand.
		between := slices.Index(g.has(), "a") - before
		if between > 3*60 {
			t.Fatalf("%d records went before the alert, want at most those of three messages", between)
		}
		if len(g.has()) == 2001 {
			t.Fatal("the backlog was through before the alert: nothing was tested")
		}
	})
}

func TestAnAlertDoesNotWaitForResultsEither(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.config.Command = func(_ context.Context, c *linkpb.Command) *linkpb.Result {
			return &linkpb.Result{Id: c.Id, Outcome: "done", Detail: strings.Repeat("x", detailBound)}
		}
		g.set(func() {
			g.slow = 200 * time.Millisecond
			for i := range 60 {
				g.pending[fmt.Sprint(i)] = &linkpb.Command{Id: fmt.Sprint(i)}
			}
		})
		g.start()
		results := func() int { g.mu.Lock(); defer g.mu.Unlock(); return len(g.results) }
		g.until(t, "results flow", func() bool { return results() > 5 })
		before := results()
		g.box.put(link.Alerts, "a")
		g.until(t, "the alert arrives", func() bool { return len(g.has()) == 1 })
		// Those were on the wire already, or in the hands of the two ends.
		if n := results() - before; n > 4+halfBound/detailBound {
			t.Errorf("%d results went before the alert", n)
		}
		if results() == 60 {
			t.Error("all results were through before the alert: nothing was tested")
		}
	})
}

func TestACommandIsAnsweredAgainWhenItsResultIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		done := map[string]int{}
		calls := 0
		g.config.Command = func(_ context.Context, c *linkpb.Command) *linkpb.Result {
			calls++
			if done[c.Id] == 0 {
				done[c.Id]++
			}
			return &linkpb.Result{Id: c.Id, Outcome: "done", Detail: strings.Repeat("é", 40_000)}
		}
		lost := map[string]bool{}
		g.set(func() {
			g.dropRes = func(r *linkpb.Result) bool { first := !lost[r.Id]; lost[r.Id] = true; return first }
			for _, id := range []string{"x", "y", "z"} {
				g.pending[id] = &linkpb.Command{Id: id}
			}
		})
		g.start()
		g.until(t, "each Result was lost once", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(lost) == 3 })
		g.cut() // the next Welcome brings them again
		g.until(t, "the Results arrive", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.results) == 3 })
		if calls != 6 {
			t.Errorf("%d calls, want 6", calls)
		}
	})
}

func TestARefusalIsReportedAndItsTimeIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.set(func() {
			g.refuse = &linkpb.Refuse{Reason: link.Revoked, Text: "ask", RetryAfter: 120e6, Technician: true}
		})
		g.start()
		g.until(t, "refused", func() bool { return g.state().Refused == link.Revoked })
		if s := g.state(); !s.Technician || s.Connected || s.LastError != "refused: revoked: ask" {
			t.Errorf("state %+v", s)
		}
		g.set(func() { g.refuse = nil })
		g.until(t, "connected", func() bool { return g.state().Connected })
		g.mu.Lock()
		waited := g.sessions[1].Sub(g.sessions[0])
		g.mu.Unlock()
		if waited < 120*time.Second || waited > 140*time.Second {
			t.Errorf("it came back after %v", waited)
		}
		if s := g.state(); s.Refused != "" || s.Technician || s.LastError != "" {
			t.Errorf("state %+v after it was welcomed", s)
		}
	})
}

func TestWhileItIsRefusedTheReasonIsNeverEmpty(t *testing.T) {
	const another = "another gateway with this identity is connected; this one tries again in 60 s"
	for text, want := range map[string]string{another: "refused: duplicate: " + another, "": "refused: duplicate"} {
		inBubble(t, func(t *testing.T, g *gateway) {
			g.start()
			g.until(t, "connected", func() bool { return g.state().Connected })
			g.set(func() {
				g.refuse = &linkpb.Refuse{Reason: link.Duplicate, Text: text, RetryAfter: 60e6, Technician: true}
			})
			g.cut()
			g.until(t, "refused", func() bool { return g.state().Refused == link.Duplicate })
			for range 3 * 60 { // over several tries
				if s := g.state(); s.Refused != link.Duplicate || !s.Technician || s.LastError != want {
					t.Fatalf("state %+v, want the error %q", s, want)
				}
				time.Sleep(time.Second)
			}
			g.set(func() { g.refuse = nil })
			g.until(t, "connected", func() bool { return g.state().Connected })
			if s := g.state(); s.Refused != "" || s.LastError != "" {
				t.Errorf("state %+v after it was welcomed", s)
			}
		})
	}
}

func TestASilentCloudIsGivenUpAfterTwentyFiveSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.set(func() { g.mute = true })
		g.start()
		g.until(t, "connected", func() bool { return g.state().Connected })
		began := time.Now()
		g.until(t, "down", func() bool { return !g.state().Connected })
		if took := time.Since(began); took < 24*time.Second || took > 27*time.Second {
			t.Errorf("given up after %v", took)
		}
		if n := count[*linkpb.Ping](g.cloud); n != 2 {
			t.Errorf("%d pings, want 2", n)
		}
		if s := g.state(); s.LastError != errSilence.Error() {
			t.Errorf("state %+v", s)
		}
		g.set(func() { g.mute = false })
		g.until(t, "connected again", func() bool { return g.state().Connected })
	})
}

func TestACloudThatAcknowledgesNothingIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.set(func() { g.dropAck = func(*linkpb.Ack) bool { return true } })
		g.box.put(link.Vitals, "v")
		g.start()
		g.until(t, "given up", func() bool { return g.state().LastError == errStalled.Error() })
		g.until(t, "the Welcome says that it is durable", func() bool { return g.box.Lanes()[2].Pending() == 0 })
		if got := g.has(); len(got) != 1 {
			t.Errorf("taken %q", got)
		}
	})
}

func TestADiskThatWentBackInTimeBeginsANewEpoch(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.box.put(link.Alerts, "a-0", "a-1")
		g.start()
		g.until(t, "durable", func() bool { return len(g.has()) == 2 && g.box.Lanes()[0].Pending() == 0 })
		g.box.mu.Lock() // the card is restored to before, and another a-1 is made
		*g.box.lanes[link.Alerts] = boxLane{first: 1}
		g.box.lanes[link.Alerts].put(link.Record{Kind: link.AlertEvent, Observed: 1, Payload: []byte("a-0")})
		g.box.lanes[link.Alerts].put(link.Record{Kind: link.AlertEvent, Observed: 1, Payload: []byte("a-new")})
		g.box.mu.Unlock()
		old := g.box.Epoch()
		g.cut()
		g.until(t, "the new record arrives", func() bool { return slices.Contains(g.has(), "a-new") })
		if g.box.Epoch() == old || g.state().Renumbered != 1 {
			t.Errorf("epoch the same: %v, renumbered %d", g.box.Epoch() == old, g.state().Renumbered)
		}
	})
}

func TestLiveValuesComeOnceASecondAndOnlyWhileConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		calls := 0
		g.config.Live = func() *linkpb.Live { calls++; return &linkpb.Live{At: int64(calls)} }
		g.set(func() { g.down = true })
		g.start()
		time.Sleep(time.Minute)
		if calls != 0 {
			t.Fatalf("asked %d times while the link was down", calls)
		}
		g.set(func() { g.down = false })
		g.until(t, "connected", func() bool { return g.state().Connected })
		before := count[*linkpb.Live](g.cloud)
		time.Sleep(10 * time.Second)
		if n := count[*linkpb.Live](g.cloud) - before; n < 9 || n > 11 {
			t.Errorf("%d live messages in ten seconds", n)
		}
	})
}

func TestWavesAreNeverInTheWay(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		waves := make(chan *linkpb.Wave)
		g.config.Waves = waves
		g.set(func() { g.down = true })
		g.start()
		piece := &linkpb.Wave{Ward: "7w", Bed: "12", IntervalNum: 4096, IntervalDen: 1, Samples: make([]int32, 100)}
		for range 1000 {
			waves <- piece // nobody is connected: it must not block
		}
		g.set(func() { g.down = false })
		g.until(t, "connected", func() bool { return g.state().Connected })
		if n := count[*linkpb.Wave](g.cloud); n != 0 {
			t.Errorf("%d pieces from before the session were sent", n)
		}
		g.box.put(link.Vitals, names("v", 500)...)
		for range 200 {
			waves <- piece
		}
		g.until(t, "both arrive", func() bool { return len(g.has()) == 500 && count[*linkpb.Wave](g.cloud) > 50 })
	})
}

func TestTheCertificateIsLoadedForEachConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gateway) {
		g.start()
		for i := range 3 {
			g.until(t, "connected", func() bool { return g.state().Connected && g.state().Sessions == uint64(i+1) })
			g.cut()
		}
		g.until(t, "connected", func() bool { return g.state().Sessions == 4 })
		if g.loads < 4 {
			t.Errorf("%d loads for 4 sessions", g.loads)
		}
	})
}

func TestBackOffIsBetweenHalfASecondAndThirty(t *testing.T) {
	for attempt := range 40 {
		for range 100 {
			d := backOff(attempt, errors.New("no"))
			if d < minWait || d > maxWait || attempt == 0 && d > time.Second {
				t.Fatalf("attempt %d waits %v", attempt, d)
			}
		}
	}
	far := backOff(0, fmt.Errorf("x: %w", &link.Refusal{RetryAfter: 1 << 62}))
	if far < maxRefused || far > maxRefused+maxRefused/8 {
		t.Errorf("an absurd retry-after waits %v", far)
	}
}

func TestAnAddressThatIsNotSecureIsRefused(t *testing.T) {
	if err := Run(t.Context(), Config{URL: "ws://cloud.test/link"}); err == nil {
		t.Error("plain ws was taken")
	}
}
