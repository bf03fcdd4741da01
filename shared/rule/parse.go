package rule

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"wardline/shared/alert"
	"wardline/shared/vital"
)

// The bounds on a pack, which is untrusted input.
const (
	maxPackBytes  = 256 << 10
	maxLine       = 4000
	maxNesting    = 200 // brackets that were opened and not closed, those in texts too
	maxRules      = 500
	maxLimits     = 500
	maxCases      = 50
	maxExpression = 2000 // bytes
	maxSays       = 300  // bytes
	maxCaseLasts  = 4 * 3600 * second
)

const second = int64(1e6)

var (
	packKeys  = []string{"pack", "version", "for", "kind", "limits", "rules"}
	limitKeys = []string{"default", "min", "max", "unit", "above"}
	ruleKeys  = []string{"id", "about", "says", "code", "priority", "family", "rank", "when", "for", "until", "until_for",
		"unless", "unless_because", "latch", "escalate", "strip", "test"}

	namePattern  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	limitPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)
)

// Parse reads and checks a pack, including its expressions and texts. name is
// what errors call it, a file's name as a rule. An error is an *Error as a rule,
// which says line and column. Parse does not run the pack's own tests: see Test.
func Parse(name string, text []byte) (*Pack, error) {
	d := &document{file: name}
	if len(text) > maxPackBytes {
		return nil, place{name, 1, 1}.errorf("the pack has %d bytes; at most %d are read", len(text), maxPackBytes)
	}
	if line, ok := tame(text); !ok {
		return nil, place{name, line, 1}.errorf("lines have at most %d bytes, and brackets nest %d deep", maxLine, maxNesting)
	}
	p := d.pack(d.open(text))
	if d.err != nil {
		return nil, d.err
	}
	if _, err := Compile([]*Pack{p}, nil); err != nil {
		return nil, err
	}
	return p, nil
}

// tame reports whether a text is one that the YAML parser, whose time grows with
// the square of nesting, reads quickly; and the line where it is not.
func tame(text []byte) (line int, ok bool) {
	long, deep := 0, 0
	line = 1
	for _, c := range text {
		long++
		switch c {
		case '\n':
			line, long = line+1, 0
		case '[', '{':
			deep++
		case ']', '}':
			deep--
		}
		if long > maxLine || deep > maxNesting {
			return line, false
		}
	}
	return line, true
}

func (d *document) pack(n ast.Node) *Pack {
	if d.err != nil {
		return nil
	}
	f := d.fields(n, "the pack", packKeys)
	p := &Pack{Name: d.name(n, f["pack"], "pack"), For: d.text(f["for"], "for"), Kind: alert.Physiological}
	version := d.number(f["version"], "version")
	if p.Version = int(version); version < 1 || version > 1e9 || float64(p.Version) != version {
		d.fail(first(f["version"], n), "version must be a whole number from 1")
	}
	switch k := d.text(f["kind"], "kind"); k {
	case "", string(alert.Physiological):
	case string(alert.Technical):
		p.Kind = alert.Technical
	default:
		d.fail(f["kind"], "kind %q is neither physiological nor technical", k)
	}
	if f["limits"] != nil {
		d.each(f["limits"], "limits", func(key string, k, v ast.Node) { p.Limits = append(p.Limits, d.limit(key, k, v)) })
	}
	if f["rules"] == nil {
		d.fail(n, "the pack has no rules")
		return nil
	}
	for _, r := range d.list(f["rules"], "rules") {
		p.Rules = append(p.Rules, d.rule(r, p.Kind))
	}
	if len(p.Rules) > maxRules || len(p.Limits) > maxLimits {
		d.fail(n, "a pack has at most %d rules and %d limits", maxRules, maxLimits)
	}
	return p
}

func first(a, b ast.Node) ast.Node {
	if a != nil {
		return a
	}
	return b
}

func (d *document) name(parent, n ast.Node, what string) string {
	s := d.text(n, what)
	if len(s) > 64 || !namePattern.MatchString(s) {
		d.fail(first(n, parent), "%s must be a name like hr-high, not %q", what, s)
	}
	return s
}

