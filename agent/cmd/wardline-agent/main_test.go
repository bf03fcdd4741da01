package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"wardline-agent": func() { os.Exit(run(context.Background(), os.Args)) },
	})
}

func TestTheToolAnswersATechnicianAsItsScriptsSay(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
