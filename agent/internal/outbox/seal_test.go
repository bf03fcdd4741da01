package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"wardline/shared/link"
)

func key(n byte) []byte { return bytes.Repeat([]byte{n}, KeySize) }

// secret is a text that must not be found on the disk.
const secret = "bed 12, patient P-4711, heart rate 31"

func keepSecret(t *testing.T, box *Outbox) {
	t.Helper()
	appendT(t, box, Commit{Mono: 1, Wall: t0, Synchronised: true,
		Frames:   []Frame{{Topic: "wl/1/r/s/json", Source: "json", Received: t0, Payload: []byte(secret)}},
		Records:  []Record{{Lane: link.Alerts, Kind: link.AlertEvent, Observed: t0, Payload: []byte(secret)}, {Lane: link.Vitals, Kind: link.VitalsSummary, Observed: t0, Payload: []byte(secret)}},
		Episodes: []Episode{{ID: "e", Open: true, State: []byte(secret)}}, Checkpoint: []byte(secret)})
}

// secrets is what of the secret can be had of an outbox by its own methods.
func secrets(t *testing.T, box *Outbox) (n int) {
	t.Helper()
	for _, lane := range []link.Lane{link.Alerts, link.Vitals} {
		rs, err := box.After(lane, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			n += bytes.Count(r.Payload, []byte(secret))
		}
	}
	checkpoint, _, open, err := box.Load()
	if err != nil {
		t.Fatal(err)
	}
	n += bytes.Count(checkpoint, []byte(secret))
	for _, e := range open {
		n += bytes.Count(e.State, []byte(secret))
	}
	for b, err := range box.Frames(0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range b.Frames {
			n += bytes.Count(f.Payload, []byte(secret))
		}
	}
	return n
}

// onDisk counts the secret in the files.
func onDisk(t *testing.T, dir string) (n int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		n += bytes.Count(b, []byte(secret))
	}
	return n
}

func TestNothingOfAPatientLiesOnTheDiskInClear(t *testing.T) {
	clear := openT(t, t.TempDir(), Options{})
	keepSecret(t, clear)
	if n := onDisk(t, clear.dir); n < 5 {
		t.Fatalf("without a key the secret lies there %d times, want at least 5: the search finds nothing", n)
	}
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	keepSecret(t, box)
	if err := box.Renumber(); err != nil {
		t.Fatal(err)
	}
	if err := box.Tidy(t0); err != nil {
		t.Fatal(err)
	}
	if n := onDisk(t, box.dir); n != 0 {
		t.Errorf("with a key it lies there %d times", n)
	}
	if n := secrets(t, reopen(t, box, Options{Key: key(1)})); n != 5 {
		t.Errorf("with the key it is read %d times, want 5", n)
	}
}

func TestAnotherKeyOpensNothingAndDamagesNothing(t *testing.T) {
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	keepSecret(t, box)
	dir := copyDir(t, box.dir)
	for _, k := range [][]byte{key(2), nil} {
		if other, err := Open(dir, Options{Key: k}); !errors.Is(err, ErrKey) {
			t.Errorf("with another key: %v, %v; want ErrKey", other, err)
		}
	}
	if _, err := Open(dir, Options{Key: []byte("short")}); err == nil {
		t.Error("a short key was taken")
	}
	if n := secrets(t, openT(t, dir, Options{Key: key(1)})); n != 5 {
		t.Errorf("with the key again it is read %d times, want 5", n)
	}
}

func TestAFileWhoseOwnKeyIsLostIsPutAside(t *testing.T) {
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	keepSecret(t, box)
	again := openT(t, copyDir(t, box.dir), Options{Key: key(2), OwnKey: true})
	if again.Quarantined == "" || secrets(t, again) != 0 {
		t.Errorf("put aside as %q, %d secrets read; want a fresh outbox", again.Quarantined, secrets(t, again))
	}
	keepSecret(t, again)
	if n := secrets(t, again); n != 5 {
		t.Errorf("the fresh one keeps %d of 5", n)
	}
}

// TestARowCannotStandInAnothersPlace: what was sealed for one row is refused in
// another, also within one table.
func TestARowCannotStandInAnothersPlace(t *testing.T) {
	s, err := newSeal(key(1))
	if err != nil {
		t.Fatal(err)
	}
	rows := []row{batchRow(1), batchRow(2), recordRow(1, 1), recordRow(1, 2), recordRow(3, 1), checkpointRow(1), episodeRow("a"), episodeRow("b")}
	for i, at := range rows {
		sealed := s.close(nil, at, []byte(secret))
		for j, in := range rows {
			got, err := s.open(in, s.with, bytes.Clone(sealed))
			if (i == j) != (err == nil) || i == j && string(got) != secret {
				t.Errorf("sealed for %v, opened as %v: %q, %v", at, in, got, err)
			}
		}
		if again := s.close(nil, at, []byte(secret)); bytes.Equal(again, sealed) {
			t.Error("the same nonce was used twice")
		}
	}
}

func TestAnOutboxOfTheFirstSchemaGoesOnAndIsSealedFromThen(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("testdata/schema-0001.db")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	box := openT(t, dir, Options{Key: key(1)})
	checkpoint, at, open, err := box.Load()
	if err != nil || string(checkpoint) != "ward" || at != 1 || len(open) != 1 || string(open[0].State) != "A" || !box.Seen("c1") {
		t.Fatalf("loaded %q at %d, %v, %v", checkpoint, at, open, err)
	}
	n := 0
	for b, err := range box.Frames(0) {
		if n += len(b.Frames); err != nil {
			t.Fatal(err)
		}
	}
	if got := laneOf(t, box, link.Vitals); n != 5 || got.Last != 3 {
		t.Errorf("%d frames and vitals to %d, want 5 and 3", n, got.Last)
	}
	keepSecret(t, box)
	if rs, err := box.After(link.Alerts, 0, 1<<20); err != nil || len(rs) != 2 || string(rs[0].Payload) != "raised" || string(rs[1].Payload) != secret {
		t.Errorf("alerts %v, %v", rs, err)
	}
	if n := onDisk(t, dir); n != 0 {
		t.Errorf("what came later lies in clear %d times", n)
	}
}
