package outbox

import (
	"fmt"
	"testing"
	"time"

	"wardline/shared/link"
)

// taken is what a cloud takes of a lane: it fails on a hole that is not declared.
func taken(t *testing.T, box *Outbox, id link.Lane) (got, lost uint64) {
	t.Helper()
	var cursor link.Cursor
	for {
		rs, err := box.After(id, cursor.Seq, 4096)
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) == 0 {
			break
		}
		for _, r := range rs {
			if r.Kind == link.HoleKind {
				h, err := link.ReadHole(r)
				if err != nil {
					t.Fatal(err)
				}
				if h.ObservedFrom == 0 || h.ObservedTo < h.ObservedFrom || h.Reason == "" {
					t.Fatalf("a hole that does not say what is missing: %v", h)
				}
				lost += h.To - h.From + 1
			} else {
				got++
			}
		}
		if _, cursor, err = cursor.After(rs); err != nil {
			t.Fatal(err)
		}
	}
	l := laneOf(t, box, id)
	if cursor.Seq != l.Last || cursor.Hash != l.Hash {
		t.Fatalf("the lane was taken to %d %x, it ends at %d %x", cursor.Seq, cursor.Hash, l.Last, l.Hash)
	}
	return got, lost
}

// fill appends n commits of 10 frames, 5 summaries and an alert each.
func fill(t *testing.T, box *Outbox, from, n int, checkpointEvery int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		c := Commit{Mono: int64(i), Wall: t0 + int64(i)*1e6, Synchronised: true, Frames: frames(10), Records: records(link.Vitals, 5*i, 5, 200)}
		c.Records = append(c.Records, records(link.Alerts, i, 1, 50)...)
		if i%checkpointEvery == 0 {
			c.Checkpoint = []byte("ward")
		}
		appendT(t, box, c)
		if s := box.Stats(); s.Bytes > s.MaxBytes {
			t.Fatalf("after commit %d it holds %d bytes of at most %d", i, s.Bytes, s.MaxBytes)
		}
	}
}

func TestFramesGiveWayFirstThenVitalsAndNeverAlerts(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxBytes: 256 << 10, Reserve: 16 << 10})
	fill(t, box, 0, 120, 10)
	s := box.Stats()
	if s.BatchesEvicted == 0 || s.Lanes[2].Evicted != 0 {
		t.Fatalf("at first: %d batches and %d summaries gave way, want batches alone", s.BatchesEvicted, s.Lanes[2].Evicted)
	}
	fill(t, box, 120, 280, 10)
	s = box.Stats()
	if s.Lanes[2].Evicted == 0 {
		t.Fatalf("later: no summaries gave way: %+v", s)
	}
	if s.Batches > 2*10+batchesAtOnce {
		t.Errorf("%d batches are left while summaries give way", s.Batches)
	}
	if got, lost := taken(t, box, link.Vitals); lost != uint64(s.Lanes[2].Evicted) || got+lost != 2000 {
		t.Errorf("of 2000 summaries %d are there and %d declared missing, %d counted", got, lost, s.Lanes[2].Evicted)
	}
	if got, lost := taken(t, box, link.Alerts); got != 400 || lost != 0 {
		t.Errorf("of 400 alerts %d are there, %d missing", got, lost)
	}
}

func TestFramesThatAReplayNeedsOutliveSummaries(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxBytes: 128 << 10, Reserve: 8 << 10})
	fill(t, box, 0, 250, 20)
	_, at, _, err := box.Load()
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range box.Frames(at) {
		if err != nil || b.Position != at+1 {
			t.Fatalf("replay after %d begins at %d, %v", at, b.Position, err)
		}
		break
	}
}

func TestAHoleGrowsAndIsForgottenLikeARecord(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxBytes: 64 << 10, Reserve: 4 << 10})
	fill(t, box, 0, 150, 5)
	rs, err := box.After(link.Vitals, 0, 1)
	if err != nil || len(rs) != 1 || rs[0].Kind != link.HoleKind {
		t.Fatalf("the lane begins with %v, %v; want a hole", rs, err)
	}
	hole := rs[0].Seq
	if err := box.Forget(link.Vitals, hole/2); err != nil { // inside it
		t.Fatal(err)
	}
	fill(t, box, 150, 1, 5)
	if rs, _ = box.After(link.Vitals, hole/2, 1); len(rs) != 1 || rs[0].Kind != link.HoleKind {
		t.Fatalf("after a Forget inside the hole: %v", rs)
	}
	hole = rs[0].Seq
	if err := box.Forget(link.Vitals, hole); err != nil {
		t.Fatal(err)
	}
	fill(t, box, 151, 1, 5)
	box = reopen(t, box, Options{})
	if got := laneOf(t, box, link.Vitals); got.First != hole+1 {
		t.Errorf("the lane begins at %d, want %d", got.First, hole+1)
	}
	if rs, _ = box.After(link.Vitals, hole, 1); len(rs) != 1 || rs[0].Seq != hole+1 || rs[0].Kind == link.HoleKind {
		t.Errorf("the first record is %v", rs)
	}
}

func TestRenumberKeepsAHole(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxBytes: 64 << 10, Reserve: 4 << 10})
	fill(t, box, 0, 150, 5)
	got, lost := taken(t, box, link.Vitals)
	if err := box.Renumber(); err != nil {
		t.Fatal(err)
	}
	if g, l := taken(t, box, link.Vitals); g != got || l != lost || l == 0 {
		t.Errorf("%d records and %d missing, want %d and %d as before", g, l, got, lost)
	}
}

