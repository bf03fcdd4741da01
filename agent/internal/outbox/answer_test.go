package outbox

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"wardline/shared/link"
)

// deaf is an outbox that hears err of every commit that it keeps while it is set.
func deaf(t *testing.T, err *error) *Outbox {
	t.Helper()
	return openT(t, t.TempDir(), Options{Kept: func() error { return *err }})
}

func TestWhatIsNotKnownToBeKeptIsNotGivenToTheCloud(t *testing.T) {
	var lost error
	box := deaf(t, &lost)
	appendT(t, box, Commit{Boot: 1, Mono: 1, Wall: t0, Records: records(link.Alerts, 1, 1, 10)})
	lost = errors.New("no answer")
	c := Commit{Boot: 1, Mono: 2, Wall: t0 + 1, Records: records(link.Alerts, 2, 2, 10)}
	if _, err := box.Append(c); !errors.Is(err, lost) {
		t.Fatalf("a lost answer: %v", err)
	}
	if got, err := box.After(link.Alerts, 0, 1<<20); err != nil || len(got) != 1 {
		t.Errorf("%d records are given, %v: the lane ends at 1 as far as is known", len(got), err)
	}
	lost = nil
	appendT(t, box, c)
	if got, err := box.After(link.Alerts, 0, 1<<20); err != nil || len(got) != 3 {
		t.Errorf("%d records are given once all are known to be kept, %v", len(got), err)
	}
	if err := box.Forget(link.Alerts, 3); err != nil {
		t.Error(err)
	}
}

func TestADiskThatSaysFullOfACommitThatItKeptGivesNothingUpForIt(t *testing.T) {
	var lost error
	box := deaf(t, &lost)
	appendT(t, box, Commit{Boot: 1, Mono: 1, Wall: t0, Frames: frames(3), Records: records(link.Vitals, 1, 4, 100)})
	lost = fmt.Errorf("no space: %w", syscall.ENOSPC)
	c := Commit{Boot: 1, Mono: 2, Wall: t0 + 1, Frames: frames(2), Records: records(link.Vitals, 5, 2, 100)}
	at, err := box.Append(c)
	if err != nil || at != 2 {
		t.Fatalf("the commit is at %d, %v: it is there, and the disk was asked", at, err)
	}
	got, err := box.After(link.Vitals, 0, 1<<20)
	if err != nil || len(got) != 6 {
		t.Fatalf("%d of 6 records are there, %v", len(got), err)
	}
	for _, r := range got {
		if r.Kind != link.VitalsSummary {
			t.Errorf("record %d gave way to a commit that was kept", r.Seq)
		}
	}
}
