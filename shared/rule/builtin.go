package rule

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed packs/*.yaml
var packs embed.FS

// Builtin parses a pack that ships with Wardline: adult-ward or technical.
func Builtin(name string) (*Pack, error) {
	text, err := packs.ReadFile("packs/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no pack %q is built in: %s", name, meant(name, Builtins()))
	}
	return Parse(name+".yaml", text)
}

// Builtins names the packs that ship with Wardline.
func Builtins() []string {
	var out []string
	entries, _ := packs.ReadDir("packs")
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}
