// Package e2e holds the tests that see the whole of Wardline at once: of its
// structure (here), of the system in simulated time, and, under the build tag
// system, of real processes.
package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the import path that all of ours begin with.
const module = "wardline/"

// layers is every package that may exist, from the bottom up. A package imports
// from lower layers only; a test also from its own.
var layers = [][]string{
	{"shared/vital", "shared/link/linkpb", "firmware-protocol", "firmware-protocol/biosensorpb"},
	{"shared/alert"},
	{"shared/rule", "shared/config", "shared/wfdb", "shared/pki", "shared/sqlite", "firmware-protocol/frame", "cloud/dashboard"},
	{"shared/link", "firmware-protocol/virtual"},
	{
		"agent/internal/intake", "agent/internal/ward", "agent/internal/outbox", "agent/internal/uplink",
		"agent/internal/local", "agent/internal/control", "agent/internal/doctor", "agent/internal/broker",
		"cloud/internal/ingest", "cloud/internal/board", "cloud/internal/notify", "cloud/internal/fleet",
		"cloud/internal/feed", "cloud/internal/access", "cloud/internal/store", "cloud/internal/api",
	},
	{"agent", "cloud"},
	{"agent/cmd/wardline-agent", "cloud/cmd/wardline-cloud"},
	{"deploy/demo", "deploy/e2e"},
}

// An edge lets packages matching from import packages matching to, which is
// otherwise forbidden. Patterns are those of [path.Match].
type edge struct{ from, to string }

// siblings are the exceptions to "packages in internal do not import one
// another": store's types and board's events are known throughout the cloud, and
// api is the place that sees all.
var siblings = []edge{
	{"cloud/internal/*", "cloud/internal/store"},
	{"cloud/internal/ingest", "cloud/internal/board"},
	{"cloud/internal/notify", "cloud/internal/board"},
	{"cloud/internal/fleet", "cloud/internal/board"},
	{"cloud/internal/feed", "cloud/internal/board"},
	{"cloud/internal/api", "cloud/internal/*"},
}

// testSiblings are what tests may import beyond that, because the real part is
// better than a fake.
var testSiblings = []edge{
	{"agent/internal/intake", "agent/internal/broker"},
}

// An owner says who may import a third-party module: packages, and what tests
// beside them. Patterns are those of [path.Match]; "*" is everybody.
type owner struct{ packages, tests []string }

var owners = map[string]owner{
	"github.com/coder/websocket": {
		packages: []string{"agent/internal/uplink", "cloud/internal/ingest", "cloud/internal/api"},
		tests:    []string{"deploy/e2e"},
	},
	"github.com/danielgtaylor/huma/v2": {packages: []string{"cloud/internal/api"}},
	"github.com/eclipse/paho.mqtt.golang": {
		packages: []string{"agent/internal/intake", "firmware-protocol/virtual"},
		tests:    []string{"agent/internal/broker", "agent", "deploy/e2e"},
	},
	"github.com/expr-lang/expr":             {packages: []string{"shared/rule"}},
	"github.com/goccy/go-yaml":              {packages: []string{"shared/rule", "shared/config"}},
	"github.com/hashicorp/go-retryablehttp": {packages: []string{"cloud/internal/notify", "agent"}},
	"github.com/klauspost/compress":         {packages: []string{"shared/link", "agent/internal/outbox"}, tests: []string{"deploy/e2e"}}, // what is sent, and what is kept
	"github.com/mattn/go-isatty":            {packages: []string{"*/cmd/*", "deploy/demo"}},
	"github.com/mochi-mqtt/server/v2": {
		packages: []string{"agent/internal/broker"},
		tests:    []string{"agent/internal/intake", "firmware-protocol/virtual", "deploy/e2e"},
	},
	"github.com/rogpeppe/go-internal": {tests: []string{"*/cmd/*"}},
	"github.com/urfave/cli/v2":        {packages: []string{"*/cmd/*"}},
	"golang.org/x/crypto":             {packages: []string{"cloud/internal/access"}},
	"golang.org/x/sync":               {packages: []string{"*"}}, // the standard library's annex
	"golang.org/x/sys":                {packages: []string{"agent"}},
	// The two boundaries that speak protobuf, the link's two ends, and the root that
	// puts its messages into records.
	"google.golang.org/protobuf": {
		packages: []string{
			"firmware-protocol/*", "shared/link", "shared/link/linkpb",
			"agent/internal/uplink", "cloud/internal/ingest", "agent",
		},
		tests: []string{"*"},
	},
	"modernc.org/sqlite": {packages: []string{"shared/sqlite"}},
}

