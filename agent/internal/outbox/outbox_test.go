package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wardline/shared/link"
)

const t0 = int64(1_767_268_800_000_000)

func roomy() (int64, error) { return 1 << 40, nil }

func openT(t testing.TB, dir string, o Options) *Outbox {
	t.Helper()
	if o.Free == nil {
		o.Free = roomy
	}
	box, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

func appendT(t testing.TB, box *Outbox, c Commit) Position {
	t.Helper()
	at, err := box.Append(c)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func records(lane link.Lane, from, n, size int) []Record {
	var out []Record
	for i := range n {
		out = append(out, Record{Lane: lane, Kind: link.VitalsSummary, Observed: t0 + int64(from+i)*1e6,
			Payload: bytes.Repeat([]byte{byte(from + i)}, size)})
	}
	return out
}

// frames are messages that do not pack, as waveforms hardly do.
func frames(n int) []Frame {
	var out []Frame
	noise := rand.NewChaCha8([32]byte{byte(n)})
	for i := range n {
		wave := make([]byte, 24)
		noise.Read(wave)
		out = append(out, Frame{Topic: fmt.Sprintf("wl/1/relay/s%03d/json", i), Source: []string{"json", "frames"}[i%2],
			Received: t0 + int64(i), Payload: fmt.Appendf(nil, `{"t":%d,"hr":72,"ecg":"%x"}`, t0+int64(i), wave)})
	}
	return out
}

func laneOf(t testing.TB, box *Outbox, id link.Lane) link.LaneState {
	t.Helper()
	for _, l := range box.Lanes() {
		if l.Lane == id {
			return l
		}
	}
	t.Fatalf("no lane %v", id)
	return link.LaneState{}
}

// reopen is a restart: the files are copied as they are, without Close.
func reopen(t *testing.T, box *Outbox, o Options) *Outbox {
	t.Helper()
	return openT(t, copyDir(t, box.dir), o)
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, suffix := range []string{"", "-wal"} { // the -shm is rebuilt
		b, err := os.ReadFile(filepath.Join(from, fileName+suffix))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, fileName+suffix), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestWhatAppendReturnedForIsThereAfterACrash(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	at := appendT(t, box, Commit{Boot: 7, Mono: 5, Wall: t0, Synchronised: true, Frames: frames(3),
		Records:  []Record{{Lane: link.Alerts, Kind: link.AlertEvent, Observed: t0, Payload: []byte("raised")}},
		Episodes: []Episode{{ID: "a", Open: true, State: []byte("A")}, {ID: "b", Open: true, State: []byte("B")}},
		Commands: []string{"c1"}, Checkpoint: []byte("ward")})
	appendT(t, box, Commit{Mono: 6, Wall: t0 + 1, Frames: frames(2), Episodes: []Episode{{ID: "a"}, {ID: "b", Open: true, State: []byte("B2")}}})

	again := reopen(t, box, Options{})
	checkpoint, from, open, err := again.Load()
	if err != nil || string(checkpoint) != "ward" || from != at {
		t.Fatalf("loaded %q at %d, %v", checkpoint, from, err)
	}
	if len(open) != 1 || open[0].ID != "b" || string(open[0].State) != "B2" {
		t.Errorf("open episodes %+v, want b alone, as B2", open)
	}
	if !again.Seen("c1") || again.Seen("c2") {
		t.Error("the command that was seen is not known, or another is")
	}
	var batches []Batch
	for b, err := range again.Frames(0) {
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	if len(batches) != 2 || batches[0].Boot != 7 || batches[0].Mono != 5 || !batches[0].Synchronised || batches[1].Wall != t0+1 {
		t.Fatalf("batches %+v", batches)
	}
	if got, want := fmt.Sprint(batches[0].Frames), fmt.Sprint(frames(3)); got != want {
		t.Errorf("frames %s, want %s", got, want)
	}
	if again.Epoch() != box.Epoch() {
		t.Error("the epoch changed with a restart")
	}
	rs, err := again.After(link.Alerts, 0, 1<<20)
	if err != nil || len(rs) != 1 || rs[0].Seq != 1 || string(rs[0].Payload) != "raised" {
		t.Errorf("records %v, %v", rs, err)
	}
}

func TestReplayReadsBatchesAcrossPagesFromAPlace(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	for i := range 3 * framesPage {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0 + int64(i)})
	}
	want := Position(6)
	for b, err := range box.Frames(5) {
		if err != nil || b.Position != want {
			t.Fatalf("batch %d, %v; want %d", b.Position, err, want)
		}
		want++
	}
	if want != 3*framesPage+1 {
		t.Errorf("ended before %d", want)
	}
}

func TestSequenceNumbersAreNeverUsedTwice(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	appendT(t, box, Commit{Wall: t0, Records: records(link.Vitals, 0, 3, 10)})
	before := laneOf(t, box, link.Vitals)
	if err := box.Forget(link.Vitals, 3); err != nil {
		t.Fatal(err)
	}
	appendT(t, box, Commit{Mono: 1, Wall: t0}) // takes the rows with it
	box = reopen(t, box, Options{})
	if got := laneOf(t, box, link.Vitals); got.First != 4 || got.Last != 3 || got.Hash != before.Hash {
		t.Fatalf("after everything was forgotten and a restart: %+v, want nothing from 4 with the hash of 3", got)
	}
	if h, ok := box.HashAt(link.Vitals, 3); !ok || h != before.Hash {
		t.Error("the hash of the last forgotten record is not known")
	}
	appendT(t, box, Commit{Mono: 2, Wall: t0, Records: records(link.Vitals, 3, 1, 10)})
	if got := laneOf(t, box, link.Vitals); got.Last != 4 {
		t.Errorf("the next record got %d, want 4", got.Last)
	}
}

func TestForgetKeepsWhatFollowsAndOffersNothingTwice(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	appendT(t, box, Commit{Wall: t0, Records: records(link.Vitals, 0, 10, 10)})
	for _, c := range []struct{ through, first uint64 }{{0, 1}, {1, 2}, {1, 2}, {5, 6}, {3, 6}, {9, 10}} {
		if err := box.Forget(link.Vitals, c.through); err != nil {
			t.Fatal(err)
		}
		rs, err := box.After(link.Vitals, laneOf(t, box, link.Vitals).First-1, 1<<20)
		if err != nil || len(rs) == 0 || rs[0].Seq != c.first || rs[len(rs)-1].Seq != 10 {
			t.Fatalf("after Forget(%d): %v, %v; want from %d to 10", c.through, rs, err, c.first)
		}
		if got := laneOf(t, box, link.Vitals); got.First != c.first || got.Last != 10 {
			t.Fatalf("after Forget(%d): %+v", c.through, got)
		}
	}
	if err := box.Forget(link.Vitals, 11); err == nil {
		t.Error("what was never given was forgotten")
	}
	if got := laneOf(t, box, link.Vitals); got.First != 10 {
		t.Errorf("a wrong Forget changed the lane: %+v", got)
	}
}

func TestManyForgottenRecordsGoAtOnce(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	for i := range 5 {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0, Records: records(link.Vitals, 1000*i, 1000, 8)})
	}
	if err := box.Forget(link.Vitals, 4999); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := box.db.Read.QueryRow(`SELECT count(*) FROM record`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows are left, %v; want 1", rows, err)
	}
	if got := box.Stats().Lanes[2].Bytes; got != recordOverhead+8 {
		t.Errorf("they count %d bytes, want those of one", got)
	}
}

