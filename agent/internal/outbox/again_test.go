package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"wardline/shared/link"
)

// alertsAt appends an alert a second.
func alertsAt(t *testing.T, box *Outbox, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		at := t0 + int64(i)*1e6
		appendT(t, box, Commit{Mono: int64(i) * 1e6, Wall: at, Synchronised: true,
			Records: []Record{{Lane: link.Alerts, Kind: link.AlertEvent, Observed: at, Payload: fmt.Appendf(nil, "alert %d", i)}}})
	}
}

func forgetT(t *testing.T, box *Outbox, id link.Lane, through uint64) {
	t.Helper()
	if err := box.Forget(id, through); err != nil {
		t.Fatal(err)
	}
}

func TestAcknowledgedAlertsStayForAStatedTimeAndNoLonger(t *testing.T) {
	box := openT(t, t.TempDir(), Options{KeepAlerts: 60 * time.Second})
	alertsAt(t, box, 0, 50)
	forgetT(t, box, link.Alerts, 50)
	alertsAt(t, box, 50, 50)
	got := laneOf(t, box, link.Alerts)
	if got.First != 51 || got.Kept < 38 || got.Kept > 40 || got.Pending() != 50 {
		t.Errorf("after 100 s it owes from %d and keeps from %d, want 51 and about 39", got.First, got.Kept)
	}
	box = reopen(t, box, Options{KeepAlerts: 60 * time.Second})
	if again := laneOf(t, box, link.Alerts); again != got {
		t.Errorf("after a restart %+v, want %+v: what the cloud has is known", again, got)
	}
	alertsAt(t, box, 200, 1) // long after: all that the cloud has goes
	if got := laneOf(t, box, link.Alerts); got.Kept != 51 {
		t.Errorf("it keeps from %d, want 51: what the cloud does not have stays", got.Kept)
	}
}

func TestACloudThatWentBackIsGivenWhatIsKeptAndAHoleForTheRest(t *testing.T) {
	box := openT(t, t.TempDir(), Options{KeepAlerts: 60 * time.Second})
	alertsAt(t, box, 0, 100)
	forgetT(t, box, link.Alerts, 100)
	appendT(t, box, Commit{Mono: 100e6, Wall: t0 + 100e6, Synchronised: true, Records: records(link.Vitals, 0, 10, 20)})
	forgetT(t, box, link.Vitals, 9)
	alertsAt(t, box, 101, 1)
	if err := box.Owe(link.Alerts, 10); err != nil {
		t.Fatal(err)
	}
	if err := box.Owe(link.Vitals, 2); err != nil {
		t.Fatal(err)
	}
	kept := laneOf(t, box, link.Alerts).Kept
	got, lost := taken(t, box, link.Alerts)
	if want := 102 - kept; got != want || lost != kept-1 || kept > 50 {
		t.Errorf("%d alerts come again and %d are declared missing, want %d and %d", got, lost, want, kept-1)
	}
	if got, lost := taken(t, box, link.Vitals); got != 1 || lost != 9 {
		t.Errorf("%d summaries come and %d are declared missing, want 1 and 9", got, lost)
	}
	if l := laneOf(t, reopen(t, box, Options{}), link.Alerts); l.First != kept {
		t.Errorf("after a restart it owes from %d, want from %d still", l.First, kept)
	}
}

func TestCopiesOfAlertsGiveWayBeforeVitals(t *testing.T) {
	box := openT(t, t.TempDir(), Options{MaxBytes: 256 << 10, Reserve: 16 << 10})
	alertsAt(t, box, 0, 400)
	forgetT(t, box, link.Alerts, 400)
	for i := 400; box.Stats().Lanes[2].Evicted == 0; i++ {
		appendT(t, box, Commit{Mono: int64(i), Wall: t0 + int64(i)*1e6, Synchronised: true, Records: records(link.Vitals, i, 5, 200), Checkpoint: []byte("ward")})
	}
	if l := laneOf(t, box, link.Alerts); l.Kept != 401 {
		t.Errorf("vitals gave way while copies from %d on were kept", l.Kept)
	}
}

