package virtual

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
)

// start runs a relay in the bubble; stop ends it and returns its error.
func start(t *testing.T, w *ward, c Config) (stop func() error) {
	t.Helper()
	c.Dial = w.dial
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	return func() error { cancel(); return <-done }
}

func count(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(i + 1)
	}
	return out
}

func TestARelaySendsEachSensorsFramesAsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, began := open(t), time.Now()
		stop := start(t, w, Config{Sensors: 3, Seed: 1})
		time.Sleep(10900 * time.Millisecond)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		_, seqs := w.frames(t, nil)
		if want := count(10); !slices.Equal(seqs["s001"], want) || !slices.Equal(seqs["s003"], want) {
			t.Errorf("got %v, want %v of each sensor", seqs, want)
		}
		for _, m := range w.messages(frame.KindFrame) {
			f, _, _ := frame.Open(m.payload, nil)
			at, _ := frame.TimeUS(f)
			if age := m.at.Sub(time.UnixMicro(at).Add(frame.Span(f))); age < 0 || age > time.Second || m.at.Before(began) {
				t.Errorf("%s %d was %v old", f.Sensor, f.Seq, age)
			}
			if len(f.Waveforms) != 3 || len(f.Readings) != 4 {
				t.Errorf("%d waveforms, %d readings", len(f.Waveforms), len(f.Readings))
			}
		}
	})
}

func TestARelaysStateIsRetainedAndItsLastWordIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		stop := start(t, w, Config{VitalsOnly: true})
		time.Sleep(130 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		states := w.messages(frame.KindState)
		if len(states) != 4 { // connect, two minutes, goodbye
			t.Fatalf("%d states", len(states))
		}
		for i, m := range states {
			s, err := frame.ParseRelayState(m.payload)
			if err != nil || !m.retained || s.Online != (i < 3) {
				t.Errorf("state %d: %s, retained %v, %v", i, m.payload, m.retained, err)
			}
		}
	})
}

// slow acknowledges as a broker does that waits for a disk.
type slow struct{ mochi.HookBase }

func (slow) Provides(b byte) bool { return b == mochi.OnPublish }
func (slow) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	time.Sleep(1200 * time.Millisecond)
	return p, nil
}

func TestWhatTheBrokerTakesWhileTheRelayStopsIsCountedAsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		if err := w.AddHook(new(slow), nil); err != nil {
			t.Fatal(err)
		}
		stats := new(Stats)
		stop := start(t, w, Config{VitalsOnly: true, FrameEvery: 4 * time.Second, Stats: stats})
		time.Sleep(8100 * time.Millisecond)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		_, seqs := w.frames(t, nil)
		if taken, sent := stats.Messages.Load(), len(seqs["s001"]); sent == 0 || taken != int64(sent) || stats.Failed.Load() != 0 {
			t.Errorf("%d of %d taken, %d not", taken, sent, stats.Failed.Load())
		}
	})
}

func TestWhatABrokenBrokerMissedIsSentAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		stats := new(Stats)
		stop := start(t, w, Config{Sensors: 2, VitalsOnly: true, Stats: stats})
		time.Sleep(5500 * time.Millisecond) // as s002 sends
		w.cut()
		time.Sleep(20 * time.Second)
		w.mend()
		time.Sleep(30*time.Second + 200*time.Millisecond)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		_, seqs := w.frames(t, nil)
		for name, got := range seqs {
			distinct := slices.Sorted(maps.Keys(set(got)))
			if n := len(distinct); n < 50 || !slices.Equal(distinct, count(n)) {
				t.Errorf("%s: got %v, want no hole", name, got)
			}
			if slices.IsSorted(got) {
				t.Errorf("%s: live frames waited for the late ones: %v", name, got)
			}
		}
		if late := stats.Late.Load(); late < 20 {
			t.Errorf("%d late", late)
		}
		if states := w.messages(frame.KindState); len(states) < 4 {
			t.Errorf("%d states, want connect, last will, connect, goodbye", len(states))
		}
	})
}

