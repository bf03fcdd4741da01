package intake

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// taken decodes and acknowledges n messages and returns the newest.
func (r *running) taken(t testing.TB, n int) *Message {
	t.Helper()
	var last *Message
	for _, m := range r.next(t, n) {
		r.Decoder().Decode(m, m.Received, true)
		if m.Reason != "" {
			t.Fatal(m.Detail)
		}
		m.Ack()
		last = m
	}
	return last
}

func vitalsNow() string {
	return `{"t":"` + time.Now().UTC().Format(time.RFC3339Nano) + `","hr":72}`
}

func TestASessionThatTheBrokerForgotIsSaidUntilItIsToldAndNotAgain(t *testing.T) {
	dir, port, file := t.TempDir(), freePort(t), filepath.Join(t.TempDir(), "topics")
	url, stop := mosquitto(t, dir, port)
	in := start(t, Config{URL: url, TopicsFile: file})
	in.connected(t, true)
	if s := in.Status(); s.Forgotten != 0 {
		t.Errorf("the first session of all is taken for one that was forgotten: %+v", s)
	}
	mustT(t, relay(t, url, "relay1", nil).Publish(jsonTopic, 1, false, vitalsNow()))
	last := in.taken(t, 1)

	stop()
	in.connected(t, false)
	if err := os.Remove(filepath.Join(dir, "mosquitto.db")); err != nil {
		t.Fatal(err)
	}
	mosquitto(t, dir, port)
	in.connected(t, true)
	s, back := in.Status(), time.Now().UnixMicro()
	gap, ok := in.Gap()
	if s.Forgotten != 1 || !ok || s.Gap != gap || gap.From != last.Obs.At || gap.To < last.Received || gap.To > back {
		t.Fatalf("status %+v, gap %+v %v; the last message that is kept is of %d", s, gap, ok, last.Obs.At)
	}
	in.stop() // before anybody was told

	in = start(t, Config{URL: url, TopicsFile: file})
	in.connected(t, true)
	if x, ok := in.Gap(); !ok || x != gap {
		t.Errorf("after a restart the gap is %+v %v, it was %+v", x, ok, gap)
	}
	in.Told(gap)
	if x, ok := in.Gap(); ok {
		t.Errorf("what was told waits to be told: %+v", x)
	}
	in.stop()
	in = start(t, Config{URL: url, TopicsFile: file})
	in.connected(t, true)
	if x, ok := in.Gap(); ok || in.Status().Forgotten != 0 {
		t.Errorf("told again after a restart: %+v", x)
	}
}

func TestAGapBeginsWithWhatAnEarlierLifeKeptAndLastsUntilTheTopicsAreSubscribed(t *testing.T) {
	dir, port, file := t.TempDir(), freePort(t), filepath.Join(t.TempDir(), "topics")
	url, stop := mosquitto(t, dir, port)
	in := start(t, Config{URL: url, TopicsFile: file})
	in.connected(t, true)
	in.stop()
	stop()
	if err := os.Remove(filepath.Join(dir, "mosquitto.db")); err != nil {
		t.Fatal(err)
	}
	url, _ = mosquitto(t, dir, port)
	in = start(t, Config{URL: url, TopicsFile: file, Kept: 4711})
	in.connected(t, true)
	if gap, ok := in.Gap(); !ok || gap.From != 4711 || gap.To == 0 {
		t.Errorf("the gap is %+v %v", gap, ok)
	}
}

