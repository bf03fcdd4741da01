package rule

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document reads a pack's YAML strictly, by its syntax tree, so that each fault
// has its place. The first fault is kept; what is read after it is the zero value.
type document struct {
	file string
	err  error
}

func (d *document) place(n ast.Node) place {
	if n == nil {
		return place{d.file, 1, 1}
	}
	return d.token(n.GetToken())
}

func (d *document) token(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{d.file, 1, 1}
	}
	return place{d.file, t.Position.Line, t.Position.Column}
}

func (d *document) fail(n ast.Node, format string, args ...any) {
	if d.err == nil {
		d.err = d.place(n).errorf(format, args...)
	}
}

// open parses one document that uses neither anchors nor tags.
func (d *document) open(text []byte) ast.Node {
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		var fault yaml.Error
		if errors.As(err, &fault) {
			d.err = d.token(fault.GetToken()).errorf("%s", fault.GetMessage())
		} else {
			d.err = place{d.file, 1, 1}.errorf("%v", err)
		}
		return nil
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		d.err = place{d.file, 1, 1}.errorf("a pack is one YAML document")
		return nil
	}
	return f.Docs[0].Body
}

// fields reads a mapping whose keys must be known; known is nil for any key.
func (d *document) fields(n ast.Node, what string, known []string) map[string]ast.Node {
	out := map[string]ast.Node{}
	d.each(n, what, func(key string, k, v ast.Node) {
		if known != nil && !contains(known, key) {
			d.fail(k, "unknown key %q in %s: %s", key, what, meant(key, known))
		}
		out[key] = v
	})
	return out
}

// each calls f with the pairs of a mapping, in order; no key may come twice.
func (d *document) each(n ast.Node, what string, f func(key string, k, v ast.Node)) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		d.fail(n, "%s must be a mapping (key: value)", what)
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		key := p.Key.GetToken().Value
		if seen[key] {
			d.fail(p.Key, "%s has %q twice", what, key)
		}
		seen[key] = true
		f(key, p.Key, p.Value)
	}
}

func (d *document) list(n ast.Node, what string) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	d.fail(n, "%s must be a list", what)
	return nil
}

// text reads a scalar as it was written, without its quotes.
func (d *document) text(n ast.Node, what string) string {
	switch n := n.(type) {
	case nil:
		return ""
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value)
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	}
	d.fail(n, "%s must be a single value", what)
	return ""
}

func (d *document) number(n ast.Node, what string) float64 {
	s := d.text(n, what)
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
		d.fail(n, "%s must be a number, not %q", what, s)
	}
	return x
}

func (d *document) truth(n ast.Node, what string) bool {
	s := d.text(n, what)
	if n != nil && s != "true" && s != "false" {
		d.fail(n, "%s must be true or false, not %q", what, s)
	}
	return s == "true"
}

// maxDuration bounds every duration of a pack: longer ones are mistakes.
const maxDuration = 24 * time.Hour

// duration reads 6s, 10m or 1m30s, in µs; a missing one is 0.
func (d *document) duration(n ast.Node, what string) int64 {
	if n == nil {
		return 0
	}
	s := d.text(n, what)
	x, err := duration(s)
	if err != nil {
		d.fail(n, "%s must be a duration like 6s or 10m up to 24h, not %q", what, s)
	}
	return x
}

func duration(s string) (int64, error) {
	x, err := time.ParseDuration(s)
	if err == nil && (x < 0 || x > maxDuration) {
		err = errors.New("out of range")
	}
	return x.Microseconds(), err
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
