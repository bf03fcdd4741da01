package intake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// mosquitto starts a real broker and returns its address and how to stop it.
func mosquitto(t testing.TB, dir, port string) (url string, stop func()) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program = "/usr/sbin/mosquitto"; !exists(program) {
			t.Skip("SKIPPED, NOT TESTED: there is no mosquitto on this machine (apt-get install mosquitto)")
		}
	}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 1024\nmax_queued_messages 0\npersistence true\npersistence_location %s/\n", port, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", conf)
	if os.Getuid() == 0 {
		cmd.Args = append(cmd.Args, "-v")
		text += "user root\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(says)
	up := false
	var said []string
	for !up && lines.Scan() {
		said = append(said, lines.Text())
		up = strings.Contains(lines.Text(), "running")
	}
	if !up {
		cmd.Wait()
		t.Fatalf("mosquitto does not run: %s", strings.Join(said, "\n"))
	}
	drained := make(chan struct{})
	go func() {
		for lines.Scan() {
		}
		close(drained)
	}()
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(os.Interrupt) // it writes its sessions down
		<-drained
		cmd.Wait()
	})
	t.Cleanup(stop)
	return "tcp://127.0.0.1:" + port, stop
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// running is an Intake that runs.
type running struct {
	*Intake
	up   chan bool
	stop func()
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	up := make(chan bool, 1024)
	if c.Sources == nil {
		c.Sources = ward7[:2]
	}
	if c.ClientID == "" {
		c.ClientID = "wardline-agent-gw"
	}
	c.Connected = func(yes bool) { up <- yes }
	c.Log = slog.New(slog.DiscardHandler)
	in, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return &running{in, up, stop}
}

func (r *running) connected(t testing.TB, want bool) {
	t.Helper()
	for {
		select {
		case yes := <-r.up:
			if yes == want {
				return
			}
		case <-time.After(patience):
			t.Fatalf("connected is not %v: %+v", want, r.Status())
		}
	}
}

// next waits for n messages.
func (r *running) next(t testing.TB, n int) []*Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out []*Message
	for len(out) < n {
		batch, err := r.Next(ctx, 256, patience)
		if err != nil {
			t.Fatalf("%d of %d messages came: %v; %+v", len(out), n, err, r.Status())
		}
		out = append(out, batch...)
	}
	return out
}

// until waits for a state that another process brings about.
func until(t testing.TB, r *running, is func(Status) bool) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	end := time.After(patience)
	for !is(r.Status()) {
		select {
		case <-look.C:
		case <-end:
			t.Fatalf("it does not come about: %+v", r.Status())
		}
	}
}

// relay is another client, with paho's own ways.
func relay(t testing.TB, url, id string, each func(mqtt.Message)) mqtt.Client {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker(url).SetClientID(id).SetOrderMatters(true)
	if each != nil {
		o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { each(m) })
	}
	c := mqtt.NewClient(o)
	mustT(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(10) })
	return c
}

func mustT(t testing.TB, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("the broker does not answer")
	}
	if token.Error() != nil {
		t.Fatal(token.Error())
	}
}

