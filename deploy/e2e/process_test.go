//go:build system || bench

package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// parallel is how many of these tests run at a time: they mostly wait for a
// rule's delay, so there may be more of them than processors.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		flag.Set("test.parallel", parallel)
	}
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// built is where programs put them, "" until a test has asked.
var built string

// programs builds both programs once and returns the folder that holds them. The
// pages and packs that they ship with are those of this working copy.
var programs = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "wardline-e2e-bin")
	if err != nil {
		return "", err
	}
	built = folder
	return folder, build("-o", folder+"/", "./agent/cmd/wardline-agent", "./cloud/cmd/wardline-cloud", "./deploy/demo")
})

func build(args ...string) error {
	build := exec.Command("go", append([]string{"build"}, args...)...)
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

func program(t testing.TB, name string) string {
	t.Helper()
	folder, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, name)
}

// mosquitto is where Debian puts it, which is on no ordinary account's path.
func mosquitto() string {
	if path, err := exec.LookPath("mosquitto"); err == nil {
		return path
	}
	return "/usr/sbin/mosquitto"
}

// A proc is a process that a test started and that ends before the test does.
type proc struct {
	t        testing.TB
	name     string
	cmd      *exec.Cmd
	in       io.WriteCloser
	out, err *output
	gone     chan struct{} // closed when it has ended
}

// start runs a program and stops it when the test ends. What it says is shown
// when the test failed.
func start(t testing.TB, name, file string, args ...string) *proc {
	t.Helper()
	p := launch(t, name, nil, file, args...)
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("what %s said last:\n%s%s", name, p.out.end(), p.err.end())
		}
	})
	return p
}

// launch is start for who stops the process, with variables beside this
// process's.
func launch(t testing.TB, name string, env []string, file string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, name: name, cmd: exec.Command(file, args...), out: newOutput(), err: newOutput(), gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.cmd.Env = append(environment(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the tests be killed
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.gone)
	}()
	return p
}

// environment is this process's without what the programs would refuse.
func environment() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "WARDLINE_") {
			out = append(out, kv)
		}
	}
	return out
}

// stop asks the process to end, as a service manager does, and waits.
func (p *proc) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s did not end within 20 s of being asked", p.name)
		p.kill()
	}
}

// kill is kill -9.
func (p *proc) kill() {
	p.cmd.Process.Kill()
	<-p.gone
}

// wait waits for a process that ends by itself.
func (p *proc) wait(within time.Duration) {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(within):
		p.t.Errorf("%s did not end within %v", p.name, within)
	}
}

// follow reads what the process writes to its standard output, from the start
// until it has ended.
func (p *proc) follow() io.Reader { return &follower{p: p} }

type follower struct {
	p  *proc
	at int
}

func (f *follower) Read(b []byte) (int, error) {
	for {
		over := f.p.ended()
		if n := f.p.out.readAt(b, f.at); n > 0 {
			f.at += n
			return n, nil
		}
		if over {
			return 0, io.EOF
		}
		select {
		case <-f.p.out.more:
		case <-f.p.gone:
		}
	}
}

func (p *proc) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// output keeps what a process says; it may be read while more is written.
type output struct {
	more chan struct{} // a hint that there is more, for one follower

	mu   sync.Mutex // guards what follows
	text bytes.Buffer
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *output) readAt(b []byte, from int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return copy(b, o.text.Bytes()[from:])
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// end is the last lines.
func (o *output) end() string {
	lines := strings.SplitAfter(o.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "")
}

// A said is what a program that ended left.
type said struct {
	code     int
	out, err string
}

// run runs a program to its end, which must come within a minute.
func run(t testing.TB, file string, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Env = environment()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", filepath.Base(file), err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %s did not end within a minute:\n%s%s", filepath.Base(file), strings.Join(args, " "), &out, &errs)
	}
	return said{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must is run for a program that has to succeed.
func must(t testing.TB, file string, args ...string) string {
	t.Helper()
	s := run(t, file, args...)
	if s.code != 0 {
		t.Fatalf("%s %s: exit %d\n%s%s", filepath.Base(file), strings.Join(args, " "), s.code, s.out, s.err)
	}
	return s.out
}

// until waits for ok to return nil and fails the test when that takes longer
// than within.
func until(t testing.TB, within time.Duration, what string, ok func() error) {
	t.Helper()
	if err := waited(within, ok); err != nil {
		t.Fatalf("%s did not come within %v: %v", what, within, err)
	}
}

// seldom is until for an ok that starts a process: tests that run beside one
// another would keep the machine busy with asking.
func seldom(t testing.TB, within time.Duration, what string, ok func() error) {
	t.Helper()
	if err := every(300*time.Millisecond, within, ok); err != nil {
		t.Fatalf("%s did not come within %v: %v", what, within, err)
	}
}

func waited(within time.Duration, ok func() error) error {
	return every(100*time.Millisecond, within, ok)
}

func every(pause, within time.Duration, ok func() error) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; <-tick.C {
		err := ok()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

var ports struct {
	sync.Mutex
	next int
}

// port is a free one of this machine's loopback, below those that the kernel
// gives to connections that go out, so that it stays free between two runs of
// the server that a test gives it to. It is found free by knocking: a listener
// made and closed for the look would live on for a moment in any process that
// is started just then, and the port be taken after all.
func port(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 12000 + rand.IntN(18000)
	}
	for range 1000 {
		ports.next++
		c, err := net.Dial("tcp", at(ports.next))
		if errors.Is(err, syscall.ECONNREFUSED) {
			return ports.next
		}
		if err == nil {
			c.Close()
		}
	}
	t.Fatal("no free port")
	return 0
}

func at(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func write(t testing.TB, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