func TestHashesAreThoseOfTheLink(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	appendT(t, box, Commit{Wall: t0, Records: records(link.Vitals, 0, 4, 10)})
	rs, err := box.After(link.Vitals, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var want link.Hash
	for _, r := range rs {
		want = want.Next(r)
		if got, ok := box.HashAt(link.Vitals, r.Seq); !ok || got != want {
			t.Errorf("hash at %d: %x, %v; want %x", r.Seq, got, ok, want)
		}
	}
	if h, ok := box.HashAt(link.Vitals, 0); !ok || h != (link.Hash{}) {
		t.Error("the hash of an empty lane is not zero")
	}
	if _, ok := box.HashAt(link.Vitals, 5); ok {
		t.Error("a record that never was has a hash")
	}
}

func TestRenumberBeginsANewEpochFromOne(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	appendT(t, box, Commit{Wall: t0, Records: append(records(link.Vitals, 0, 6, 10), records(link.Alerts, 0, 2, 5)...)})
	if err := box.Forget(link.Vitals, 4); err != nil {
		t.Fatal(err)
	}
	epoch := box.Epoch()
	if err := box.Renumber(); err != nil {
		t.Fatal(err)
	}
	appendT(t, box, Commit{Mono: 1, Wall: t0, Records: records(link.Vitals, 6, 1, 10)})
	box = reopen(t, box, Options{})
	if box.Epoch() == epoch {
		t.Error("the epoch is the old one")
	}
	rs, _ := box.After(link.Vitals, 0, 1<<20)
	var h link.Hash
	for i, r := range rs {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d has seq %d", i, r.Seq)
		}
		h = h.Next(r)
	}
	if got := laneOf(t, box, link.Vitals); got.Hash != h || got.Last != uint64(len(rs)) || len(rs) < 3 {
		t.Errorf("lane %+v, want %d records with hash %x", got, len(rs), h)
	}
	if rs, _ := box.After(link.Alerts, 0, 1<<20); len(rs) != 2 {
		t.Errorf("%d alerts, want 2", len(rs))
	}
}