func payloads(ms []*Message) (out []string) {
	for _, m := range ms {
		out = append(out, string(m.Payload))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestWhatWasNotAcknowledgedComesAgain(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	in := start(t, Config{URL: url})
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	for i := range 3 {
		mustT(t, r.Publish(jsonTopic, 1, false, fmt.Sprint(i)))
	}
	first := in.next(t, 3)
	first[1].Ack()
	in.stop()
	first[0].Ack() // too late: it does nothing, and does not block

	again := start(t, Config{URL: url})
	again.connected(t, true)
	got := again.next(t, 2)
	if s := fmt.Sprint(payloads(got)); s != "[0 2]" {
		t.Fatalf("came again: %s, want 0 and 2", s)
	}
	for _, m := range got {
		m.Ack()
	}
	again.stop()
	last := start(t, Config{URL: url})
	last.connected(t, true)
	mustT(t, r.Publish(jsonTopic, 1, false, "end"))
	if got := last.next(t, 1); string(got[0].Payload) != "end" {
		t.Errorf("%s came although everything was acknowledged", got[0].Payload)
	}
}

func TestMessagesWaitForAnAgentThatIsDownAndForABrokerThatRestarts(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	url, stop := mosquitto(t, dir, port)
	in := start(t, Config{URL: url})
	in.connected(t, true)
	in.stop()
	r := relay(t, url, "relay1", nil)
	mustT(t, r.Publish(jsonTopic, 1, false, "while down"))
	r.Disconnect(10)

	in = start(t, Config{URL: url})
	in.connected(t, true)
	if got := in.next(t, 1); string(got[0].Payload) != "while down" {
		t.Fatalf("got %s", got[0].Payload)
	}
	stop()
	in.connected(t, false)
	if err := in.Publish("x", false, nil, nil); !errors.Is(err, ErrNotConnected) {
		t.Errorf("published while not connected: %v", err)
	}
	url, _ = mosquitto(t, dir, port)
	in.connected(t, true)
	if got := in.next(t, 1); string(got[0].Payload) != "while down" {
		t.Fatalf("after the broker's restart: %s", got[0].Payload)
	}
	mustT(t, relay(t, url, "relay1", nil).Publish(jsonTopic, 1, false, "after"))
	if got := in.next(t, 1); string(got[0].Payload) != "after" {
		t.Errorf("got %s", got[0].Payload)
	}
}

func TestAFullQueueDropsNothingForGood(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	in := start(t, Config{URL: url, Queue: 8, KeepAlive: time.Second}) // patience is half of it
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	const n = 60
	for i := range n {
		mustT(t, r.Publish(jsonTopic, 1, false, fmt.Sprintf("%03d", i)))
	}
	until(t, in, func(s Status) bool { return s.Received >= n }) // all have been put or dropped
	if s := in.Status(); s.Overflowed != n-8 || s.Waiting != 8 {
		t.Fatalf("overflowed %d, waiting %d", s.Overflowed, s.Waiting)
	}
	var all []*Message
	for len(payloads(all)) < n {
		got := in.next(t, 1)
		for _, m := range got {
			m.Ack()
		}
		all = append(all, got...)
	}
	until(t, in, func(s Status) bool { return s.Sessions == 2 })
	if s := in.Status(); s.Lost != 0 {
		t.Errorf("%d lost, want nothing lost", s.Lost)
	}
}

func TestAFullQueueHoldsTheBrokerBackBeforeItDropsAnything(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	in := start(t, Config{URL: url, Queue: 8})
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	const n = 200
	for i := range n {
		mustT(t, r.Publish(jsonTopic, 1, false, fmt.Sprintf("%03d", i)))
	}
	until(t, in, func(s Status) bool { return s.Waiting == 8 })
	for taken := 0; taken < n; {
		for _, m := range in.next(t, 1) {
			if want := fmt.Sprintf("%03d", taken); string(m.Payload) != want {
				t.Fatalf("%s came, want %s", m.Payload, want)
			}
			taken++
			m.Ack()
		}
	}
	if s := in.Status(); s.Overflowed != 0 || s.Sessions != 1 {
		t.Errorf("%d dropped, %d sessions: want none and one", s.Overflowed, s.Sessions)
	}
}

func TestTopicsThatAreNoLongerWantedAreUnsubscribed(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	file := filepath.Join(t.TempDir(), "topics.json")
	old := Source{Name: "old", Topic: "old/{sensor}", Format: FormatJSON}
	in := start(t, Config{URL: url, TopicsFile: file, Sources: []Source{old, ward7[1]}})
	in.connected(t, true)
	in.stop()
	in = start(t, Config{URL: url, TopicsFile: file})
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	mustT(t, r.Publish("old/s1", 1, false, "old"))
	mustT(t, r.Publish(jsonTopic, 1, false, "new"))
	if got := in.next(t, 1); string(got[0].Payload) != "new" {
		t.Errorf("%s came on %s", got[0].Payload, got[0].Topic)
	}
}

func TestTheWillIsPublishedWhenTheAgentStopsOrIsCutOff(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	heard := make(chan string, 16)
	lamp := relay(t, url, "lamp", func(m mqtt.Message) { heard <- string(m.Payload()) })
	mustT(t, lamp.Subscribe("ward/agent", 1, nil))
	in := start(t, Config{URL: url, WillTopic: "ward/agent", WillPayload: []byte("gone")})
	in.connected(t, true)
	in.stop()
	if got := hear(t, heard); got != "gone" {
		t.Errorf("heard %q after a stop in order", got)
	}
	in = start(t, Config{URL: url, WillTopic: "ward/agent", WillPayload: []byte("cut")})
	in.connected(t, true)
	thief := relay(t, url, "wardline-agent-gw", nil) // the broker cuts the older one off
	if got := hear(t, heard); got != "cut" {
		t.Errorf("heard %q after a cut", got)
	}
	thief.Disconnect(10)
}

func hear(t testing.TB, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(patience):
		t.Fatal("nothing is heard")
		return ""
	}
}

func TestTwoClientsWithOneIDAreFoundOut(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	a := start(t, Config{URL: url})
	a.connected(t, true)
	b := start(t, Config{URL: url})
	b.connected(t, true)
	for range 40 {
		if a.Status().Twin || b.Status().Twin {
			break
		}
		select {
		case <-a.up:
		case <-b.up:
		case <-time.After(patience):
			t.Fatalf("neither notices: %+v %+v", a.Status(), b.Status())
		}
	}
	s := a.Status()
	if !s.Twin {
		s = b.Status()
	}
	if !s.Twin || !strings.Contains(s.LastError, `another client use the id "wardline-agent-gw"`) && !s.Connected {
		t.Errorf("status %+v", s)
	}
}

func TestWhatIsPublishedComesInOrderAndIsConfirmed(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	heard := make(chan string, 1024)
	lamp := relay(t, url, "lamp", func(m mqtt.Message) { heard <- string(m.Payload()) })
	mustT(t, lamp.Subscribe("ward/#", 1, nil))
	in := start(t, Config{URL: url})
	in.connected(t, true)
	confirmed := make(chan error, 200)
	for i := range 200 {
		if err := in.Publish("ward/x", true, fmt.Append(nil, i), func(err error) { confirmed <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if got := hear(t, heard); got != fmt.Sprint(i) {
			t.Fatalf("heard %s, want %d", got, i)
		}
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAQuietConnectionIsProved(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	in := start(t, Config{URL: url, Quiet: 50 * time.Millisecond})
	in.connected(t, true)
	until(t, in, func(s Status) bool { return s.Requieted >= 2 })
	if s := in.Status(); !s.Connected || s.Sessions != 1 {
		t.Errorf("a quiet connection was given up: %+v", s)
	}
}

func TestOneBadMessageChangesNothingElse(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	in := start(t, Config{URL: url, Wards: []string{"7w"}})
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	at := time.UnixMicro(now).UTC().Format(time.RFC3339Nano)
	for _, p := range []string{`{"t":`, strings.Repeat("x", 1<<20), `{"t":"` + at + `","hr":190}`} {
		mustT(t, r.Publish(jsonTopic, 1, false, p))
	}
	var reasons []string
	for _, m := range in.next(t, 3) {
		in.Decoder().Decode(m, now, true)
		reasons = append(reasons, string(m.Reason))
		m.Ack()
	}
	if got := strings.Join(reasons, " "); got != "malformed_json too_large " {
		t.Errorf("reasons %q", got)
	}
}

// BenchmarkIntake takes, decodes and acknowledges messages from mosquitto;
// BenchmarkBareSubscriber is its floor: paho as it is, with manual acknowledgement.
func BenchmarkIntake(b *testing.B) {
	url, _ := mosquitto(b, b.TempDir(), freePort(b))
	in := start(b, Config{URL: url})
	in.connected(b, true)
	go flood(b, url, b.N)
	b.ResetTimer()
	for n := 0; n < b.N; {
		batch, err := in.Next(context.Background(), 256, patience)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range batch {
			if in.Decoder().Decode(m, now, true); m.Reason != "" {
				b.Fatal(m.Detail)
			}
		}
		for _, m := range batch {
			m.Ack()
		}
		n += len(batch)
	}
}

func BenchmarkBareSubscriber(b *testing.B) {
	url, _ := mosquitto(b, b.TempDir(), freePort(b))
	got := make(chan struct{}, b.N)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("bare").SetCleanSession(false).SetAutoAckDisabled(true).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- struct{}{}; m.Ack() }))
	mustT(b, c.Connect())
	mustT(b, c.Subscribe("wl/#", 1, nil))
	go flood(b, url, b.N)
	b.ResetTimer()
	for range b.N {
		<-got
	}
	b.StopTimer()
	c.Disconnect(10)
}

func flood(b *testing.B, url string, n int) {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("flood"))
	mustT(b, c.Connect())
	tokens := make(chan mqtt.Token, 512)
	go func() {
		for range n {
			tokens <- c.Publish(jsonTopic, 1, false, benchJSON)
		}
		close(tokens)
	}()
	for t := range tokens {
		t.Wait()
	}
	c.Disconnect(10)
}