func set(s []uint32) map[uint32]bool {
	m := map[uint32]bool{}
	for _, v := range s {
		m[v] = true
	}
	return m
}

func TestASilentSensorIsSilentAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		stop := start(t, w, Config{Sensors: 2, VitalsOnly: true, Episodes: []Episode{{2, Silent, 10 * time.Second, 30 * time.Second}}})
		began := time.Now()
		time.Sleep(60*time.Second + 500*time.Millisecond)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for _, m := range w.messages(frame.KindFrame) {
			if s := m.at.Sub(began); m.topic.Sensor == "s002" && s > 12*time.Second && s < 40*time.Second {
				t.Errorf("a frame after %v", s)
			}
		}
		_, seqs := w.frames(t, nil)
		if got := slices.Sorted(maps.Keys(set(seqs["s002"]))); !slices.Equal(got, count(60)) {
			t.Errorf("got %v, want all 60", got)
		}
	})
}

func TestRequestsAreAnsweredByTheirEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, key, stats := open(t), []byte("0123456789abcdef"), new(Stats)
		stop := start(t, w, Config{Leads: 1, Boot: 9, Hold: 20, Key: func(string) []byte { return key }, Stats: stats})
		time.Sleep(30500 * time.Millisecond)
		backfill := func(b *pb.Backfill) *pb.Request { return &pb.Request{Ask: &pb.Request_Backfill{Backfill: b}} }
		w.ask(t, "s001", backfill(&pb.Backfill{Boot: 9, Seqs: []uint32{15, 12, 2, 99}}), key) // 2 is not held, 99 not yet
		w.ask(t, "s001", backfill(&pb.Backfill{Boot: 9, FirstSeq: 24, LastSeq: 26}), key)
		w.ask(t, "s001", backfill(&pb.Backfill{Boot: 8, FirstSeq: 24, LastSeq: 26}), key)                 // another boot
		w.ask(t, "s001", backfill(&pb.Backfill{Boot: 9, FirstSeq: 1, LastSeq: 9}), make([]byte, 16))      // another key
		w.ask(t, "s001", &pb.Request{Ask: &pb.Request_Identify{Identify: &pb.Identify{Seconds: 3}}}, key) // blinks
		w.ask(t, "s001", &pb.Request{Ask: &pb.Request_Stream{Stream: &pb.Stream{}}}, key)                 // all waveforms off
		time.Sleep(5 * time.Second)
		w.ask(t, "s001", &pb.Request{Ask: &pb.Request_Stream{Stream: &pb.Stream{On: true}}}, key)
		time.Sleep(5 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		all, seqs := w.frames(t, key)
		var again []uint32
		before := map[uint32]bool{}
		for _, seq := range seqs["s001"] {
			if before[seq] {
				again = append(again, seq)
			}
			before[seq] = true
		}
		if want := []uint32{15, 12, 24, 25, 26}; !slices.Equal(again, want) {
			t.Errorf("sent again: got %v, want %v", again, want)
		}
		for _, f := range all {
			if off := f.Seq > 30 && f.Seq <= 35; (len(f.Waveforms) == 0) != off {
				t.Errorf("frame %d has %d waveforms", f.Seq, len(f.Waveforms))
			}
		}
		if stats.Requests.Load() != 6 || stats.Refused.Load() != 1 || stats.Backfilled.Load() != 5 {
			t.Errorf("requests %d, refused %d, sent again %d", stats.Requests.Load(), stats.Refused.Load(), stats.Backfilled.Load())
		}
	})
}

func TestHistoryIsSentFasterAndEndsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, began := open(t), time.Now()
		if err := Run(t.Context(), Config{Dial: w.dial, VitalsOnly: true, Speed: 60, Length: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < time.Minute || took > 61*time.Second {
			t.Errorf("took %v, want a minute", took)
		}
		all, _ := w.frames(t, nil)
		if len(all) != 3600 {
			t.Fatalf("%d frames", len(all))
		}
		ends := func(f *pb.Frame) time.Duration {
			at, _ := frame.TimeUS(f)
			return time.UnixMicro(at).Add(frame.Span(f)).Sub(began.Add(time.Minute))
		}
		if first, last := ends(all[0]), ends(all[len(all)-1]); first != -time.Hour+time.Second || last != 0 {
			t.Errorf("from %v to %v before the end", first, last)
		}
	})
}

func TestTheJSONFormSaysWhatTheFrameWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		stop := start(t, w, Config{JSON: true, Boot: 4, Names: []string{"a", "b"},
			Episodes: []Episode{{2, LeadOff, 5 * time.Second, time.Minute}}})
		time.Sleep(10500 * time.Millisecond)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		got := w.messages(frame.KindJSON)
		if len(got) != 20 || len(w.messages(frame.KindFrame)) != 0 {
			t.Fatalf("%d messages", len(got))
		}
		for i, m := range got {
			var v struct {
				T                  time.Time
				Seq, Boot          uint32
				HR, RR, SpO2, Temp *float64
				Posture            string
				Battery            float64
				LeadsOff           []string `json:"leads_off"`
				Contact            *bool
			}
			d := json.NewDecoder(strings.NewReader(string(m.payload)))
			d.DisallowUnknownFields()
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%s: %v", m.payload, err)
			}
			if !v.T.Equal(m.at) || v.Seq != uint32(i/2+1) || v.Boot != 4 || *v.Temp < 36 || v.Posture != "supine" || v.Battery < 0.5 {
				t.Errorf("at %v: %s", m.at, m.payload)
			}
			off := m.topic.Sensor == "b" && v.Seq > 5
			if off != slices.Equal(v.LeadsOff, []string{"RA"}) || off == *v.Contact || (v.HR != nil) != (!off && v.Seq > 4) {
				if v.Seq > 5 || off {
					t.Errorf("lead off %v: %s", off, m.payload)
				}
			}
		}
	})
}

func TestUnpacedMessagesStopAtTheirNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stats := open(t), new(Stats)
		err := Run(t.Context(), Config{Dial: w.dial, JSON: true, Sensors: 100, Unpaced: true, Messages: 5000, Stats: stats})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(w.messages(frame.KindJSON)); n != 5000 || stats.Messages.Load() != 5000 {
			t.Errorf("%d arrived, %d acknowledged", n, stats.Messages.Load())
		}
	})
}

func TestABrokerThatIsNotThereIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		w.cut()
		err := Run(t.Context(), Config{Dial: w.dial})
		if err == nil || !strings.Contains(err.Error(), "connect to tcp://127.0.0.1:1883") {
			t.Errorf("got %v", err)
		}
	})
}

func TestABrokersCertificateIsProved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		cert, pool := certificate(t, "gateway.local")
		w.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
		c := Config{Dial: w.dial, VitalsOnly: true, Messages: 2, TLS: &tls.Config{RootCAs: pool}}
		c.Broker = "ssl://gateway.local:8883"
		if err := Run(t.Context(), c); err != nil || len(w.messages(frame.KindFrame)) != 2 {
			t.Errorf("%v, %d frames", err, len(w.messages(frame.KindFrame)))
		}
		c.Broker = "ssl://another.local:8883"
		if err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "gateway.local") {
			t.Errorf("a certificate for another host: %v", err)
		}
	})
}

func TestARecordingPlaysToItsEndOverMQTT(t *testing.T) {
	recordings(t, "mitdb", 1) // skips when there are none
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		err := Run(t.Context(), Config{Dial: w.dial, Records: []string{"../../../shared/data/mitdb/208"}, From: 29 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := w.frames(t, nil)
		if n := len(all); n < 64 || n > 66 { // 65.6 s are left
			t.Fatalf("%d frames", n)
		}
		if r := all[40].Readings; len(r) != 1 || r[0].GetMilli() < 60_000 || len(all[40].Waveforms) != 2 {
			t.Errorf("frame 41: %v", all[40].Readings)
		}
	})
}