func TestARecordThatTheMediumChangedIsDeclaredAndTheRestGoesOn(t *testing.T) {
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	alertsAt(t, box, 0, 5)
	appendT(t, box, Commit{Mono: 9e6, Wall: t0, Frames: frames(2), Records: records(link.Vitals, 0, 5, 20)})
	for _, q := range []string{
		`UPDATE record SET payload = CAST(substr(payload, 1, length(payload) - 1) || CASE substr(payload, -1) WHEN x'55' THEN x'aa' ELSE x'55' END AS BLOB) WHERE seq = 3`,
		`UPDATE batch SET frames = CAST(substr(frames, 1, length(frames) - 1) || CASE substr(frames, -1) WHEN x'55' THEN x'aa' ELSE x'55' END AS BLOB) WHERE n = 6`,
	} {
		if _, err := box.db.Write.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	for range len(link.Lanes) { // the background check finds it, whoever asks for the rest
		if err := box.Tidy(t0); err != nil {
			t.Fatal(err)
		}
	}
	if n := box.Stats().Torn; n < 3 {
		t.Errorf("%d rows were found changed, want 3", n)
	}
	for _, id := range []link.Lane{link.Alerts, link.Vitals} {
		if got, lost := taken(t, box, id); got != 4 || lost != 1 {
			t.Errorf("%v: %d are there and %d declared missing, want 4 and 1", id, got, lost)
		}
	}
}

func TestAReadFindsAChangedRecordBeforeTheCheckDoes(t *testing.T) {
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	alertsAt(t, box, 0, 3)
	if _, err := box.db.Write.Exec(`UPDATE record SET payload = zeroblob(length(payload)) WHERE seq = 1`); err != nil {
		t.Fatal(err)
	}
	if got, lost := taken(t, box, link.Alerts); got != 2 || lost != 1 || box.Stats().Torn != 1 {
		t.Errorf("%d are there, %d missing, %d counted; want 2, 1, 1", got, lost, box.Stats().Torn)
	}
	if err := box.Renumber(); err != nil {
		t.Fatal(err)
	}
	if got, lost := taken(t, box, link.Alerts); got != 2 || lost != 1 {
		t.Errorf("under new numbers %d are there and %d missing, want 2 and 1", got, lost)
	}
}

// shift is a Change that adds to the time and to the payload's first 8 bytes.
func shift(by int64) Change {
	return func(_ link.Kind, observed int64, p []byte, fix func(int64) int64) (int64, []byte, error) {
		if fix(observed) != observed+by {
			return 0, nil, fmt.Errorf("it is off by %d, want %d", fix(observed)-observed, by)
		}
		return observed + by, binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(p)+uint64(by)), nil
	}
}

