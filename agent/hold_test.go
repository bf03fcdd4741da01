package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// acts counts what persons did to alerts, as the cloud is told.
func (b *bench) acts(kind alert.Type) (n int) {
	b.t.Helper()
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			b.t.Fatal(err)
		}
		if e.Type == kind {
			n++
		}
	}
	return n
}

func TestAPressOfTheWardsButtonIsDoneOnceHoweverOftenItIsDelivered(t *testing.T) {
	for name, x := range map[string]struct {
		at, again bool // the response says when; the broker says that it may be the same
		want      int
	}{
		"it says when":                        {true, false, 1},
		"it says when, with the flag":         {true, true, 1},
		"it does not say when, with the flag": {false, true, 1},
		"pressed twice, and nobody can tell":  {false, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, t.TempDir(), begin())
			b.pass(12*time.Second, "S1", 140)
			text := fmt.Sprintf(`{"act":"acknowledge","alert":%q,"by":"station-1"`, b.open("1")[0].ID)
			if x.at {
				text += fmt.Sprintf(`,"at":%d`, b.now.Wall)
			}
			press := func(b *bench, again bool) {
				b.a.loop.message(b.now, &intake.Message{Topic: "wl/1/ward/7w/bed/1/response", Payload: []byte(text + "}"), Received: b.now.Wall, Again: again})
			}
			press(b, false)
			press(b, x.again) // before it is committed
			b.flush()
			if n := b.acts(alert.Acknowledged); n != x.want {
				t.Errorf("delivered twice, it is done %d times, want %d", n, x.want)
			}
			press(b, true) // the acknowledgement was lost
			b.flush()
			next := start(t, b.crash(), Instant{Boot: 2, Mono: 1e6, Wall: b.now.Wall + 1e6, Synchronised: true})
			press(next, true) // the agent was killed before it acknowledged
			next.flush()
			if n := next.acts(alert.Acknowledged); n != x.want || next.source("other").SetAside[ward.ReasonRepeat] != 1 {
				t.Errorf("after a restart it is done %d times, want %d; set aside %v", n, x.want, next.source("other").SetAside)
			}
		})
	}
}

// order asks for an acknowledgement by a command of the cloud's, and plays the loop.
func (b *bench) order(id string, of alert.ID) *linkpb.Result {
	b.t.Helper()
	event := must(json.Marshal(alert.Event{Alert: of, Author: alert.Board, N: 1, Type: alert.Acknowledged, At: b.now.Wall, By: "nurse", Priority: alert.High}))
	over, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		select {
		case call := <-b.a.loop.calls:
			call(b.now)
			b.a.loop.flush()
		case <-over:
		}
	}()
	r := b.a.link.command(b.t.Context(), &linkpb.Command{Id: id, Body: &linkpb.Command_AlertEvent{AlertEvent: event}})
	close(over)
	<-served
	return r
}

func TestAnAnswerOfTheBoardReachesTheWardWhileTheDiskTakesNothingAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), begin())
		b.pass(12*time.Second, "S1", 190)
		b.pass(12*time.Second, "S2", 190)
		first, second := b.open("1")[0].ID, b.open("2")[0].ID
		b.a.loop.append = func(outbox.Commit) (outbox.Position, error) { return 0, errDisk }
		b.pass(3*time.Second, "S1", 190)
		acked := func(bed string) bool { _, ok := b.open(bed)[0].Ack(b.now.Wall); return ok }
		began := time.Now()
		for range 3 { // the cloud gives what has no result again
			if r := b.order("c1", first); r != nil {
				t.Errorf("answered %v although it is not kept", r)
			}
			if r := b.order("c2", second); r != nil {
				t.Errorf("answered %v although it is not kept", r)
			}
		}
		if took := time.Since(began); took > 2*durableWithin {
			t.Errorf("commands were held up for %v", took)
		}
		if !acked("1") || !acked("2") {
			t.Error("the ward does not know of the acknowledgements")
		}
		if r := b.order("c3", alert.ID(strings.Repeat("a", 32))); r == nil || r.Outcome != outcomeRefused {
			t.Errorf("what has no effect waits for the disk: %v", r)
		}
		b.a.loop.append = b.disk.Append
		b.pass(3*time.Second, "S1", 190)
		for _, id := range []string{"c1", "c2"} {
			if r := b.order(id, first); r == nil || r.Outcome != outcomeDone || !b.disk.Seen(id) {
				t.Errorf("once the disk works %s is answered with %v", id, r)
			}
		}
	})
}