func TestARecordIsSentWithoutItsECGWhenThatIsAsked(t *testing.T) {
	made := t.TempDir() + "/made"
	for name, text := range map[string]string{
		".hea": "made 1 250 2500\nmade.dat 16 200 16 0 0 0 0 II\n",
		".dat": strings.Repeat("\x00\x00", 2500),
	} {
		if err := os.WriteFile(made+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, vitalsOnly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := open(t)
			if err := Run(t.Context(), Config{Dial: w.dial, Records: []string{made}, VitalsOnly: vitalsOnly}); err != nil {
				t.Fatal(err)
			}
			all, _ := w.frames(t, nil)
			if len(all) != 10 {
				t.Fatalf("%d frames", len(all))
			}
			for _, f := range all {
				if vitalsOnly != (len(f.Waveforms) == 0) {
					t.Errorf("vitals only %v: %d waveforms", vitalsOnly, len(f.Waveforms))
				}
			}
		})
	}
}

func TestARecordingPlaysAsHistoryThatEndsNow(t *testing.T) {
	recordings(t, "vfdb", 1) // skips when there are none
	synctest.Test(t, func(t *testing.T) {
		w, began := open(t), time.Now()
		err := Run(t.Context(), Config{Dial: w.dial, Records: []string{"../../../shared/data/vfdb/419"}, From: 25 * time.Minute, Speed: 20})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("ten minutes took %v", took)
		}
		all, _ := w.frames(t, nil)
		last := all[len(all)-1]
		at, _ := frame.TimeUS(last)
		if age := time.Since(time.UnixMicro(at).Add(frame.Span(last))); len(all) != 600 || age < 0 || age > 2*time.Second {
			t.Errorf("%d frames, the last %v old", len(all), age)
		}
	})
}

func TestAConfigurationThatCannotBeSaysWhy(t *testing.T) {
	for want, c := range map[string]Config{
		"2000 sensors, want 1 to 1000": {Sensors: 2000},
		"1001 sensors, want":           {Names: make([]string, 1001)},
		"2 names for 1 sensors":        {Sensors: 1, Names: []string{"a", "b"}},
		`two sensors are called "a"`:   {Names: []string{"a", "a"}},
		"from -1s for 0s":              {Records: []string{"x"}, From: -time.Second},
		"only a record can begin":      {Loop: true},
		"speed NaN":                    {Speed: math.NaN()},
		"-1 sensors":                   {Sensors: -1},
		`relay id "ward"`:              {Relay: "ward"},
		`sensor id "a/b"`:              {Names: []string{"a/b"}},
		"3 ECG leads":                  {Leads: 3},
		"speed 0.5":                    {Speed: 0.5},
		"speed 5 plays history, which needs a length or a record": {Speed: 5},
		"does not begin again":               {Speed: 2, Length: time.Hour, Loop: true},
		"can be sent unpaced":                {Unpaced: true},
		"a frame every 1µs":                  {FrameEvery: time.Microsecond},
		"a frame every 20s, want 1ms to 16s": {FrameEvery: 20 * time.Second},
		"sensor 3, want 1 to 1":              {Episodes: []Episode{{3, Fever, 0, 1}}},
		"a recording can only":               {Records: []string{"x"}, Episodes: []Episode{{1, Fever, 0, 1}}},
	} {
		if err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrUsage) {
			t.Errorf("got %v, want it to say %q and to be ErrUsage", err, want)
		}
		if err := c.Check(); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: Check says %v", want, err)
		}
	}
	c := Config{Records: []string{"testdata/none"}}
	if err := c.Check(); err != nil {
		t.Errorf("Check says %v of a record that it has not to open", err)
	}
	if err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "open record: read header") || errors.Is(err, ErrUsage) {
		t.Errorf("a record that is not there: %v", err)
	}
}

func TestSensorsThatAreTooManyAreNotNamed(t *testing.T) {
	if names := (Config{Sensors: 2000}).SensorNames(); names[len(names)-1] != "s1000" {
		t.Errorf("the last is %s", names[len(names)-1])
	}
}
