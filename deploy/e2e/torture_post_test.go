//go:build system

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A post is a program that is killed and started again, time after time. What
// each of its lives said is in one file.
type post struct {
	t    testing.TB
	name string
	log  string
	env  []string
	argv []string
	cur  *proc
}

func newPost(t testing.TB, name, log string, env []string, argv ...string) *post {
	p := &post{t: t, name: name, log: log, env: env, argv: argv}
	t.Cleanup(func() {
		if p.cur == nil {
			return
		}
		p.cur.stop()
		p.keep()
		if t.Failed() {
			t.Logf("what %s said last (all of it is in %s):\n%s%s", name, log, p.cur.out.end(), p.cur.err.end())
		}
	})
	return p
}

func (p *post) start() {
	p.t.Helper()
	p.cur = launch(p.t, p.name, p.env, p.argv[0], p.argv[1:]...)
}

// kill is kill -9.
func (p *post) kill() {
	p.t.Helper()
	if p.cur.ended() {
		p.t.Errorf("%s had ended by itself:\n%s", p.name, p.cur.err.end())
	}
	p.cur.kill()
	p.keep()
}

// keep appends what this life said.
func (p *post) keep() {
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s%s---- ended at %s\n", p.cur.out, p.cur.err, time.Now().UTC().Format("15:04:05.000"))
}

// tortureAgent builds the agent whose clock can be shifted.
var tortureAgent = sync.OnceValues(func() (string, error) {
	folder, err := programs()
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "torture-agent")
	return file, build("-tags", "torture", "-o", file, "./agent/cmd/wardline-agent")
})

// limitFiles bounds what a process may write to: at most n bytes into any one file
// (RLIMIT_FSIZE), so that the disk takes nothing more from it; n < 0 is no bound.
func limitFiles(pid int, n int64) error {
	limit := [2]uint64{uint64(n), ^uint64(0)} // soft, hard
	if _, _, err := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0); err != 0 {
		return err
	}
	return nil
}