func TestFramesLeaveWhenTheyAreOld(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxFrameAge: 10 * time.Second})
	fill(t, box, 0, 60, 4)
	s := box.Stats()
	if s.Batches < 10 || s.Batches > 15 || s.BatchesEvicted != 0 {
		t.Errorf("%d batches of a second each are kept, %d gave way to bytes; want about 10 and none", s.Batches, s.BatchesEvicted)
	}
	if want := t0 + 49e6; s.FramesFrom < want-4e6 {
		t.Errorf("they go back to %d, want %d", s.FramesFrom, want)
	}
}

func TestSummariesThatAreTooOldAreDeclaredMissing(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxRecordAge: 50 * time.Second})
	for i := range 100 {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0 + int64(i)*1e6, Synchronised: true, Records: records(link.Vitals, i, 1, 20)})
	}
	if got, lost := taken(t, box, link.Vitals); got < 50 || got > 52 || got+lost != 100 {
		t.Errorf("%d are there and %d missing, want about 50 each", got, lost)
	}
}

func TestAFileSystemThatIsNearlyFullMakesTheRestGiveWay(t *testing.T) {
	free := int64(1 << 30)
	box := openT(t, t.TempDir(), Options{MaxBytes: 1 << 30, Reserve: 1 << 20, Free: func() (int64, error) { return free, nil }})
	fill(t, box, 0, 100, 10)
	before := box.Stats()
	free = 1<<20 - 100_000
	for i := range 20 {
		appendT(t, box, Commit{Mono: 20e6 + int64(i), Wall: t0 + 100e6, Records: records(link.Alerts, i, 1, 50)})
	}
	after := box.Stats()
	if gave := before.Bytes - after.Bytes; gave < 80_000 || !after.Tight {
		t.Errorf("%d bytes were given back, want about 100000; tight: %v", gave, after.Tight)
	}
	if _, lost := taken(t, box, link.Alerts); lost != 0 {
		t.Errorf("%d alerts gave way", lost)
	}
}

func TestTheFileShrinksAfterABacklog(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	for i := range 40 {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0, Records: records(link.Vitals, 500*i, 500, 400)})
	}
	if err := box.Tidy(t0); err != nil {
		t.Fatal(err)
	}
	before := box.Stats().Disk
	if err := box.Forget(link.Vitals, 20000); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := box.Tidy(t0); err != nil {
			t.Fatal(err)
		}
	}
	if after := box.Stats().Disk; after > before-2<<20 {
		t.Errorf("the files take %d bytes, %d before", after, before)
	}
}

func TestAnAlertFindsRoomOnAFullDisk(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	fill(t, box, 0, 200, 10)
	var pages int
	if err := box.db.Write.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := box.db.Write.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+2)); err != nil {
		t.Fatal(err)
	}
	c := Commit{Mono: 1000, Wall: t0 + 200e6, Frames: frames(2000), Records: records(link.Alerts, 200, 1, 50)}
	appendT(t, box, c)
	if gave := box.Stats().BatchesEvicted; gave == 0 {
		t.Error("nothing gave way: the disk was not full")
	}
	if got, lost := taken(t, box, link.Alerts); got != 201 || lost != 0 {
		t.Errorf("%d alerts are there and %d missing, want 201 and none", got, lost)
	}
}

func TestNothingIsTooOldByAClockThatNobodyHasSet(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxFrameAge: 10 * time.Second, MaxRecordAge: 50 * time.Second})
	const y2001 = int64(978_307_200_000_000)
	before := Commit{Mono: 1, Wall: y2001, Records: []Record{{Lane: link.Vitals, Kind: link.VitalsSummary, Observed: y2001}}}
	appendT(t, box, before)
	jumped := Commit{Mono: 2, Wall: t0 + 1e15, Records: []Record{{Lane: link.Vitals, Kind: link.VitalsSummary, Observed: t0}}}
	appendT(t, box, jumped)                                              // ahead, and not synchronised
	appendT(t, box, Commit{Mono: 3, Wall: t0})                           // still not
	appendT(t, box, Commit{Mono: 4, Wall: t0 + 1e6, Synchronised: true}) // set at last
	appendT(t, box, Commit{Mono: 5, Wall: t0 + 2e6, Synchronised: true})
	if got, lost := taken(t, box, link.Vitals); got != 2 || lost != 0 {
		t.Errorf("%d summaries are there and %d gave way, want both there", got, lost)
	}
}

func TestAPartOfTheBytesIsKeptForAlertsAlone(t *testing.T) {
	const most, reserve = 256 << 10, 64 << 10
	box := openT(t, t.TempDir(), Options{MaxBytes: most, Reserve: reserve})
	for i := range 400 {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0 + int64(i)*1e6, Synchronised: true, Frames: frames(10), Records: records(link.Vitals, 5*i, 5, 200), Checkpoint: []byte("ward")})
	}
	if s := box.Stats(); s.Bytes > most-reserve || s.Bytes < (most-reserve)/2 {
		t.Errorf("without an alert %d bytes are held, want at most %d", s.Bytes, most-reserve)
	}
	for i := range 300 {
		appendT(t, box, Commit{Mono: 400 + int64(i), Wall: t0 + 400e6, Synchronised: true, Records: records(link.Alerts, i, 1, 50)})
	}
	if got, lost := taken(t, box, link.Alerts); got != 300 || lost != 0 {
		t.Errorf("%d alerts are there, %d missing", got, lost)
	}
}