func TestAFreshOutboxThatCannotBeBegunYetIsBegunLaterWithAllThatWaits(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(12*time.Second, "S1", 190)
	box, options := b.disk.box.Load(), b.disk.options
	b.disk.options = func() (outbox.Options, error) { return outbox.Options{}, errDisk }
	box.Condemn(errors.New("a page is not what it was"))
	b.pass(12*time.Second, "S2", 190)
	if n := len(b.a.loop.units); n == 0 {
		t.Fatal("nothing waits although no outbox can be begun")
	}
	b.disk.options = options
	b.pass(3*time.Second, "S2", 190)
	if b.disk.box.Load() == box {
		t.Fatal("no fresh outbox was begun")
	}
	if n := b.framesKept(); n < 14 {
		t.Errorf("%d frames are kept in the fresh one, want those of 14 s at least", n)
	}
	if n := b.episodes("hr-extreme-high"); n != 2 {
		t.Errorf("the fresh outbox has %d alerts, want both beds'", n)
	}
}

// A broker gives more than it should; at a bound no more is taken, and nothing
// that was not kept is acknowledged.
func TestPromise1ADiskThatIsFullForLongerThanMessagesMayWaitLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		time.Sleep(2 * time.Second)
		r.hurt(failing(BeforeCommit, errDisk))
		const seconds, rate = 25, 400
		n := 0
		for range seconds {
			for range rate {
				n++
				r.give("wl/1/r/S1/json", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":190,"contact":true}`, time.Now().UnixMicro(), n))
				time.Sleep(time.Second / rate)
			}
		}
		synctest.Wait()
		r.mu.Lock()
		acked := len(r.acked)
		r.mu.Unlock()
		if n <= maxWaiting || acked != 0 {
			t.Errorf("of %d messages %d are acknowledged while the disk takes none", n, acked)
		}
		if s := r.lamp("1"); !strings.Contains(s, `/hr-extreme-high"`) || !strings.Contains(s, `"durable":false`) {
			t.Errorf("the lamp is shown %s", s)
		}
		r.hurt(nil)
		time.Sleep(20 * time.Second)
		r.end()
		if len(r.given) > 0 || len(r.acked) != n {
			t.Errorf("in the end %d of %d are acknowledged", len(r.acked), n)
		}
		frames, events := r.held(r.dir)
		if len(frames) != n || len(events) == 0 {
			t.Errorf("%d frames of %d and %d events are kept", len(frames), n, len(events))
		}
		for i, f := range frames {
			if f != r.acked[i] {
				t.Fatalf("%s is kept in the place of %s", f, r.acked[i])
			}
		}
	})
}

func TestAnAgentThatIsStoppedWhileACommitStallsEndsWithItAndAcknowledgesNothingOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		for second := range 5 {
			r.story(second)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		acked := len(r.acked)
		r.hurt(func(point string) error {
			if point == BeforeCommit {
				time.Sleep(20 * time.Second)
			}
			return nil
		})
		for second := range 3 {
			r.story(5 + second)
			time.Sleep(time.Second)
		}
		stopped := time.Now()
		r.end()
		if took := time.Since(stopped); took > 21*time.Second {
			t.Errorf("it ended %v after it was asked to", took)
		}
		if len(r.acked) != acked {
			t.Errorf("%d messages were acknowledged during the stall", len(r.acked)-acked)
		}
	})
}

