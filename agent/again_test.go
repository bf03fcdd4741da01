package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/ward"
	"wardline/shared/link"
)

// framesKept counts what the outbox keeps of what sensors said.
func (b *bench) framesKept() (n int) {
	b.t.Helper()
	for batch, err := range b.disk.box.Load().Frames(0) {
		if err != nil {
			b.t.Fatal(err)
		}
		n += len(batch.Frames)
	}
	return n
}

func TestAForgottenSessionIsAnAlertThatSaysFromWhenToWhenMessagesMayBeMissing(t *testing.T) {
	dir := t.TempDir()
	remembered := func(dir string) string {
		text, err := os.ReadFile(filepath.Join(dir, "topics"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	gap := fmt.Sprintf(`{"broker":"tcp://127.0.0.1:1","topics":["a"],"gap":{"from":%d,"to":%d}}`, int64(monday-90e6), int64(monday-30e6))
	if err := os.WriteFile(filepath.Join(dir, "topics"), []byte(gap), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, dir, begin())
	b.a.loop.append = nil // not called before the tick
	b.a.loop.learnOfBroker(b.now)
	if !strings.Contains(remembered(dir), "gap") {
		t.Fatal("the gap was forgotten before it was told")
	}
	killed := b.crash()
	b.a.loop.append = b.disk.Append
	b.flush()
	a, ok := b.about("messages-missing")
	if want := "from 2026-01-05 07:58:30 to 2026-01-05 07:59:30 UTC"; !ok || !strings.Contains(a.Condition.Text, want) {
		t.Fatalf("the ward has %+v, want %q", b.open(""), want)
	}
	if strings.Contains(remembered(dir), "gap") {
		t.Error("the gap is remembered although it is told")
	}
	b.idle(10 * time.Minute)
	if a, ok := b.about("messages-missing"); !ok || a.Condition.Priority.String() != "low" {
		t.Errorf("after ten minutes nobody is told any more: %+v", b.open(""))
	}
	if n := b.raised("messages-missing"); n != 1 {
		t.Errorf("told %d times", n)
	}

	// Killed before the commit, it is told after the restart; killed after it, not again.
	next := start(t, killed, Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall, Synchronised: true})
	next.idle(5 * time.Second)
	if _, ok := next.about("messages-missing"); !ok {
		t.Error("killed before the commit, nobody is told")
	}
	last := start(t, b.crash(), Instant{Boot: 3, Mono: 5_000_000, Wall: b.now.Wall, Synchronised: true})
	last.idle(5 * time.Second)
	if n := last.episodes("messages-missing"); n != 1 {
		t.Errorf("killed after the commit, %d alerts", n)
	}
}

// TestPromise4WhatIsDeliveredTwiceHasNoSecondEffect delivers each message again:
// at once, after its commit, and after the agent was killed before it could
// acknowledge.
func TestPromise4WhatIsDeliveredTwiceHasNoSecondEffect(t *testing.T) {
	for name, form := range map[string]string{
		"with a seq":    `{"t":%d,"boot":1,"seq":%d,"hr":190,"contact":true}`,
		"without a seq": `{"t":%d,"x-%d":0,"hr":190,"contact":true}`,
	} {
		for _, again := range []bool{false, true} { // the DUP flag
			t.Run(fmt.Sprintf("%s, flag %v", name, again), func(t *testing.T) {
				b := start(t, t.TempDir(), begin())
				var said []string
				give := func(b *bench, payload string) {
					b.a.loop.message(b.now, &intake.Message{Topic: "wl/1/r/S1/json", Payload: []byte(payload), Received: b.now.Wall, Again: again})
				}
				for i := range 12 {
					b.now.Mono += 1e6
					b.now.Wall += 1e6
					said = append(said, fmt.Sprintf(form, b.now.Wall, i+1))
					give(b, said[i])
					give(b, said[i])
					b.a.loop.tick()
					b.flush()
				}
				b.idle(2 * time.Second)
				events, frames := len(b.records(link.Alerts)), b.framesKept()
				if n := b.raised("hr-extreme-high"); n != 1 || frames != 12 {
					t.Fatalf("%d frames are kept and %d alerts raised, want 12 and 1", frames, n)
				}
				dir := b.crash()
				for _, p := range said {
					give(b, p)
				}
				b.flush()
				if n := b.framesKept(); n != frames || b.source("json").SetAside[ward.ReasonRepeat] != 24 {
					t.Errorf("given again after the commit, %d frames are kept; set aside %v", n, b.source("json").SetAside)
				}
				next := start(t, dir, Instant{Boot: 2, Mono: 1e6, Wall: b.now.Wall + 1e6, Synchronised: true})
				for _, p := range said {
					give(next, p)
				}
				next.flush()
				if n := next.source("json").SetAside[ward.ReasonRepeat]; n != 12 {
					t.Errorf("given again after a restart, %d of 12 are set aside as repeats", n)
				}
				if e, f := len(next.records(link.Alerts)), next.framesKept(); e != events || f != frames {
					t.Errorf("after a restart there are %d events and %d frames, before there were %d and %d", e, f, events, frames)
				}
			})
		}
	}
}

func TestPromise10FramesThatNeverCameAreCountedAndShownAcrossARestart(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	say := func(b *bench, seq int) {
		b.now.Mono += 1e6
		b.now.Wall += 1e6
		b.say("S1", fmt.Sprintf(`{"t":%d,"boot":3,"seq":%d,"hr":72}`, b.now.Wall, seq))
		b.a.loop.tick()
		b.flush()
	}
	missing := func(b *bench) uint64 { return b.a.loop.ward.Status()[0].Missing }
	for _, seq := range []int{10, 11, 15} {
		say(b, seq)
	}
	b.idle(2 * time.Second)
	if n := missing(b); n != 3 {
		t.Fatalf("%d frames are missing, want 3", n)
	}
	next := start(t, b.crash(), Instant{Boot: 2, Mono: 1e6, Wall: b.now.Wall + 1e6, Synchronised: true})
	say(next, 13) // late, from the relay's store
	if n := missing(next); n != 2 {
		t.Errorf("after a restart and one that came late, %d frames are missing, want 2", n)
	}
	s := next.a.loop.ward.Status()[0]
	if got := sensorStatus(s, nil); got.Missing != 2 {
		t.Errorf("status shows %+v", got)
	}
}
