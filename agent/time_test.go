package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"wardline/agent/internal/intake"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

const year1970 = 5_000_000 // µs UTC

// machine is a machine's clocks, as a test sets them.
type machine struct{ now Instant }

func (m *machine) clock() Instant { return m.now }

func (m *machine) pass(d time.Duration) {
	m.now.Mono += d.Microseconds()
	m.now.Wall += d.Microseconds()
}

func TestAMachineThatBeginsIn1970GoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	m := &machine{begin()}
	k := newKeeper(m.clock, dir, 0)
	if err := k.write(); err != nil {
		t.Fatal(err)
	}
	m.now = Instant{Boot: 2, Mono: 1_000_000, Wall: year1970} // the plug was pulled
	newest := int64(monday + 3600_000_000)
	k = newKeeper(m.clock, dir, newest)
	first := k.now().Wall
	m.pass(time.Minute)
	if got := k.now(); first <= newest || got.Wall != first+60_000_000 || got.Synchronised || k.known() {
		t.Errorf("the time is %+v, %d after the newest thing written", got, first-newest)
	}
	k = newKeeper(m.clock, dir, 0) // without an outbox there is the file
	if got := k.now().Wall; got < monday {
		t.Errorf("the time is %d", got)
	}
	m.now.Wall, m.now.Synchronised = monday+86400_000_000, true
	if got := k.now(); got.Wall != m.now.Wall || !k.known() {
		t.Errorf("once it is set the time is %+v", got)
	}
}

func TestAFloorThatWasOnceSetAheadHoldsNoLongerThanUntilTheTimeIsKnown(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, floorFile), fmt.Appendf(nil, "%d\n", int64(monday)+10*365*86400*1e6), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &machine{Instant{Boot: 1, Mono: 1_000_000, Wall: monday}}
	k := newKeeper(m.clock, dir, 0)
	if got := k.now().Wall; got < monday+1e15/10 {
		t.Fatalf("the floor is not read: %d", got)
	}
	if !k.told(monday + 5e6) {
		t.Error("the cloud's time is not seen to be another")
	}
	if got := k.now().Wall; got != monday+5e6 {
		t.Errorf("the time is %d, want the cloud's", got)
	}
	if err := k.write(); err != nil {
		t.Fatal(err)
	}
	if got := newKeeper(m.clock, dir, 0).now().Wall; got != monday+5e6 {
		t.Errorf("the next start has %d", got)
	}
	// What was written down in the wrong years does not count as known.
	if got := newKeeper(m.clock, dir, monday+10*365*86400*1e6).now().Wall; got != monday+5e6 {
		t.Errorf("with an outbox of those years the time is %d", got)
	}
}

func TestTheCloudsTimeHoldsWhileTheMachineHasNone(t *testing.T) {
	m := &machine{Instant{Boot: 1, Mono: 1_000_000, Wall: year1970}}
	k := newKeeper(m.clock, t.TempDir(), 0)
	if !k.told(monday) || k.told(monday+100_000) {
		t.Error("the first time it is another, the second time it is not")
	}
	m.now.Wall = 9e15 // whatever it says
	m.now.Mono += 7e6
	if got := k.now().Wall; got < monday+7e6-1 || got > monday+7e6+200_000 {
		t.Errorf("seven seconds later it is %d", got-monday)
	}
	m.now.Boot = 2
	if k.known() {
		t.Error("the machine began anew, and the time is still thought to be known")
	}
	m.now.Synchronised, m.now.Wall = true, monday
	if k.told(5) {
		t.Error("a machine that has the time takes another's")
	}
}

// frame is a message whose sensor has no clock.
func (b *bench) frames(d time.Duration, hr int) {
	b.t.Helper()
	for range int(d / time.Second) {
		b.now.Mono += 1e6
		b.now.Wall += 1e6
		b.seq++
		at := monday + b.now.Mono // the sensor's clock is right all the time
		payload := fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":%d,"contact":true}`, at, b.seq, hr)
		b.a.loop.message(b.now, &intake.Message{Topic: "wl/1/r/S1/json", Payload: []byte(payload), Received: b.now.Wall})
		b.a.loop.tick()
		b.flush()
	}
}

// amended makes an amendment, as the goroutine does whose work it is.
func (b *bench) amended(x *amendment) {
	b.t.Helper()
	if err := b.disk.amend(x, b.a.cfg.Log); err != nil {
		b.t.Fatal(err)
	}
}

