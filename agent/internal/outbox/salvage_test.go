package outbox

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"wardline/shared/link"
	"wardline/shared/sqlite"
)

const pageSize = 4096

// worn is an outbox with 300 alerts of which the cloud has 20, 100 summaries, two
// open episodes, and a checkpoint with three batches after it. It is all in one
// file, which is returned.
func worn(t *testing.T) []byte {
	t.Helper()
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	alertsAt(t, box, 0, 300)
	forgetT(t, box, link.Alerts, 20)
	appendT(t, box, Commit{Boot: 1, Mono: 300e6, Wall: t0 + 300e6, Synchronised: true, Frames: frames(5), Records: records(link.Vitals, 0, 100, 100),
		Episodes: []Episode{{ID: "a", Open: true, State: []byte("A")}, {ID: "b", Open: true, State: []byte("B")}}, Checkpoint: []byte("ward")})
	for i := range 3 {
		appendT(t, box, Commit{Boot: 1, Mono: 301e6 + int64(i), Wall: t0 + 301e6, Synchronised: true, Frames: frames(5)})
	}
	if err := box.Tidy(t0); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(box.dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// damagedDir holds a file that was found damaged while an agent ran.
func damagedDir(t *testing.T, file []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{fileName: file, damageMark: []byte("test\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// salvaged takes everything over and returns the alerts that came.
func salvaged(t *testing.T, box *Outbox) (alerts []string, lost uint64) {
	t.Helper()
	if err := box.takeOver(context.Background()); err != nil {
		t.Fatal(err)
	}
	if box.hasSalvage(t) {
		t.Fatalf("it is not done: %+v", box.Stats().Salvaged)
	}
	_, lost = taken(t, box, link.Alerts)
	rs, err := box.After(link.Alerts, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		if r.Kind != link.HoleKind {
			alerts = append(alerts, string(r.Payload))
		}
	}
	return alerts, lost
}

func (o *Outbox) hasSalvage(t *testing.T) bool {
	t.Helper()
	var n int
	if err := o.db.Read.QueryRow(`SELECT count(*) FROM salvage WHERE done = 0`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestAFreshOutboxTakesOverWhatTheDamagedOneHeld(t *testing.T) {
	box := openT(t, damagedDir(t, worn(t)), Options{Key: key(1)})
	checkpoint, at, open, err := box.Load()
	if err != nil || string(checkpoint) != "ward" || len(open) != 2 || string(open[1].State) != "B" || !open[0].Untold {
		t.Fatalf("a start finds %q, %+v, %v", checkpoint, open, err)
	}
	n := 0
	for b, err := range box.Frames(at) {
		if n += len(b.Frames); err != nil {
			t.Fatal(err)
		}
	}
	if n != 15 {
		t.Errorf("%d frames after the checkpoint are replayed, want 15", n)
	}
	if got := appendT(t, box, Commit{Mono: 1, Wall: t0}); got != at+4 {
		t.Errorf("the next commit is at %d, want %d", got, at+4)
	}
	alerts, lost := salvaged(t, box)
	if len(alerts) != 280 || lost != 0 || alerts[0] != "alert 20" || alerts[279] != "alert 299" {
		t.Errorf("%d alerts and %d missing, from %q; want those that the cloud does not have", len(alerts), lost, alerts[0])
	}
	if got, _ := taken(t, box, link.Vitals); got != 100 {
		t.Errorf("%d summaries, want 100", got)
	}
	again, _ := salvaged(t, reopen(t, box, Options{Key: key(1)}))
	if len(again) != 280 {
		t.Errorf("after a restart there are %d, want 280: each is taken over once", len(again))
	}
}

func TestReplaceTakesOverRecordsAlone(t *testing.T) {
	box, err := Replace(damagedDir(t, worn(t)), Options{Key: key(1), Free: roomy})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if checkpoint, _, open, err := box.Load(); checkpoint != nil || len(open) > 0 || err != nil {
		t.Errorf("the old checkpoint %q and episodes %v came too, %v", checkpoint, open, err)
	}
	if alerts, _ := salvaged(t, box); len(alerts) != 280 {
		t.Errorf("%d alerts came, want 280", len(alerts))
	}
}

func TestTakingOverGoesOnWhereACrashLeftIt(t *testing.T) {
	dir := damagedDir(t, worn(t))
	box := openT(t, dir, Options{Key: key(1)})
	old, name := box.Quarantined, filepath.Base(box.Quarantined)
	peek := openPeek(t, old)
	if _, err := box.takeRecords(peek, 1); err != nil {
		t.Fatal(err)
	}
	to := copyDir(t, dir) // the crash
	b, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
	alerts, lost := salvaged(t, openT(t, to, Options{Key: key(1)}))
	if len(alerts) != 280 || lost != 0 {
		t.Errorf("%d alerts and %d missing, want 280 once", len(alerts), lost)
	}
}

// TestWhicheverPageIsDamagedTheRestIsSalvaged damages each page in turn. What is
// on that page is lost; what comes is right, in order and once; nothing fails.
func TestWhicheverPageIsDamagedTheRestIsSalvaged(t *testing.T) {
	file := worn(t)
	whole, most := 0, 0
	for page := range len(file) / pageSize {
		damaged := bytes.Clone(file)
		for i := range pageSize {
			damaged[page*pageSize+i] ^= byte(i*7 + 0x55)
		}
		box := openT(t, damagedDir(t, damaged), Options{Key: key(1)})
		alerts, lost := salvaged(t, box)
		last := -1
		for _, a := range alerts {
			var n int
			if _, err := fmt.Sscanf(a, "alert %d", &n); err != nil || n <= last {
				t.Fatalf("page %d: %q after alert %d", page, a, last)
			}
			last = n
		}
		if len(alerts)+int(lost) > 300 {
			t.Errorf("page %d: %d alerts and %d missing of 300", page, len(alerts), lost)
		}
		if len(alerts) >= 280 {
			whole++
		}
		if len(alerts) > 150 {
			most++
		}
		appendT(t, box, Commit{Mono: 1, Wall: t0, Records: records(link.Alerts, 0, 1, 10)})
		box.Close()
	}
	pages := len(file) / pageSize
	t.Logf("of %d pages %d cost no alert, %d less than half of them", pages, whole, most)
	if whole < pages/2 || most < pages-6 {
		t.Errorf("of %d pages only %d cost no alert and %d less than half of them", pages, whole, most)
	}
}

func TestWhatIsNoDatabaseAtAllIsPutAsideAndNothingWaits(t *testing.T) {
	box := openT(t, damagedDir(t, bytes.Repeat([]byte("no database "), 1000)), Options{Key: key(1)})
	if alerts, _ := salvaged(t, box); len(alerts) > 0 || box.Quarantined == "" {
		t.Errorf("%d alerts came of it, put aside as %q", len(alerts), box.Quarantined)
	}
	appendT(t, box, Commit{Mono: 1, Wall: t0, Records: records(link.Alerts, 0, 1, 10)})
}

func openPeek(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sqlite.Peek(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
