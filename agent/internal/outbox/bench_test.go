package outbox

import (
	"fmt"
	"testing"

	"wardline/shared/link"
)

// BenchmarkAppend is a full batch: 256 JSON messages, two summaries. Reported a
// message.
func BenchmarkAppend(b *testing.B) {
	box := openT(b, b.TempDir(), Options{})
	var fs []Frame
	for i := range 256 {
		fs = append(fs, Frame{Topic: fmt.Sprintf("wl/1/relay%02d/sensor%03d/json", i%20, i), Source: "json", Received: t0 + int64(i)*100,
			Payload: []byte(`{"t":"2026-01-01T12:00:00.250Z","seq":17,"boot":3,"hr":72,"rr":16,"spo2":97,"temp":36.8,"posture":"supine","battery":0.81,"leads_off":[]}`)})
	}
	rs := records(link.Vitals, 0, 2, 300)
	n := int64(0)
	for b.Loop() {
		n++
		if _, err := box.Append(Commit{Mono: n, Wall: t0 + n, Frames: fs, Records: rs}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/message")
}

// BenchmarkAfter reads a backlog as the uplink does.
func BenchmarkAfter(b *testing.B) {
	box := openT(b, b.TempDir(), Options{})
	for i := range 100 {
		appendT(b, box, Commit{Mono: int64(i), Wall: t0, Records: records(link.Vitals, 1000*i, 1000, 200)})
	}
	read, seq := 0, uint64(0)
	for b.Loop() {
		rs, err := box.After(link.Vitals, seq, 60<<10)
		if err != nil {
			b.Fatal(err)
		}
		read += len(rs)
		if seq = 0; len(rs) > 0 {
			seq = rs[len(rs)-1].Seq
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "records/s")
}

func FuzzFrames(f *testing.F) {
	f.Add(appendFrames(nil, frames(3), t0))
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs, err := readFrames(b, t0)
		if err != nil {
			return
		}
		again, err := readFrames(appendFrames(nil, fs, t0), t0)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(fs) {
			t.Errorf("%v reads back as %v, %v", fs, again, err)
		}
	})
}
