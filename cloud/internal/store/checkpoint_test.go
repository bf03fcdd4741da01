package store

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return stat.Size()
}

func TestWhatWasWrittenIsInTheDatabaseFileAMinuteLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cloud.db")
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.RunCheckpoints(ctx, slog.New(slog.DiscardHandler)) }()
		do(t, s, note("kept"))
		before := fileSize(t, path)
		if fileSize(t, path+"-wal") == 0 {
			t.Fatal("nothing waits in the log")
		}
		time.Sleep(checkpointEvery + time.Second)
		synctest.Wait()
		if got := fileSize(t, path); got <= before {
			t.Errorf("the file has %d bytes, had %d", got, before)
		}
		if got := fileSize(t, path+"-wal"); got != 0 {
			t.Errorf("the log still has %d bytes", got)
		}
		do(t, s, note("after")) // the writer goes on
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
