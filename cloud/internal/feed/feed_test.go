package feed

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wardline/cloud/internal/store"
)

func openStore(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(t *testing.T, s *store.Store, wards ...string) {
	t.Helper()
	err := s.Do(t.Context(), store.Normal, func(tx *store.Tx) error {
		for _, w := range wards {
			tx.Feed("ward", w, []byte("{}"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAReaderSeesItsWardsInOrderAndPassesOverOthers(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "cloud.db"))
	l := New(s)
	write(t, s, "7w", "8w", "")
	write(t, s, "8w", "8w", "7w", "8w")
	got, next, err := l.After(t.Context(), 0, []string{"7w"})
	if err != nil || next != 7 || len(got) != 3 || got[0].Seq != 1 || got[1].Seq != 3 || got[2].Seq != 6 {
		t.Errorf("got %+v, next %d, %v", got, next, err)
	}
	if all, _, _ := l.After(t.Context(), 0, nil); len(all) != 7 {
		t.Errorf("a reader of every ward got %d", len(all))
	}
	if none, next, err := l.After(t.Context(), 0, []string{}); len(none) != 1 || next != 7 || err != nil {
		t.Errorf("a reader of no ward got %+v, %d, %v", none, next, err)
	}
	if _, _, err := l.After(t.Context(), 8, nil); !errors.Is(err, ErrGap) {
		t.Errorf("a cursor from elsewhere: %v", err)
	}
}

func TestReadersThatFollowMissNothingWhileManyWrite(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "cloud.db"))
	l := New(s)
	const writers, each, readers = 4, 50, 5
	var wait sync.WaitGroup
	for range readers {
		wait.Go(func() {
			cursor, seen := uint64(0), uint64(0)
			for seen < writers*each {
				changed := l.Changed()
				rows, next, err := l.After(t.Context(), cursor, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range rows {
					if seen++; r.Seq != seen {
						t.Errorf("saw %d where %d was due", r.Seq, seen)
						return
					}
				}
				if next == cursor {
					<-changed
				}
				cursor = next
			}
		})
	}
	for range writers {
		wait.Go(func() {
			for range each {
				s.Do(context.Background(), store.Normal, func(tx *store.Tx) error {
					tx.Feed("ward", "7w", []byte("{}"))
					return nil
				})
			}
		})
	}
	wait.Wait()
}

func TestWhatAnotherProcessWritesIsNoticedWithinAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cloud.db")
		ours, theirs := openStore(t, path), openStore(t, path)
		l := New(ours)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx) })
		synctest.Wait()
		changed, before := l.Changed(), time.Now()
		write(t, theirs, "7w")
		<-changed
		if took := time.Since(before); took > watchEvery {
			t.Errorf("it took %s", took)
		}
		cancel()
		running.Wait()
		ours.Close()
		theirs.Close()
	})
}
