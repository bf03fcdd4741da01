package board

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

func TestRunPagesAtTheInstantThatAnAcknowledgementExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(filepath.Join(t.TempDir(), "cloud.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r := &rig{t: t, now: time.Now().UnixMicro(), Board: New(Config{Store: s})}
		r.take(false, r.raised(id(1), 1, alert.High))
		if _, err := r.act(alert.Acknowledged, id(1), ""); err != nil {
			t.Fatal(err)
		}
		r.changes()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(10*time.Minute - time.Second)
		if got := r.pages(); got != 0 {
			t.Errorf("paged %d times before it expired", got)
		}
		time.Sleep(1010 * time.Millisecond)
		synctest.Wait()
		if got := r.pages(); got != 1 {
			t.Errorf("paged %d times when it expired, want once", got)
		}
		cancel()
		running.Wait()
	})
}
