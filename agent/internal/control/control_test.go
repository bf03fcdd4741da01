package control

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func socket(t *testing.T) string {
	dir, err := os.MkdirTemp("", "wl") // a socket's path holds 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "control.sock")
}

// serve runs an agent on path and returns how to stop it.
func serve(t *testing.T, path string, a Agent) (stop func() error) {
	l, err := Listen(path, net.Listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, l, a) }()
	return func() error { cancel(); return <-done }
}

var agent = Agent{
	Status: func(context.Context) (Status, error) { return Status{Gateway: "gw-1"}, nil },
	Tail: func(ctx context.Context, line func([]byte) error) error {
		return errors.Join(line([]byte(`{"a":1}`)), line([]byte(`{"a":2}`)))
	},
}

func TestTheToolReadsTheAgentsStatusAndFollowsIt(t *testing.T) {
	path := socket(t)
	stop := serve(t, path, agent)
	s, err := Dial(path).Status(t.Context())
	if err != nil || s.Gateway != "gw-1" {
		t.Errorf("status is %+v, %v", s, err)
	}
	var b bytes.Buffer
	if err := Dial(path).Tail(t.Context(), &b); !errors.Is(err, ErrStopped) || b.String() != "{\"a\":1}\n{\"a\":2}\n" {
		t.Errorf("tail is %q, %v", &b, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAnAgentThatIsNotThereIsToldApartFromOneThatFails(t *testing.T) {
	path := socket(t)
	if _, err := Dial(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without an agent: %v", err)
	}
	failing := agent
	failing.Status = func(context.Context) (Status, error) { return Status{}, errors.New("it is stopping") }
	defer serve(t, path, failing)()
	if _, err := Dial(path).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "it is stopping") {
		t.Errorf("with an agent that fails: %v", err)
	}
}

func TestASocketLeftBehindIsReplacedAndALiveOneIsNot(t *testing.T) {
	path := socket(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as kill -9 leaves it
	stop := serve(t, path, agent)
	defer stop()
	if _, err := Listen(path, net.Listen); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
}