// forgetful is what is remembered of a session at url, in a new file.
func forgetful(t *testing.T, url string) *gaps {
	t.Helper()
	g := newGaps(Config{TopicsFile: filepath.Join(t.TempDir(), "topics"), Kept: 100})
	if err := g.subscribed(url, []string{"a"}, 200); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestWhereNothingWasForgottenNothingIsSaid(t *testing.T) {
	if forgetful(t, "tcp://a").greeted("tcp://a", true, false) {
		t.Error("a session that is there")
	}
	if forgetful(t, "tcp://a").greeted("tcp://b", false, false) {
		t.Error("another broker's")
	}
	if forgetful(t, "tcp://a").greeted("tcp://a", false, true) {
		t.Error("that of a broker which confirms what was acknowledged and nothing else")
	}
	if newGaps(Config{}).greeted("tcp://a", false, false) {
		t.Error("the first of all")
	}
}

func TestAGapIsOnTheDiskBeforeTheTopicsAreSubscribedAnew(t *testing.T) {
	g := forgetful(t, "tcp://a")
	if !g.greeted("tcp://a", false, false) {
		t.Fatal("not missed")
	}
	next := newGaps(Config{TopicsFile: g.path, Kept: 300}) // killed here; the broker has a session now
	if next.greeted("tcp://a", true, false) {
		t.Error("missed twice")
	}
	if err := next.subscribed("tcp://a", []string{"a"}, 400); err != nil {
		t.Fatal(err)
	}
	if want := (Gap{From: 100, To: 400}); next.m.Gap == nil || *next.m.Gap != want {
		t.Errorf("the gap is %+v, want %+v", next.m.Gap, want)
	}
}

func TestTwoGapsBeforeAnybodyIsToldAreOneThatHoldsBoth(t *testing.T) {
	g := forgetful(t, "tcp://a")
	in := &Intake{gaps: g}
	g.greeted("tcp://a", false, false)
	g.subscribed("tcp://a", []string{"a"}, 400)
	first, _ := in.Gap()
	g.whole(450)
	g.greeted("tcp://a", false, false)
	g.subscribed("tcp://a", []string{"a"}, 500)
	in.Told(first)
	if gap, ok := in.Gap(); !ok || gap != (Gap{From: 100, To: 500}) || g.count != 2 {
		t.Errorf("the gap is %+v %v after %d losses", gap, ok, g.count)
	}
}

// What a backlog brings was sent before it was received: a gap begins then.
func TestAGapOfABacklogBeginsWhenTheSensorSaysAndBackFillDoesNotPutItOff(t *testing.T) {
	g := newGaps(Config{})
	message := func(at, received int64, reason Reason) *Message {
		m := &Message{Class: Sensor, Received: received, Reason: reason}
		m.Obs.At = at
		return m
	}
	g.kept(message(500, 900, ""))
	g.kept(message(20, 910, ""))                  // back-fill
	g.kept(message(800, 920, TooOld))             // set aside
	g.kept(message(2000, 600, ""))                // a clock that is ahead
	g.kept(&Message{Class: Relay, Received: 999}) // says nothing of when it was sent
	if g.sure != 600 {
		t.Errorf("sure up to %d, want 600", g.sure)
	}
}

func TestAQuietConnectionThatIsProvedMissesNothingSoFar(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	url, _ := mosquitto(t, dir, port)
	began := time.Now().UnixMicro()
	in := start(t, Config{URL: url, Quiet: 20 * time.Millisecond})
	in.connected(t, true)
	until(t, in, func(s Status) bool { return s.Requieted >= 1 })
	until(t, in, func(Status) bool {
		in.gaps.mu.Lock()
		defer in.gaps.mu.Unlock()
		return in.gaps.sure >= began
	})
}

func TestWhatIsRetainedIsPublishedAgainOnceTheBrokerHasForgottenIt(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	url, stop := mosquitto(t, dir, port)
	in := start(t, Config{URL: url})
	in.connected(t, true)
	stop()
	in.connected(t, false)
	if err := os.Remove(filepath.Join(dir, "mosquitto.db")); err != nil {
		t.Fatal(err)
	}
	url, _ = mosquitto(t, dir, port)
	in.connected(t, true) // the owner of what is retained is told, and publishes
	if err := in.Publish("ward/x", true, []byte("shown"), nil); err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 4)
	lamp := relay(t, url, "lamp", func(m mqtt.Message) { heard <- string(m.Payload()) })
	mustT(t, lamp.Subscribe("ward/x", 1, nil))
	if got := hear(t, heard); got != "shown" {
		t.Errorf("a lamp that comes later is given %q", got)
	}
}

func TestAMemoryThatCannotBeReadIsSaidAndReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "topics")
	if err := os.WriteFile(file, []byte(`["a"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGaps(Config{TopicsFile: file})
	if err := g.subscribed("tcp://a", []string{"b"}, 1); err == nil {
		t.Error("nothing is said of it")
	}
	m, err := readMemory(file)
	if err != nil || m.Broker != "tcp://a" || !slices.Equal(m.Topics, []string{"b"}) {
		t.Errorf("it is %+v, %v", m, err)
	}
}