func (d *document) limit(name string, k, n ast.Node) Limit {
	if len(name) > 64 || !limitPattern.MatchString(name) {
		d.fail(k, "limit %q must have a name like hr.high", name)
	}
	f := d.fields(n, "limit "+name, limitKeys)
	for _, key := range limitKeys[:3] {
		if f[key] == nil {
			d.fail(k, "limit %s has no %s", name, key)
		}
	}
	l := Limit{
		Name: name, Value: d.number(f["default"], "default"), Min: d.number(f["min"], "min"), Max: d.number(f["max"], "max"),
		Unit: d.text(f["unit"], "unit"), Above: d.text(f["above"], "above"), at: d.place(k),
	}
	if d.err == nil && !(l.Min <= l.Value && l.Value <= l.Max) {
		d.fail(f["default"], "limit %s: the default %v is not between its bounds %v and %v", name, l.Value, l.Min, l.Max)
	}
	return l
}

func (d *document) rule(n ast.Node, kind alert.Kind) Rule {
	f := d.fields(n, "the rule", ruleKeys)
	r := Rule{at: d.place(n), sayAt: d.place(f["says"])}
	r.ID = d.name(n, f["id"], "id")
	for _, key := range []string{"says", "priority", "when"} {
		if f[key] == nil {
			d.fail(n, "rule %s has no %s", r.ID, key)
		}
	}
	if s := d.text(f["about"], "about"); s != "" {
		i := slices.Index(scopeNames, s)
		if i < 0 {
			d.fail(f["about"], "about %q: %s", s, meant(s, scopeNames))
			i = 0
		}
		r.About = Scope(i)
	} else if kind == alert.Technical {
		r.About = Sensor
	}
	r.Says, r.Code = d.text(f["says"], "says"), d.text(f["code"], "code")
	if len(r.Says) > maxSays || len(r.Code) > maxSays {
		d.fail(n, "rule %s: says and code have at most %d bytes", r.ID, maxSays)
	}
	r.Priority = d.priority(f["priority"])
	if f["family"] != nil {
		r.Family = d.name(n, f["family"], "family")
	}
	if f["rank"] != nil {
		rank := d.number(f["rank"], "rank")
		if r.Rank = int(rank); r.Family == "" || rank < 1 || rank > maxRules || float64(r.Rank) != rank {
			d.fail(f["rank"], "rank is a rule's place in its family, a whole number from 1: the higher is the worse")
		}
	}
	for i, key := range []string{"when", "until", "unless"} {
		text := d.text(f[key], key)
		if f[key] != nil && (text == "" || len(text) > maxExpression) {
			d.fail(f[key], "%s must be an expression of 1 to %d bytes", key, maxExpression)
		}
		*[]*string{&r.When, &r.Until, &r.Unless}[i] = text
		r.whens[i] = d.expressionAt(f[key])
	}
	r.UnlessBy = d.text(f["unless_because"], "unless_because")
	if (r.Unless == "") != (r.UnlessBy == "") {
		d.fail(n, "rule %s: unless and unless_because come together", r.ID)
	}
	r.For, r.UntilFor = d.duration(f["for"], "for"), d.duration(f["until_for"], "until_for")
	r.Latch = d.truth(f["latch"], "latch")
	d.escalation(f["escalate"], &r)
	if f["strip"] != nil {
		s := d.fields(f["strip"], "strip", []string{"before", "after"})
		r.Strip = Strip{d.duration(s["before"], "before"), d.duration(s["after"], "after")}
	}
	if f["test"] != nil {
		for _, c := range d.list(f["test"], "test") {
			r.Cases = append(r.Cases, d.testCase(c))
		}
		if len(r.Cases) > maxCases {
			d.fail(f["test"], "a rule has at most %d cases", maxCases)
		}
	}
	return r
}