// A pkg is what `go list -json` says of one package, as far as it matters here.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// broken says, a sentence each, which rules of the structure packages break.
func broken(packages []pkg) []string {
	var out []string
	for _, p := range packages {
		from := strings.TrimPrefix(p.ImportPath, module)
		if layerOf(from) < 0 {
			out = append(out, fmt.Sprintf("package %s is not in the tree: put its code where the tree says, or change the tree and the table of layers", from))
			continue
		}
		for _, to := range p.Imports {
			out = append(out, brokenImport(from, to, false)...)
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			out = append(out, brokenImport(from, to, true)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func brokenImport(from, to string, test bool) []string {
	who := from
	if test {
		who = "a test of " + from
	}
	ours, isOurs := strings.CutPrefix(to, module)
	if !isOurs {
		if first, _, _ := strings.Cut(to, "/"); !strings.Contains(first, ".") {
			return nil // the standard library
		}
		return brokenOwner(who, from, to, test)
	}
	if ours == from {
		return nil // a test outside its package
	}
	switch {
	case tier(from) != "" && tier(ours) != "" && tier(from) != tier(ours):
		return []string{fmt.Sprintf("%s imports %s: the tiers know each other only by what is in shared", who, ours)}
	case isInternal(from) && isInternal(ours):
		if allowed(siblings, from, ours) || test && allowed(testSiblings, from, ours) {
			return nil
		}
		return []string{fmt.Sprintf("%s imports its sibling %s: let the composition root join them with a function", who, ours)}
	case layerOf(ours) > layerOf(from):
		return []string{fmt.Sprintf("%s imports %s, which is above it: arrows point down only", who, ours)}
	case layerOf(ours) == layerOf(from) && !test:
		return []string{fmt.Sprintf("%s imports %s, which is in the same layer: arrows point down only", who, ours)}
	}
	return nil
}

func brokenOwner(who, from, to string, test bool) []string {
	for module, o := range owners {
		if to != module && !strings.HasPrefix(to, module+"/") {
			continue
		}
		if matches(o.packages, from) || test && matches(o.tests, from) {
			return nil
		}
		if len(o.packages) == 0 {
			return []string{fmt.Sprintf("%s imports %s, which is for tests of %s", who, to, strings.Join(o.tests, ", "))}
		}
		return []string{fmt.Sprintf("%s imports %s, which belongs to %s", who, to, strings.Join(o.packages, ", "))}
	}
	return []string{fmt.Sprintf("%s imports %s, which has no owner in the table: is it worth a dependency?", who, to)}
}

// layerOf is where a package is in [layers], -1 when nowhere.
func layerOf(p string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, p) })
}

func tier(p string) string {
	if first, _, _ := strings.Cut(p, "/"); first == "agent" || first == "cloud" {
		return first
	}
	return ""
}

func isInternal(p string) bool { return strings.Contains(p, "/internal/") }

func allowed(list []edge, from, to string) bool {
	return slices.ContainsFunc(list, func(e edge) bool {
		return matches([]string{e.from}, from) && matches([]string{e.to}, to)
	})
}

func matches(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, p)
		if err != nil {
			panic("e2e: " + pattern + ": " + err.Error())
		}
		return ok || pattern == "*"
	})
}