func TestACommitWhoseAnswerWasLostIsNotKeptTwice(t *testing.T) {
	for _, kept := range []bool{false, true} {
		box := openT(t, t.TempDir(), Options{})
		appendT(t, box, Commit{Mono: 1, Wall: t0, Records: records(link.Alerts, 0, 1, 5)})
		c := Commit{Mono: 2, Wall: t0, Frames: frames(2), Records: records(link.Alerts, 1, 1, 5), Commands: []string{"x"}}
		loseAnswer(t, box, c, kept)

		at, err := box.Append(c)
		if err != nil || at != 2 {
			t.Fatalf("kept=%v: again: %d, %v", kept, at, err)
		}
		appendT(t, box, Commit{Mono: 3, Wall: t0, Records: records(link.Alerts, 2, 1, 5)})
		if got := laneOf(t, box, link.Alerts); got.Last != 3 {
			t.Errorf("kept=%v: the lane ends at %d, want 3", kept, got.Last)
		}
		if !box.Seen("x") {
			t.Errorf("kept=%v: the command is not known", kept)
		}
	}
}

// loseAnswer commits c, or not, and leaves the outbox as after an error.
func loseAnswer(t *testing.T, box *Outbox, c Commit, kept bool) {
	t.Helper()
	box.mu.Lock()
	before := box.s
	box.mu.Unlock()
	if kept {
		appendT(t, box, c)
	}
	box.mu.Lock()
	box.s = before
	for _, id := range c.Commands {
		delete(box.seen, id)
	}
	box.mu.Unlock()
	box.doubt = &doubt{at: before.last + 1, boot: c.Boot, mono: c.Mono, frames: len(c.Frames), records: len(c.Records)}
}

func TestAFailedCommitKeepsNothingOfIt(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	bad := Commit{Mono: 1, Wall: t0, Frames: frames(1), Records: append(records(link.Vitals, 0, 1, 5), Record{Lane: 9})}
	if _, err := box.Append(bad); err == nil {
		t.Fatal("a record for no lane was kept")
	}
	if got := laneOf(t, box, link.Vitals); got.Last != 0 {
		t.Errorf("lane %+v after a failed commit", got)
	}
	if at := appendT(t, box, Commit{Mono: 2, Wall: t0, Records: records(link.Vitals, 0, 1, 5)}); at != 1 {
		t.Errorf("the next commit is at %d, want 1", at)
	}
}

