package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	f.Add(packFrames(nil, appendFrames(nil, frames(30), t0)))
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs, err := readFrames(b, t0)
		if err != nil {
			return
		}
		again, err := readFrames(packFrames(nil, appendFrames(nil, fs, t0)), t0)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(fs) {
			t.Errorf("%v reads back as %v, %v", fs, again, err)
		}
	})
}

// BenchmarkStartAfterDamage is how long a start takes whose outbox was damaged: two
// hours of a ward, a batch a second, of which it takes over what it needs. The ward
// is not watched meanwhile; two seconds are the bound.
func BenchmarkStartAfterDamage(b *testing.B) {
	dir := b.TempDir()
	box := openT(b, dir, Options{Key: key(1)})
	for i := range 7200 {
		c := Commit{Boot: 1, Mono: int64(i) * 1e6, Wall: t0 + int64(i)*1e6, Synchronised: true, Frames: frames(40), Records: records(link.Vitals, i, 4, 200)}
		if i%60 == 0 {
			c.Checkpoint = make([]byte, 100<<10)
			c.Episodes = []Episode{{ID: fmt.Sprint(i), Open: true, State: make([]byte, 1000)}}
		}
		if _, err := box.Append(c); err != nil {
			b.Fatal(err)
		}
	}
	if err := box.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := os.WriteFile(filepath.Join(dir, damageMark), nil, 0o600); err != nil {
			b.Fatal(err)
		}
		again, err := Open(dir, Options{Key: key(1), Free: roomy})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, open, err := again.Load(); err != nil || len(open) < 100 {
			b.Fatalf("%d episodes, %v", len(open), err)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFlash is what a second of a ward of 40 beds writes to the disk, vitals
// only, beside what was received: a commit a second with the outbox full, records
// forgotten as the cloud takes them, a checkpoint a minute, tidied twice a minute.
func BenchmarkFlash(b *testing.B) {
	box := openT(b, b.TempDir(), Options{MaxBytes: 4 << 20, Reserve: 64 << 10, Key: key(1)})
	var fs []Frame
	received := 0
	for i := range 40 {
		f := Frame{Topic: fmt.Sprintf("wl/1/relay%02d/sensor%03d/json", i/10, i), Source: "json", Payload: []byte(`{"t":1767268800000000,"boot":1,"seq":1234567,"hr":72,"rr":16,"spo2":97,"temp":36.8,"contact":true,"battery":0.81}`)}
		received += len(f.Payload)
		fs = append(fs, f)
	}
	second := func(i int) {
		c := Commit{Boot: 1, Mono: int64(i) * 1e6, Wall: t0 + int64(i)*1e6, Synchronised: true, Frames: fs, Records: records(link.Vitals, i, 4, 150)}
		if i%60 == 0 {
			c.Checkpoint = make([]byte, 60<<10)
		}
		if _, err := box.Append(c); err != nil {
			b.Fatal(err)
		}
		if err := box.Forget(link.Vitals, uint64(4*i)); err != nil {
			b.Fatal(err)
		}
		if i%30 == 0 {
			if err := box.Tidy(c.Wall); err != nil {
				b.Fatal(err)
			}
		}
	}
	i := 0
	for ; i < 1500; i++ { // until it is full
		second(i)
	}
	before := writtenBytes(b)
	n := 0
	for b.Loop() {
		for range 60 { // whole minutes
			second(i)
			i++
			n++
		}
	}
	wrote := float64(writtenBytes(b)-before) / float64(n)
	b.ReportMetric(wrote/4096, "pages/second")
	b.ReportMetric(wrote/float64(received), "x-received")
}

// writtenBytes is what this process has had written to disks (proc(5), io).
func writtenBytes(b *testing.B) (n int64) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip("this system does not count what a process writes")
	}
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "write_bytes: %d", &n)
	}
	return n
}
