package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"wardline/cloud"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wardline-cloud": main})
}

func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setUp,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"waitup": waitUp, "ranhourago": ranHourAgo},
	})
}

// setUp writes a configuration with ports that are free.
func setUp(e *testscript.Env) error {
	config := filepath.Join(e.WorkDir, "cloud.yaml")
	e.Setenv("WARDLINE_CONFIG", config)
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	text := fmt.Sprintf("data: data\npeople: {listen: '127.0.0.1:%d'}\ngateways: {listen: '127.0.0.1:%d'}\n", ports[0], ports[1])
	return os.WriteFile(config, []byte(text), 0o600)
}

// waitUp waits until the script's cloud says that it is well.
func waitUp(ts *testscript.TestScript, neg bool, args []string) {
	cfg, err := cloud.Load(ts.MkAbs("cloud.yaml"))
	ts.Check(err)
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := askHealth(cfg)
		if err == nil {
			return
		}
		if time.Since(begun) > 30*time.Second {
			ts.Fatalf("the cloud is not up: %v", err)
		}
	}
}

// ranHourAgo is a cloud that was up for a moment, an hour ago.
func ranHourAgo(ts *testscript.TestScript, neg bool, args []string) {
	cfg, err := cloud.Load(ts.MkAbs("cloud.yaml"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	cfg.Now = func() int64 { return time.Now().Add(-time.Hour).UnixMicro() }
	cfg.Ready = func(cloud.Addresses) { cancel() }
	cfg.Log, cfg.Stdout = slog.New(slog.DiscardHandler), io.Discard
	ts.Check(cloud.Run(ctx, cfg))
}