func TestWhatWasDecidedBeforeTheClockWasSetIsToldWithItsTrueTimes(t *testing.T) {
	for _, by := range []string{"a time server", "the cloud"} {
		b := start(t, t.TempDir(), Instant{Boot: 1, Mono: 1_000_000, Wall: year1970})
		b.frames(90*time.Second, 72)
		b.frames(20*time.Second, 140) // raised in 1970
		a := b.inBed("hr-high")
		trueOnset := monday + a.Condition.Onset - year1970 + 1_000_000
		b.frames(time.Hour-110*time.Second, 140)
		epoch := b.disk.Epoch()
		if by == "the cloud" {
			b.a.link.time.told(monday + b.now.Mono)
			x, err := b.a.loop.amend(b.a.cfg.Clock())
			if again, _ := b.a.loop.amend(b.a.cfg.Clock()); err != nil || x == nil || again != x {
				t.Fatalf("%v, then %v, %v: alerts would be shifted twice", x, again, err)
			}
			b.amended(x)
		} else {
			b.now.Wall, b.now.Synchronised = monday+b.now.Mono, true
		}
		b.frames(3*time.Second, 140)
		if by == "a time server" {
			b.amended(<-b.disk.amendments)
		}
		b.a.loop.unit(b.a.cfg.Clock()).urgent = true
		b.flush()
		got := b.inBed("hr-high")
		if got.ID != a.ID || got.Condition.Onset != trueOnset || b.episodes("hr-high") != 1 {
			t.Errorf("%s: alert %s of %d is now %s of %d, want its onset at %d", by, a.ID, a.Condition.Onset, got.ID, got.Condition.Onset, trueOnset)
		}
		if b.disk.Epoch() == epoch {
			t.Errorf("%s: records were changed under their old numbers", by)
		}
		last := int64(0)
		for _, r := range b.records(link.Alerts) {
			var e alert.Event
			if err := json.Unmarshal(r.Payload, &e); err != nil {
				t.Fatal(err)
			}
			if e.At < monday || e.At < last || r.Observed != e.At || e.Condition != nil && e.Condition.Onset < monday {
				t.Errorf("%s: %s of %s at %d, onset %+v", by, e.Type, e.Alert, e.At-monday, e.Condition)
			}
			last = e.At
		}
		if cloud := b.folded(a.ID); cloud.Condition.Onset != trueOnset || cloud.RaisedAt != got.RaisedAt {
			t.Errorf("%s: the cloud knows an onset of %d, raised at %d", by, cloud.Condition.Onset, cloud.RaisedAt)
		}
		for _, r := range b.records(link.Vitals) {
			var s linkpb.Summary
			if err := proto.Unmarshal(r.Payload, &s); err != nil {
				t.Fatal(err)
			}
			if s.Start < monday || s.GatewayTime {
				t.Errorf("%s: a summary of %d", by, s.Start)
			}
		}
	}
}

func TestASummaryThatTheGatewayStampedIsCorrectedAndOneThatASensorStampedIsNot(t *testing.T) {
	fix := func(at int64) int64 { return at + 3_605_000_000 }
	for _, stamped := range []bool{true, false} {
		b, err := proto.Marshal(&linkpb.Summary{Ward: "7w", Start: 100_000_000, End: 110_000_000, GatewayTime: stamped})
		if err != nil {
			t.Fatal(err)
		}
		_, b, err = corrected(link.VitalsSummary, 110_000_000, b, fix)
		var s linkpb.Summary
		if err == nil {
			err = proto.Unmarshal(b, &s)
		}
		want := int64(100_000_000)
		if stamped {
			want = 3_700_000_000 // aligned
		}
		if err != nil || s.Start != want || s.End != want+10_000_000 {
			t.Errorf("stamped %v: from %d to %d, %v", stamped, s.Start, s.End, err)
		}
	}
}

func TestAClockThatNobodySetIsSaid(t *testing.T) {
	b := start(t, t.TempDir(), Instant{Boot: 1, Mono: 1_000_000, Wall: year1970})
	b.frames(310*time.Second, 72)
	a, ok := b.about("clock-unsynchronised")
	if !ok || !strings.Contains(a.Condition.Text, "not synchronised") {
		t.Errorf("the ward has %+v", b.open(""))
	}
}
