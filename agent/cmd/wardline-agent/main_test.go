package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"wardline-agent": func() { os.Exit(run(context.Background(), os.Args)) },
	})
}

func TestTheToolAnswersATechnicianAsItsScriptsSay(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exitcode CODE PROGRAM ARGS…: the program ends with this code.
			"exitcode": func(ts *testscript.TestScript, _ bool, args []string) {
				code := 0
				if failed, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
					code = failed.ExitCode()
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("exit %d, want %s", code, args[0])
				}
			},
		},
	})
}
