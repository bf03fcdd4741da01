package frame

import (
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "wardline/firmware-protocol/biosensorpb"
)

func TestWhatIsSealedOpensAsItWas(t *testing.T) {
	for name, key := range map[string][]byte{"without a key": nil, "with a key": key1} {
		want, stamp := full(), Stamp{ReceivedUS: start2026 + 1, Clock: pb.Clock_CLOCK_FREE}
		wire, err := Seal([]byte("before"), want, key, stamp)
		if err != nil {
			t.Fatal(err)
		}
		if string(wire[:6]) != "before" {
			t.Errorf("%s: what stood in the buffer is gone", name)
		}
		got, s, err := Open(wire[6:], key)
		if err != nil || s != stamp || !proto.Equal(got, want) {
			t.Errorf("%s: got %v, %v, %v", name, got, s, err)
		}
		clear(wire)
		if got.Sensor != want.Sensor {
			t.Errorf("%s: the frame lies in the message's memory", name)
		}
	}
}

func TestARefusalSaysWhichLimitAndWhere(t *testing.T) {
	f := full()
	f.Waveforms[1].Differences[2] = 1 << 30
	_, err := Seal(nil, f, nil, Stamp{})
	want := "limit: waveforms[1].differences[2]: got sample 1073741883, want -8388608 to 8388607 (SPEC §9.9)"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if !errors.Is(err, ErrLimit) || errors.Is(err, ErrTag) || ReasonOf(err) != "limit" {
		t.Errorf("reason %q", ReasonOf(err))
	}
}

func TestAKeyOfTheWrongLengthIsTheCallersMistake(t *testing.T) {
	for _, key := range [][]byte{{}, make([]byte, 15), make([]byte, 65)} {
		if _, err := Seal(nil, plain(), key, Stamp{}); err == nil || ReasonOf(err) != "other" {
			t.Errorf("%d bytes: %v", len(key), err)
		}
	}
}

func TestSamplesAreWhatTheyWereBeforePacking(t *testing.T) {
	want := []int32{MaxSample, MinSample, 0, 5, 5, -5}
	w := wave(1)
	Pack(w, want)
	if got := Unpack(nil, w); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTimesAreThoseOfTheSensor(t *testing.T) {
	f := full()
	w := f.Waveforms[1]
	w.IntervalNum, w.IntervalDen = 100_000, 3
	if got, want := SampleOffset(w, 5), (8192+166_666)*time.Microsecond; got != want {
		t.Errorf("sample 5: got %v, want %v", got, want)
	}
	if got, want := Span(f), 999_424*time.Microsecond; got != want {
		t.Errorf("span: got %v, want %v", got, want)
	}
	if us, ok := TimeUS(f); us != start2026+16_000_000 || !ok {
		t.Errorf("time: %d, %v", us, ok)
	}
}

func TestTopicsAreReadAsTheyAreWritten(t *testing.T) {
	for _, s := range []string{"wl/1/r1/s1/frame", "wl/1/r1/s1/json", "wl/1/r1/state", "wl/1/r1/s1/request"} {
		if got, ok := ParseTopic(s); !ok || got.String() != s {
			t.Errorf("%s: got %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "wl/1", "wl/2/r1/s1/frame", "wl/1/r1", "wl/1/r1/s1", "wl/1/r1/s1/state", "wl/1//s1/frame",
		"wl/1/r1/s1/frame/", "wl/1/r 1/s1/frame", "wl/1/-r/s1/frame", "wl/1/ward/7w/agent", "wl/1/ward/state", "wl/1/r1/+/frame"} {
		if got, ok := ParseTopic(s); ok {
			t.Errorf("%s: got %v", s, got)
		}
	}
}

func TestARelaysStateIsRead(t *testing.T) {
	s, err := ParseRelayState([]byte(`{"online":true,"firmware":"1.4.2","battery":0.5,"uptime_s":60,"clock":"free","sensors":2,"new":1}`))
	if err != nil || !s.Online || *s.Battery != 0.5 || s.Clock.Wire() != pb.Clock_CLOCK_FREE || s.Sensors != 2 || s.UptimeS != 60 {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err := ParseRelayState([]byte(`{"online":false}`)); err != nil || s.Online {
		t.Errorf("last will: got %+v, %v", s, err)
	}
	for text, want := range map[string]string{`{}`: "malformed", `online`: "malformed", `{"online":1}`: "malformed",
		`{"online":true,"battery":2}`: "limit", string(make([]byte, 5000)): "too_large"} {
		if _, err := ParseRelayState([]byte(text)); ReasonOf(err) != want {
			t.Errorf("%.20s: got %v, want %s", text, err, want)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name string
		f    *pb.Frame
		key  []byte
	}{{"vitals", plain(), nil}, {"vitals with key", plain(), key1}, {"full", full(), nil}} {
		b.Run(c.name, func(b *testing.B) {
			wire, err := Seal(nil, c.f, c.key, Stamp{})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Open(wire, c.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	f, buf := full(), make([]byte, 0, MaxWire)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal(buf, f, nil, Stamp{}); err != nil {
			b.Fatal(err)
		}
	}
}
