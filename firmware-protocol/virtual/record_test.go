package virtual

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/wfdb"
)

// recordings opens the first n of what there is of a database, or skips aloud.
func recordings(t testing.TB, db string, n int) []*wfdb.Record {
	t.Helper()
	paths, _ := filepath.Glob("../../../shared/data/" + db + "/*.hea")
	if len(paths) == 0 {
		t.Skipf("SKIPPED for want of recordings: no %s in ../shared/data", db)
	}
	if testing.Short() {
		n = 1
	}
	paths = paths[:min(n, len(paths))]
	var out []*wfdb.Record
	for _, path := range paths {
		r, err := wfdb.Open(strings.TrimSuffix(path, ".hea"))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// The figure of SPEC §14: bytes of the whole message, envelope, tag, stamp,
// readings and state included, over the ECG samples in it.
func TestRecordedECGCostsAtMost1Point4BytesASample(t *testing.T) {
	key := make([]byte, 32)
	for _, db := range []string{"mitdb", "vfdb"} {
		bytes, count, worst, frames := 0, 0, 0.0, 0
		for _, rec := range recordings(t, db, 1000) {
			b, n, f := cost(t, rec, key)
			bytes, count, frames = bytes+b, count+n, frames+f
			worst = max(worst, float64(b)/float64(n))
		}
		mean := float64(bytes) / float64(count)
		t.Logf("%s: %.3f bytes a sample, worst record %.3f (%d frames of %d samples a lead)", db, mean, worst, frames, samples(time.Second))
		if mean > 1.4 || worst > 1.4 {
			t.Errorf("%s: %.3f bytes a sample, worst record %.3f, want at most 1.4", db, mean, worst)
		}
	}
}

// cost seals the whole of rec in frames of a second.
func cost(t *testing.T, rec *wfdb.Record, key []byte) (bytes, count, frames int) {
	id := Identity{Sensor: "s001", Boot: 1_767_225_600, Start: time.Unix(1_767_225_600, 0)}
	p, err := NewPlayer(id, rec, 0)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, frame.MaxWire)
	for f := p.Step(time.Second); f != nil; f = p.Step(time.Second) {
		stamp := frame.Stamp{ReceivedUS: f.StartUs + int64(f.ClockUs), Clock: pb.Clock_CLOCK_SYNCHRONISED}
		wire, err := frame.Seal(buf, f, key, stamp)
		if err != nil {
			t.Fatal(err)
		}
		bytes, frames = bytes+len(wire), frames+1
		for _, w := range f.Waveforms {
			count += 1 + len(w.Differences)
		}
	}
	return bytes, count, frames
}

func TestARecordingKeepsItsBeatsAndRhythms(t *testing.T) {
	rec := recordings(t, "mitdb", 1)[0]
	p, err := NewPlayer(Identity{Sensor: "s001", Boot: 1}, rec, 0)
	if err != nil {
		t.Fatal(err)
	}
	rates, notes, sum := 0, 0, 0.0
	for f := p.Step(time.Second); f != nil; f = p.Step(time.Second) {
		if err := frame.Check(f); err != nil {
			t.Fatal(err)
		}
		notes += len(f.Events)
		for _, r := range f.Readings {
			if r.Milli != nil {
				rates++
				sum += float64(*r.Milli) / 1000
			}
		}
	}
	want := float64(len(rec.Beats())) / (float64(rec.Len()) / rec.Frequency) * 60
	if got := sum / float64(rates); math.Abs(got-want) > 2 {
		t.Errorf("mean heart rate: got %.1f, the annotations say %.1f", got, want)
	}
	if notes != len(rec.Rhythms()) {
		t.Errorf("rhythm notes: got %d, want %d", notes, len(rec.Rhythms()))
	}
}

// recorded is ten seconds of a flat ECG, with beats a second apart or none.
func recorded(beats bool) *wfdb.Record {
	r := &wfdb.Record{Name: "made", Frequency: 250, Signals: []wfdb.Signal{{Name: "II", Units: "mV", Gain: 200, Samples: make([]int32, 2500)}}}
	for at := int64(100); beats && at < 2500; at += 250 {
		r.Annotations = append(r.Annotations, wfdb.Annotation{Sample: at, Code: 1})
	}
	return r
}

func TestARecordingSaysGoodContactOnlyWithBeats(t *testing.T) {
	for _, beats := range []bool{true, false} {
		p, err := NewPlayer(identity, recorded(beats), 0)
		if err != nil {
			t.Fatal(err)
		}
		f := p.Step(time.Second)
		if said := f.State.Contact == pb.Contact_CONTACT_GOOD && f.State.LeadsOff != nil; said != beats || beats != (len(f.Readings) == 1) {
			t.Errorf("with beats %v: %v, readings %v", beats, f.State, f.Readings)
		}
		if !beats && (f.State.Contact != pb.Contact_CONTACT_UNKNOWN || f.State.LeadsOff != nil) {
			t.Errorf("without beats it says %v", f.State)
		}
	}
}

func TestARecordingOfVitalsOnlyHasNoWaveforms(t *testing.T) {
	p, err := NewPlayer(identity, recorded(true), 0)
	if err != nil {
		t.Fatal(err)
	}
	p.VitalsOnly = true
	last := pb.Validity_VALIDITY_CALIBRATING
	for f := p.Step(time.Second); f != nil; f = p.Step(time.Second) {
		if err := frame.Check(f); err != nil || len(f.Waveforms) != 0 {
			t.Errorf("frame %d: %d waveforms, %v", f.Seq, len(f.Waveforms), err)
		}
		last = f.Readings[0].Validity
	}
	if last != pb.Validity_VALIDITY_VALID {
		t.Errorf("the last heart rate is %v", last)
	}
	if _, err := NewPlayer(identity, recorded(true), time.Hour); !errors.Is(err, ErrUsage) {
		t.Errorf("an hour into ten seconds: %v", err)
	}
}

func TestARecordingWithoutBeatsHasNoHeartRate(t *testing.T) {
	p, err := NewPlayer(Identity{Sensor: "s001", Boot: 1}, recordings(t, "vfdb", 1)[0], time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f := p.Step(time.Second)
	if len(f.Readings) != 0 || len(f.Waveforms) != 2 || f.Waveforms[0].Lead == f.Waveforms[1].Lead {
		t.Errorf("got %d readings, %d waveforms", len(f.Readings), len(f.Waveforms))
	}
	if f.State.Contact != pb.Contact_CONTACT_UNKNOWN || f.State.LeadsOff != nil {
		t.Errorf("it says that a heart rate could be found: %v", f.State)
	}
	if len(f.Events) != 1 || f.Events[0].Kind != pb.Event_KIND_RHYTHM_NOTE {
		t.Errorf("the rhythm that holds at the begin is missing: %v", f.Events)
	}
}