func TestADamagedFileIsPutAside(t *testing.T) {
	dir := t.TempDir()
	box := openT(t, dir, Options{})
	appendT(t, box, Commit{Wall: t0, Frames: frames(100), Records: records(link.Vitals, 0, 50, 100)})
	epoch := box.Epoch()
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 512 {
		b[i] ^= 0x5a
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	box = openT(t, dir, Options{})
	if box.Quarantined == "" || box.Damage == "" || box.Epoch() == epoch {
		t.Fatalf("quarantined %q because %q, epoch new: %v", box.Quarantined, box.Damage, box.Epoch() != epoch)
	}
	if aside, err := os.ReadFile(box.Quarantined); err != nil || !bytes.Equal(aside, b) {
		t.Errorf("the damaged file is not what was put aside: %v", err)
	}
	appendT(t, box, Commit{Wall: t0, Records: records(link.Vitals, 0, 1, 5)})
}

func TestDamageFurtherInShowsWhenItIsRead(t *testing.T) {
	dir := t.TempDir()
	box := openT(t, dir, Options{})
	for i := range 200 {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0, Frames: frames(100)})
	}
	box.Close()
	path := filepath.Join(dir, fileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The ends stay whole: a quick open must not notice.
	for page := 40; page < len(b)/4096-40; page++ {
		copy(b[page*4096:], "nothing that sqlite would have written")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	box = openT(t, dir, Options{})
	if box.Quarantined != "" {
		t.Fatal("the damage showed at open: this test is about damage that does not")
	}
	var failed error
	for _, err := range box.Frames(0) {
		failed = errors.Join(failed, err)
	}
	if !errors.Is(failed, ErrDamaged) {
		t.Fatalf("reading it all: %v", failed)
	}
	if _, err := box.Append(Commit{Mono: 999, Wall: t0}); !errors.Is(err, ErrDamaged) {
		t.Errorf("the writer goes on with the damaged file: %v", err)
	}
	box.Close()
	if box = openT(t, dir, Options{}); box.Quarantined == "" {
		t.Error("the next open went on with the damaged file")
	}
}

func TestDamageThatShowsWhileRunningIsPutAsideAtTheNextOpen(t *testing.T) {
	dir := t.TempDir()
	box := openT(t, dir, Options{})
	if err := os.WriteFile(filepath.Join(dir, damageMark), []byte("malformed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	box.Close()
	box = openT(t, dir, Options{})
	if !strings.Contains(box.Quarantined, "damaged-") {
		t.Errorf("quarantined %q", box.Quarantined)
	}
	box.Close()
	if box = openT(t, dir, Options{}); box.Quarantined != "" {
		t.Error("the fresh file was put aside too")
	}
}

func TestOldCommandIdsAreForgotten(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	appendT(t, box, Commit{Wall: t0, Commands: []string{"old"}})
	appendT(t, box, Commit{Mono: 1, Wall: t0 + (6 * 24 * time.Hour).Microseconds(), Commands: []string{"new"}})
	if err := box.Tidy(t0 + (7*24*time.Hour + time.Second).Microseconds()); err != nil {
		t.Fatal(err)
	}
	if box.Seen("old") || !box.Seen("new") {
		t.Error("want the id of seven days ago gone and the newer one kept")
	}
	if box = reopen(t, box, Options{}); box.Seen("old") || !box.Seen("new") {
		t.Error("after a restart: want the same")
	}
}

func TestTidyingThatFailsIsToldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, err := Open(t.TempDir(), Options{})
		if err == nil {
			err = box.Close() // nothing of it can be tidied now
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		told := make(chan error, 10)
		ended := make(chan error, 1)
		go func() { ended <- box.Run(ctx, func() int64 { return t0 }, func(err error) { told <- err }) }()
		time.Sleep(2*tidyEvery + time.Second)
		stop()
		if err := <-ended; err != nil || len(told) != 3 {
			t.Errorf("told %d times at the start and in two rounds, ended with %v", len(told), err)
		}
	})
}

func TestABatchOfVitalsIsPackedAndOneOfNoiseIsAsItIs(t *testing.T) {
	var vitals []Frame
	for i := range 40 {
		vitals = append(vitals, Frame{Topic: fmt.Sprintf("wl/1/relay%02d/s%03d/json", i/10, i), Source: "json", Received: t0 + int64(i),
			Payload: fmt.Appendf(nil, `{"t":%d,"boot":1,"seq":%d,"hr":%d,"rr":%d,"spo2":%d,"contact":true}`, t0+int64(i)*7919, 1000+i*31, 60+i, 12+i%9, 90+i%10)})
	}
	wave := make([]byte, 2000)
	rand.NewChaCha8([32]byte{1}).Read(wave)
	noise := []Frame{{Topic: "x", Source: "s", Received: t0, Payload: wave}}
	for _, x := range []struct {
		frames []Frame
		form   byte
		most   float64
	}{{vitals, packedForm, 0.5}, {noise, framesForm, 1}, {nil, framesForm, 1}} {
		raw := appendFrames(nil, x.frames, t0)
		packed := packFrames(nil, raw)
		if packed[0] != x.form || float64(len(packed)) > x.most*float64(len(raw)) {
			t.Errorf("%d bytes become %d of form %d", len(raw), len(packed), packed[0])
		}
		got, err := readFrames(packed, t0)
		if err != nil || len(got) != len(x.frames) || len(got) > 0 && string(got[len(got)-1].Payload) != string(x.frames[len(got)-1].Payload) {
			t.Errorf("read back: %d frames, %v", len(got), err)
		}
	}
	if _, err := readFrames([]byte{packedForm, 0xff, 0xff, 0xff, 0xff, 0x7f}, t0); err == nil {
		t.Error("a batch that claims to be larger than any was read")
	}
}
