package rule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"wardline/shared/vital"
)

// caseStart keeps a case's instants away from 0, which means never.
const caseStart = 1000 * second

// Test runs the packs' own cases with the limits' defaults and joins what fails,
// an error a case. Time goes in steps of a second, every input that has a value
// is told anew in each, and a vital is stale after 10 s. A case sees the whole
// packs, so a family's worse rule holds back a milder one as it does in life.
func Test(packs ...*Pack) error {
	p, err := Compile(packs, nil)
	if err != nil {
		return err
	}
	var faults []error
	for i := range p.rules {
		r := &p.rules[i]
		for j := range r.Cases {
			got, want := p.run(i, &r.Cases[j]), expected(r.Cases[j].Expect)
			if got != want {
				at := place{r.at.file, r.Cases[j].Line, 1}
				faults = append(faults, at.errorf("rule %s: expected %s, but: %s", r.ID, want, got))
			}
		}
	}
	return errors.Join(faults...)
}

func expected(list []Expectation) string {
	var out []string
	for _, e := range list {
		out = append(out, happened(e.Kind, e.At))
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

func happened(k ChangeKind, at int64) string {
	return fmt.Sprintf("%s at %s", k, time.Duration(at*1000))
}

// run plays a case and spells what happened to rule i.
func (p *Program) run(i int, c *Case) string {
	scope := p.rules[i].About
	if scope == Sensor {
		scope = Patient
	}
	var stale [vital.Count]int64
	for v := range stale {
		stale[v] = 10 * second
	}
	s := p.NewState(scope, stale)
	s.Begin(caseStart)
	var out []string
	var changes []Change
	for t, end := int64(0), c.lasts(); t < end; t += second {
		for name, list := range c.Given {
			s.give(byName[name], list, t)
		}
		changes = s.Step(caseStart+t, changes[:0])
		for _, x := range changes {
			if x.Rule == i && x.Kind <= Ended {
				out = append(out, happened(x.Kind, x.At-caseStart))
			}
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

func (c *Case) lasts() (end int64) {
	for _, list := range c.Given {
		sum := int64(0)
		for _, x := range list {
			sum += x.Lasts
		}
		end = max(end, sum)
	}
	return end
}

// give tells the state what an input of the case is at t.
func (s *State) give(in Input, list []Stretch, t int64) {
	left := t
	for _, x := range list {
		if left >= x.Lasts {
			left -= x.Lasts
			continue
		}
		switch {
		case x.Gone:
			s.Gone(in.Vital(), caseStart+t)
		case !x.Absent:
			s.Set(in, x.Value, caseStart+t)
		case in.Vital() == 0:
			s.Clear(in, caseStart+t)
		}
		return
	}
}
