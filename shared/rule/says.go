package rule

import (
	"strconv"
	"strings"

	"wardline/shared/alert"
)

// span is a piece of a rule's text: words, or a number to be filled in.
type span struct {
	words    string
	name     string // as it was written: hr, limit.hr.high, delta(spo2, "10m")
	unit     string
	eval     []op
	in       Input // for a span that is one input: its note goes before its number
	decimals int
	percent  bool // a share is written as a percentage
	limit    bool
}

// template compiles "Heart rate {hr:0} above {limit.hr.high:0} /min". The
// figure after the colon is the number of decimals; without one it is 0. A share
// is written as a percentage by {battery:%}.
func (p *Program) template(r *Rule, scope Scope) ([]span, error) {
	var out []span
	rest := r.Says
	for {
		words, after, found := strings.Cut(rest, "{")
		if words != "" {
			out = append(out, span{words: words})
		}
		if !found {
			return out, nil
		}
		inner, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, r.sayAt.errorf("says: { without }")
		}
		rest = tail
		s := span{name: inner}
		if name, ok := strings.CutSuffix(inner, ":%"); ok {
			s.name, s.percent = name, true
		} else if name, digits, ok := strings.Cut(inner, ":"); ok {
			n, err := strconv.Atoi(digits)
			if err != nil || n < 0 || n > 4 {
				return nil, r.sayAt.errorf("says: {%s}: 0 to 4 decimals come after the colon", inner)
			}
			s.name, s.decimals = name, n
		}
		if s.name == "for" { // how long the condition has to last
			out = append(out, span{words: Lasting(r.For)})
			continue
		}
		if err := p.fill(&s, r, scope); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
}

func (p *Program) fill(s *span, r *Rule, scope Scope) error {
	if in, ok := byName[s.name]; ok {
		if !meanings[in].scopes[scope] {
			return r.sayAt.errorf("says: a rule about a %s cannot read %s", scope, s.name)
		}
		s.in, s.eval, s.unit = in, []op{{code: opInput, arg: uint16(in)}}, meanings[in].unit
		return nil
	}
	if name, ok := strings.CutPrefix(s.name, "limit."); ok {
		for _, l := range p.limits {
			if l.Name == name {
				s.eval, s.unit, s.limit = []op{{code: opConst, num: l.Value}}, l.Unit, true
				return nil
			}
		}
		return r.sayAt.errorf("says: no limit is called %q: %s", s.name, meant(s.name, p.limitNames()))
	}
	// A window function: compiled inside a comparison, which an expression must be.
	e, err := p.compile(s.name+" == 0", r.sayAt, scope)
	if err != nil || len(e.ops) != 3 {
		return r.sayAt.errorf("says: {%s} is neither an input, nor a limit, nor a window function of one", s.name)
	}
	s.eval = e.ops[:1]
	return nil
}

// Says is the text of rule i with the state's present numbers. A number that is
// absent is a question mark.
func (s *State) Says(i int, now int64) string {
	var b strings.Builder
	for _, x := range s.p.rules[i].says {
		switch note := s.notes[x.in]; {
		case x.words != "":
			b.WriteString(x.words)
		case note != "":
			b.WriteString(note)
		default:
			if v := s.load(&x.eval[0], now); v.known {
				if x.percent {
					v.num *= 100
				}
				b.WriteString(strconv.FormatFloat(v.num, 'f', x.decimals, 64))
			} else {
				b.WriteByte('?')
			}
		}
	}
	return b.String()
}

// Evidence is what rule i reads, as far as it is known: its vitals with their
// times (in the state's time), then the numbers of its text.
func (s *State) Evidence(i int, now int64) []alert.Evidence {
	var out []alert.Evidence
	r := &s.p.rules[i]
	for in := Input(1); in < inputs; in++ {
		if in.Vital() != 0 && r.reads&s.known>>in&1 != 0 {
			out = append(out, alert.Evidence{Name: in.String(), Value: s.values[in], Unit: meanings[in].unit, At: s.at[in]})
		}
	}
	for _, x := range r.says {
		if x.words != "" || x.in != 0 {
			continue
		}
		if v := s.load(&x.eval[0], now); v.known {
			out = append(out, alert.Evidence{Name: x.name, Value: v.num, Unit: x.unit})
		}
	}
	return out
}

// Lasting spells a duration in µs for a clinician: 6 s, 5 min, 1 min 30 s.
func Lasting(d int64) string {
	minutes, rest := d/(60*second), float64(d%(60*second))/float64(second)
	seconds := strconv.FormatFloat(rest, 'f', -1, 64) + " s"
	switch {
	case minutes == 0:
		return seconds
	case rest == 0:
		return strconv.FormatInt(minutes, 10) + " min"
	}
	return strconv.FormatInt(minutes, 10) + " min " + seconds
}
