//go:build system

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var errTooFew = errors.New("too few as yet")

// TestEveryCommitIsSyncedToTheDisk counts the system calls: kill -9 does not find a
// sync that is missing, since the kernel keeps what was written.
func TestEveryCommitIsSyncedToTheDisk(t *testing.T) {
	t.Parallel()
	tracer, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; make setup installs it")
	}
	g := newPair(t, plan{beds: map[string]string{"1": "p1"}})
	g.patch("p1")
	g.heard("p1")
	trace := filepath.Join(t.TempDir(), "trace")
	calls := launch(t, "strace", nil, tracer, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", trace, "-p", strconv.Itoa(g.agent.cmd.Process.Pid))
	defer calls.stop()
	count := func() (n int, commits uint64) {
		t.Helper()
		s, err := g.tryStatus()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(trace)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Count(string(text), "sync("), s.Outbox.Commits
	}
	select {
	case <-calls.gone:
		if said := calls.err.end(); strings.Contains(said, "ermitted") {
			t.Logf("NOT COUNTED: this machine lets nobody trace a process (%s)", strings.TrimSpace(said))
			return
		}
		t.Fatalf("strace ended: %s", calls.err.end())
	case <-time.After(2 * time.Second):
	}
	_, before := count()
	seldom(t, 60*time.Second, "ten commits", func() error {
		if _, now := count(); now < before+10 {
			return errTooFew
		}
		return nil
	})
	calls.stop()
	syncs, after := count()
	if made := int(after - before); syncs < made-1 { // one may have been under way
		t.Errorf("%d commits were made with %d syncs", made, syncs)
	} else {
		t.Logf("%d commits, %d syncs", made, syncs)
	}
}
