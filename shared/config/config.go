// Package config reads configuration files strictly, for both tiers.
//
// It promises that what nothing would read is an error: a key that does not
// exist, a value of the wrong kind, an environment variable of ours that means
// nothing. Each error says where it is and what was probably meant. It knows no
// configuration itself: that is the struct it is given, whose fields say what
// their zero value means.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Decode reads YAML into a zero struct with yaml tags. Its errors say line and
// column. An empty text is no error.
//
// A number that YAML would read in another base, or without its underscores, is
// refused: bed 013 must not become bed 11.
func Decode(text []byte, into any) error {
	for _, t := range lexer.Tokenize(string(text)) {
		switch strange := t.Type; {
		case strange == token.OctetIntegerType, strange == token.HexIntegerType, strange == token.BinaryIntegerType,
			(strange == token.IntegerType || strange == token.FloatType) && strings.Contains(t.Value, "_"):
			return fmt.Errorf("line %d, column %d: %s would not be read as it is written: put it in quotes, \"%s\"",
				t.Position.Line, t.Position.Column, t.Value, t.Value)
		}
	}
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField()).Decode(into)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		at := unknown.GetToken()
		return fmt.Errorf("line %d, column %d: there is no key %q%s", at.Position.Line, at.Position.Column, at.Value,
			Meant(at.Value, keysOf(reflect.TypeOf(into))))
	}
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		at := e.GetToken().Position
		return fmt.Errorf("line %d, column %d: %s", at.Line, at.Column, words(e))
	}
	return err
}

// words says what is wrong with a value without speaking of Go's types.
func words(e yaml.Error) string {
	if x, ok := errors.AsType[*yaml.TypeError](e); ok {
		return fmt.Sprintf("%s is wanted here, not %q", kind(x.DstType), x.Token.Value)
	}
	if x, ok := errors.AsType[*yaml.UnexpectedNodeTypeError](e); ok {
		return fmt.Sprintf("%s is wanted here, not %s", node(x.Expected), node(x.Actual))
	}
	return strings.ReplaceAll(e.GetMessage(), "'\t'", "tab (use spaces)")
}

func node(t ast.NodeType) string {
	switch t {
	case ast.SequenceType:
		return "a list"
	case ast.MappingType, ast.MappingValueType:
		return "a mapping of keys to values"
	case ast.IntegerType, ast.FloatType:
		return "a number"
	case ast.BoolType:
		return "true or false"
	}
	return "text"
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping of keys to values"
	}
	return "a number"
}

var yamlName = regexp.MustCompile(`^[a-z_]+`)

// keysOf are the keys that a configuration can have, at any depth.
func keysOf(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		if name := yamlName.FindString(t.Field(i).Tag.Get("yaml")); name != "" {
			keys = append(keys, name)
			keys = append(keys, keysOf(t.Field(i).Type)...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Environment fails when environ (as os.Environ gives it) has a WARDLINE_
// variable that is not among those that are read.
func Environment(environ []string, read ...string) error {
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "WARDLINE_") && !slices.Contains(read, name) {
			return fmt.Errorf("the environment variable %s means nothing here%s", name, Meant(name, read))
		}
	}
	return nil
}

// Meant is a hint for a name that nobody knows: the known one that is most like
// it, or nothing when none is.
func Meant(name string, known []string) string {
	best, most := "", 0.6
	for _, k := range known {
		if s := likeness(strings.ToLower(name), strings.ToLower(k)); s > most {
			best, most = k, s
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; is %s meant?", best)
}

// likeness is twice the length of the longest common subsequence over both
// lengths: 1 for the same word, 0 for nothing in common.
func likeness(a, b string) float64 {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for i := range a {
		diagonal := 0
		for j := range b {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return 2 * float64(row[len(b)]) / float64(max(1, len(a)+len(b)))
}

// Under is path as seen from the folder dir; "" stays "".
func Under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Duration is a time.Duration written as 10s, 2m or 48h.
type Duration time.Duration

// UnmarshalText reads a duration, which is not negative.
func (d *Duration) UnmarshalText(b []byte) error {
	x, err := time.ParseDuration(string(b))
	if err != nil || x < 0 {
		return fmt.Errorf("%q is not a duration such as 10s, 2m or 48h", b)
	}
	*d = Duration(x)
	return nil
}

// Or is d, or def when d is zero.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// Bytes is a size written as a number, or with KiB, MiB or GiB.
type Bytes int64

var byteUnits = []struct {
	suffix string
	size   int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

// UnmarshalText reads a size, which is not negative and below 1 PiB.
func (n *Bytes) UnmarshalText(b []byte) error {
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(strings.TrimSpace(string(b)), u.suffix)
		if !ok {
			continue
		}
		var x int64
		var rest string
		if read, _ := fmt.Sscanf(strings.TrimSpace(digits)+" .", "%d %s", &x, &rest); read != 2 || rest != "." || x < 0 || x > 1<<50/u.size {
			break
		}
		*n = Bytes(x * u.size)
		return nil
	}
	return fmt.Errorf("%q is not a size such as 512MiB or 2GiB", b)
}