// TestAStepOfTheClockWhileTheDiskFailsChangesNoAlert steps it by an hour in the
// middle; frames are replayed under the clocks under which they were taken.
func TestAStepOfTheClockWhileTheDiskFailsChangesNoAlert(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		b := start(t, t.TempDir(), begin())
		b.pass(5*time.Second, "S1", 72)
		b.a.loop.append = func(outbox.Commit) (outbox.Position, error) { return 0, errDisk }
		b.pass(3*time.Second, "S1", 190)
		at := b.now.Wall
		b.now.Wall += by.Microseconds()
		for range 8 { // the sensor's clock goes on as before
			at += 1e6
			b.now.Mono, b.now.Wall = b.now.Mono+1e6, b.now.Wall+1e6
			b.say("S1", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":190,"contact":true}`, at, at/1e6%1e9))
			b.a.loop.tick()
			b.flush()
		}
		open := b.open("1")
		if len(open) != 1 || len(b.a.loop.units) < 2 {
			t.Fatalf("by %v: open %+v, %d commits wait", by, open, len(b.a.loop.units))
		}
		b.a.loop.append = b.disk.Append
		b.now.Mono, b.now.Wall = b.now.Mono+2e6, b.now.Wall+2e6
		b.flush()
		if n := b.raised("hr-extreme-high"); n != 1 || b.framesKept() != 16 {
			t.Errorf("by %v: raised %d times, %d frames are kept", by, n, b.framesKept())
		}
		next := start(t, b.crash(), Instant{Boot: 1, Mono: b.now.Mono + 1e6, Wall: b.now.Wall + 1e6, Synchronised: true})
		if got := next.open("1"); len(got) != 1 || got[0].ID != open[0].ID {
			t.Errorf("by %v: after a restart open are %+v", by, got)
		}
	}
}

// TestPromise2AWardIsWatchedForAsLongAsTheDiskTakesNothing has a broker that gives
// eight messages unacknowledged, and a disk that takes nothing for ten minutes.
func TestPromise2AWardIsWatchedForAsLongAsTheDiskTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), 8)
		n := 0
		say := func(seconds, hr int) {
			for range seconds {
				n++
				r.give("wl/1/r/S1/json", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":%d,"contact":true}`, time.Now().UnixMicro(), n, hr))
				r.give("wl/1/r/S2/json", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":72,"contact":true}`, time.Now().UnixMicro(), n))
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		say(5, 72)
		r.hurt(failing(BeforeCommit, errDisk))
		say(600, 72)
		for _, bed := range []string{"1", "2"} {
			if s := r.lamp(bed); strings.Contains(s, "sensor-silent") {
				t.Errorf("bed %s is not watched: %s", bed, s)
			}
		}
		say(10, 190)
		if s := r.lamp("1"); !strings.Contains(s, `/hr-extreme-high"`) || !strings.Contains(s, `"durable":false`) {
			t.Errorf("the lamp is shown %s", s)
		}
		r.hurt(nil)
		say(30, 190)
		r.mu.Lock()
		if r.eye != nil {
			t.Error("it is still looked on beside the session")
		}
		r.mu.Unlock()
		if s := r.lamp("1"); !strings.Contains(s, `/hr-extreme-high"`) || strings.Contains(s, `"durable":false`) {
			t.Errorf("when it is over the lamp is shown %s", s)
		}
		time.Sleep(5 * time.Second)
		r.end()
		frames, events := r.held(r.dir)
		if len(frames) != 2*n || len(r.acked) != 2*n || len(r.queue) > 0 {
			t.Errorf("%d frames are kept and %d acknowledged of %d; %d were never given", len(frames), len(r.acked), 2*n, len(r.queue))
		}
		if want := []string{"hr-extreme-high raised"}; !slices.Equal(events, want) {
			t.Errorf("the cloud is told %v, want %v", events, want)
		}
	})
}