// expressionAt is where an expression's first character stands.
func (d *document) expressionAt(n ast.Node) place {
	p := d.place(n)
	if s, ok := n.(*ast.StringNode); ok && (s.Token.Type == token.DoubleQuoteType || s.Token.Type == token.SingleQuoteType) {
		p.column++
	}
	return p
}

func (d *document) priority(n ast.Node) alert.Priority {
	var p alert.Priority
	s := d.text(n, "priority")
	if p.UnmarshalText([]byte(s)) != nil || (n != nil && p == 0) {
		d.fail(n, "priority %q is not one of high, medium, low", s)
	}
	return p
}

func (d *document) escalation(n ast.Node, r *Rule) {
	if n == nil {
		return
	}
	was := Escalation{0, r.Priority}
	for _, x := range d.list(n, "escalate") {
		f := d.fields(x, "escalate", []string{"after", "priority"})
		e := Escalation{d.duration(f["after"], "after"), d.priority(f["priority"])}
		if e.After <= was.After || e.Priority <= was.Priority {
			d.fail(x, "rule %s: each escalation comes later than the one before and has a higher priority", r.ID)
		}
		r.Escalate = append(r.Escalate, e)
		was = e
	}
}

func (d *document) testCase(n ast.Node) Case {
	f := d.fields(n, "a case", []string{"given", "expect"})
	c := Case{Given: map[string][]Stretch{}, Line: d.place(n).line}
	if f["given"] == nil || f["expect"] == nil {
		d.fail(n, "a case has given and expect")
		return c
	}
	d.each(f["given"], "given", func(key string, k, v ast.Node) {
		in, ok := byName[key]
		if !ok {
			d.fail(k, "unknown input %q: %s", key, meant(key, allInputs()))
			return
		}
		total := int64(0)
		for _, x := range d.list(v, key) {
			s, err := stretch(in, d.text(x, key))
			if err != nil {
				d.fail(x, "%v", err)
			}
			c.Given[key] = append(c.Given[key], s)
			total += s.Lasts
		}
		if total > maxCaseLasts {
			d.fail(k, "a case lasts at most 4h")
		}
	})
	if text := d.text(f["expect"], "expect"); text != "nothing" {
		for part := range strings.SplitSeq(text, ",") {
			e, err := expectation(strings.TrimSpace(part))
			if err != nil {
				d.fail(f["expect"], "%v", err)
			}
			c.Expect = append(c.Expect, e)
		}
	}
	return c
}

// stretch reads "97 for 11m", "absent for 20s", "gone for 20s", "true for 1m",
// "supine for 1m".
func stretch(in Input, text string) (Stretch, error) {
	value, lasts, ok := strings.Cut(text, " for ")
	long, err := duration(strings.TrimSpace(lasts))
	if !ok || err != nil {
		return Stretch{}, fmt.Errorf("%q is not like \"97 for 11m\"", text)
	}
	s := Stretch{Lasts: long}
	switch value {
	case "absent":
		s.Absent = true
	case "gone":
		if s.Gone = true; in.Vital() == 0 {
			return s, fmt.Errorf("only a vital can be gone, not %s", in)
		}
	case "true":
		s.Value = 1
	case "false":
	default:
		if code, ok := vital.PostureByName(value); ok && meanings[in].sort == posture {
			s.Value = float64(code)
		} else if s.Value, err = strconv.ParseFloat(value, 64); err != nil {
			return s, fmt.Errorf("%q is neither a value of %s nor absent or gone", value, in)
		}
	}
	return s, nil
}

// expectation reads "raised at 11m15s".
func expectation(text string) (Expectation, error) {
	word, at, _ := strings.Cut(text, " at ")
	when, err := duration(at)
	i := slices.Index(changeNames, word)
	if i <= 0 || err != nil {
		return Expectation{}, fmt.Errorf("%q is neither \"nothing\" nor like \"raised at 11m15s\"", text)
	}
	return Expectation{ChangeKind(i), when}, nil
}

func allInputs() []string {
	var out []string
	for name := range byName {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
