//go:build bench

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"wardline/agent"
	"wardline/cloud"
)

// A figure that misses its target is measured once more with profiles. The
// programs themselves have no profiler in them: the same agent and cloud then run
// in this test binary, as processes of their own.
const (
	profiledAgent = "bare-agent" // bare of its command line
	profiledCloud = "bare-cloud"
)

// runProfiled runs a program until it is asked to stop, and leaves where its time
// and its memory went in prefix.cpu.pprof and prefix.heap.pprof.
func runProfiled(what, config, prefix string, stop <-chan os.Signal) error {
	cpu, err := os.Create(prefix + ".cpu.pprof")
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kept := make(chan error, 1)
	go func() {
		<-stop
		pprof.StopCPUProfile()
		kept <- keepHeap(prefix + ".heap.pprof")
		cancel()
	}()
	if what == profiledCloud {
		err = profileCloud(ctx, config)
	} else {
		err = profileAgent(ctx, config)
	}
	if err != nil {
		return err
	}
	return <-kept
}

func profileAgent(ctx context.Context, config string) error {
	c, err := agent.Load(config)
	if err != nil {
		return err
	}
	return agent.Run(ctx, c)
}

func profileCloud(ctx context.Context, config string) error {
	c, err := cloud.Load(config)
	if err != nil {
		return err
	}
	return cloud.Run(ctx, c)
}

func keepHeap(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.GC() // the profile is of the last collection
	return pprof.WriteHeapProfile(f)
}

// profiles is where make bench keeps its table.
func profiles(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// startProfiled is start for one of the profiled programs.
func startProfiled(t testing.TB, what, config, id string) *proc {
	t.Helper()
	return start(t, what, os.Args[0], what, config, filepath.Join(profiles(t), "bench-"+id+what[len("bare"):]))
}

// fillOutbox makes the data folder of an agent that does not run what it would be
// after a day without a cloud.
func fillOutbox(t testing.TB, config string, more ...string) {
	t.Helper()
	args := append([]string{"test", "-tags=bench", "-count=1", "-run=^TestFill$", "-v", "../../agent", "-args", "-fill=" + config}, more...)
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("fill the outbox: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// watched waits for whoever takes the messages, then for a moment of rest.
func watched(t testing.TB, p *proc, watch *alertWatch) {
	t.Helper()
	select {
	case <-watch.beats:
	case <-p.gone:
		t.Fatalf("%s ended: %s", p.name, p.err.end())
	case <-time.After(60 * time.Second):
		t.Fatal("nobody watches after a minute")
	}
}