// readFolders tells the cache of `go test`, which sees what this process reads
// and not what go list does, that the result depends on every folder of source.
func readFolders(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains([]string{".git", "bin", "node_modules"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheStructureIsAsPlanned(t *testing.T) {
	readFolders(t, "../..")
	list := exec.Command("go", "list", "-e", "-tags", "system,bench",
		"-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	list.Dir = "../.."
	var said strings.Builder
	list.Stderr = &said
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, said.String())
	}
	var packages []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 5 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, sentence := range broken(packages) {
		t.Error(sentence)
	}
}

func TestTheStructureTestFindsWhatItShould(t *testing.T) {
	imports := func(from string, to ...string) pkg { return pkg{ImportPath: module + from, Imports: to} }
	tests := func(from string, to ...string) pkg { return pkg{ImportPath: module + from, XTestImports: to} }
	for _, c := range []struct {
		pkg  pkg
		want string // "" = nothing is broken
	}{
		{imports("shared/link", "fmt", "encoding/json", "wardline/shared/alert"), ""},
		{imports("agent/cmd/wardline-agent", "wardline/agent", "wardline/agent/internal/control", "github.com/urfave/cli/v2"), ""},
		{imports("deploy/demo", "wardline/agent", "wardline/cloud", "golang.org/x/sync/errgroup"), ""},
		{imports("cloud/internal/ingest", "wardline/cloud/internal/store", "wardline/cloud/internal/board"), ""},
		{imports("cloud/internal/api", "wardline/cloud/internal/feed", "github.com/danielgtaylor/huma/v2/adapters/humago"), ""},
		{imports("shared/sqlite", "modernc.org/sqlite", "modernc.org/sqlite/lib"), ""},
		{tests("shared/rule", "wardline/shared/rule", "wardline/shared/wfdb"), ""},
		{tests("agent/internal/intake", "wardline/agent/internal/broker", "github.com/mochi-mqtt/server/v2"), ""},

		{imports("shared/util"), "package shared/util is not in the tree"},
		{imports("cloud/dashboard/node_modules/x"), "is not in the tree"},
		{imports("shared/alert", "wardline/shared/link"), "shared/alert imports shared/link, which is above it"},
		{imports("shared/rule", "wardline/shared/pki"), "shared/rule imports shared/pki, which is in the same layer"},
		{imports("agent", "wardline/deploy/demo"), "agent imports deploy/demo, which is above it"},
		{imports("agent", "wardline/cloud"), "agent imports cloud: the tiers"},
		{imports("cloud/internal/ingest", "wardline/agent"), "cloud/internal/ingest imports agent: the tiers"},
		{imports("agent/internal/uplink", "wardline/agent/internal/outbox"), "imports its sibling agent/internal/outbox"},
		{imports("agent/internal/intake", "wardline/agent/internal/broker"), "imports its sibling agent/internal/broker"},
		{imports("cloud/internal/ingest", "wardline/cloud/internal/fleet"), "imports its sibling cloud/internal/fleet"},
		{imports("cloud/internal/store", "wardline/cloud/internal/board"), "imports its sibling cloud/internal/board"},
		{imports("cloud/internal/store", "modernc.org/sqlite/lib"), "modernc.org/sqlite/lib, which belongs to shared/sqlite"},
		{imports("agent", "github.com/rogpeppe/go-internal/testscript"), "which is for tests of */cmd/*"},
		{imports("agent", "github.com/expr-lang/expression"), "which has no owner in the table"},
		{tests("shared/alert", "wardline/shared/rule"), "a test of shared/alert imports shared/rule, which is above it"},
		{tests("agent/internal/ward", "wardline/agent/internal/outbox"), "a test of agent/internal/ward imports its sibling"},
		{tests("shared/rule", "github.com/eclipse/paho.mqtt.golang"), "a test of shared/rule imports github.com/eclipse/paho.mqtt.golang, which belongs to"},
	} {
		got := strings.Join(broken([]pkg{c.pkg}), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%+v:\ngot  %q\nwant %q", c.pkg, got, c.want)
		}
	}
}