func TestWhatAnUnsetClockStampedIsCorrectedOnceTheOffsetIsKnown(t *testing.T) {
	box := openT(t, t.TempDir(), Options{Key: key(1)})
	put := func(boot uint64, mono, wall int64, set bool) {
		appendT(t, box, Commit{Boot: boot, Mono: mono, Wall: wall, Synchronised: set,
			Records: []Record{{Lane: link.Vitals, Kind: link.VitalsSummary, Observed: wall, Payload: binary.BigEndian.AppendUint64(nil, uint64(wall))}}})
	}
	put(1, 10e6, t0, true)
	put(2, 1e6, t0+1e6, false) // a boot whose clock nobody set: nothing tells its offset
	put(3, 2e6, t0+2e6, false)
	put(3, 3e6, t0+3e6, false)
	put(3, 4e6, t0+3604e6, true) // set at last: an hour more than was thought
	epoch := box.Epoch()
	if n, err := box.Correct(9, t0, 1e6, shift(1)); n != 0 || err != nil || box.Epoch() != epoch {
		t.Fatalf("of a boot that was not: %d changed, %v", n, err)
	}
	n, err := box.Correct(3, t0+3600e6, 1e6, shift(3600e6))
	if err != nil || n != 2 || box.Epoch() == epoch {
		t.Fatalf("%d changed, %v; want 2, under a new epoch", n, err)
	}
	if n, err := box.Correct(3, t0+3600e6, 1e6, shift(3600e6)); err != nil || n != 0 {
		t.Errorf("the second time %d were changed, %v; want none", n, err)
	}
	rs, err := box.After(link.Vitals, 0, 1<<20)
	if err != nil || len(rs) != 5 {
		t.Fatalf("%v, %v", rs, err)
	}
	for i, want := range []int64{t0, t0 + 1e6, t0 + 3602e6, t0 + 3603e6, t0 + 3604e6} {
		if got := int64(binary.BigEndian.Uint64(rs[i].Payload)); rs[i].Observed != want || got != want {
			t.Errorf("record %d is of %d, and says %d; want %d", i+1, rs[i].Observed-t0, got-t0, want-t0)
		}
	}
	if got, lost := taken(t, box, link.Vitals); got != 5 || lost != 0 {
		t.Errorf("%d can be taken, %d missing", got, lost)
	}
}

func TestClocksThatNoRecordWasStampedByDoNotPileUp(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	for i := range int64(keepClocks + 2) {
		c := Commit{Boot: 1, Mono: i, Wall: t0 + 2*i*clockTolerance} // a clock that jumps at every commit
		if i == 7 {
			c.Records = records(link.Vitals, 0, 1, 10)
		}
		appendT(t, box, c)
	}
	if err := box.Tidy(t0); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := box.db.Read.QueryRow(`SELECT count(*) FROM clock`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d clocks are left, %v; want the record's and the newest", n, err)
	}
}

func TestACommitWhoseAnswerWasLostIsKeptOnce(t *testing.T) {
	lost := true
	box := openT(t, t.TempDir(), Options{Kept: func() error {
		if lost {
			return errors.New("nobody heard it")
		}
		return nil
	}})
	c := Commit{Boot: 1, Mono: 1, Wall: t0, Synchronised: true, Frames: frames(2), Records: records(link.Vitals, 0, 3, 20)}
	if _, err := box.Append(c); err == nil {
		t.Fatal("the answer was not lost")
	}
	lost = false
	if at, err := box.Append(c); err != nil || at != 1 {
		t.Errorf("again: %d, %v", at, err)
	}
	appendT(t, box, Commit{Boot: 1, Mono: 2, Wall: t0 + 1, Synchronised: true, Records: records(link.Vitals, 3, 1, 20)})
	if got, lost := taken(t, box, link.Vitals); got != 4 || lost != 0 {
		t.Errorf("%d records are there and %d missing, want 4", got, lost)
	}
}

func TestWhatTheCloudHasIsNotSentAnewUnderNewNumbers(t *testing.T) {
	box := openT(t, t.TempDir(), Options{})
	appendT(t, box, Commit{Boot: 1, Mono: 1e6, Wall: t0, Records: records(link.Vitals, 0, 3000, 20)})
	forgetT(t, box, link.Vitals, 2990) // much of it is deleted at once, the rest with the next commit
	appendT(t, box, Commit{Boot: 1, Mono: 2e6, Wall: t0 + 1e6, Records: records(link.Vitals, 3000, 2, 20)})
	forgetT(t, box, link.Vitals, 2995)
	if err := box.Renumber(); err != nil {
		t.Fatal(err)
	}
	if got, lost := taken(t, box, link.Vitals); got != 7 || lost != 0 {
		t.Errorf("%d summaries are sent anew, %d missing; want the 7 that the cloud does not have", got, lost)
	}
}
