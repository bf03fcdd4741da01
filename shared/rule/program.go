package rule

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"wardline/shared/alert"
)

// Program is packs that were compiled with one set of overrides. It does not
// change, and any number of States may use it.
type Program struct {
	limits  []Limit
	rules   []compiled
	windows []windowSpec
	scopes  [4][]int // the rules of each scope's States, by index
}

// compiled is a rule that is ready to run.
type compiled struct {
	Rule
	Pack   *Pack
	kind   alert.Kind
	when   expression
	until  expression // without ops: not when
	unless expression
	reads  uint64
	timed  bool
	says   []span
	mark   uint32 // of what it means: state is restored only into the same
	worse  []int  // rules of its family that supersede it, by index
}

// Compile makes packs run, with overrides of their limits by name. Errors name
// the place in the pack, or the override and the bound or the limit that it
// conflicts with.
func Compile(packs []*Pack, overrides map[string]float64) (*Program, error) {
	p := &Program{}
	for _, k := range packs {
		for _, l := range k.Limits {
			if contains(p.limitNames(), "limit."+l.Name) {
				return nil, l.at.errorf("limit %s is defined twice", l.Name)
			}
			if l.Above != "" && !slices.ContainsFunc(k.Limits, func(o Limit) bool { return o.Name == l.Above }) {
				return nil, l.at.errorf("limit %s is above %q, which the pack does not have: %s", l.Name, l.Above, meant(l.Above, k.limitNames()))
			}
			p.limits = append(p.limits, l)
		}
	}
	if l, what := p.crossed(); what != "" {
		return nil, l.at.errorf("%s", what)
	}
	if err := p.override(overrides); err != nil {
		return nil, err
	}
	if _, what := p.crossed(); what != "" {
		return nil, errors.New(what)
	}
	seen := map[string]bool{}
	for _, k := range packs {
		for i := range k.Rules {
			if r := &k.Rules[i]; seen[r.ID] {
				return nil, r.at.errorf("rule %s is defined twice", r.ID)
			}
			seen[k.Rules[i].ID] = true
			if err := p.add(k, &k.Rules[i]); err != nil {
				return nil, err
			}
		}
	}
	if err := p.families(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Program) override(overrides map[string]float64) error {
	names := make([]string, 0, len(overrides))
	for name := range overrides {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		i := slices.IndexFunc(p.limits, func(l Limit) bool { return l.Name == name })
		if i < 0 {
			var known []string
			for _, l := range p.limits {
				known = append(known, l.Name)
			}
			return fmt.Errorf("no pack has a limit %q: %s", name, meant(name, known))
		}
		l, x := &p.limits[i], overrides[name]
		switch {
		case x < l.Min:
			return fmt.Errorf("limit %s: %v %s is below its lower bound of %v %s", name, x, l.Unit, l.Min, l.Unit)
		case !(x <= l.Max):
			return fmt.Errorf("limit %s: %v %s is above its upper bound of %v %s", name, x, l.Unit, l.Max, l.Unit)
		}
		l.Value = x
	}
	return nil
}

// crossed finds a limit that is not above the one that it has to be above, and
// says so; "" when there is none.
func (p *Program) crossed() (Limit, string) {
	for _, l := range p.limits {
		for _, o := range p.limits {
			if l.Above == o.Name && !(l.Value > o.Value) {
				return l, fmt.Sprintf("limit %s must be above %s, but %v %s is not above %v %s: raise %s (at most %v) or lower %s (at least %v)",
					l.Name, o.Name, l.Value, l.Unit, o.Value, o.Unit, l.Name, l.Max, o.Name, o.Min)
			}
		}
	}
	return Limit{}, ""
}

func (p *Program) limitNames() []string {
	var out []string
	for _, l := range p.limits {
		out = append(out, "limit."+l.Name)
	}
	return out
}

func (p *Program) add(k *Pack, r *Rule) (err error) {
	c := compiled{Rule: *r, Pack: k, kind: k.Kind}
	scope := r.About
	for i, x := range []struct {
		text string
		to   *expression
	}{{r.When, &c.when}, {r.Until, &c.until}, {r.Unless, &c.unless}} {
		if *x.to, err = p.compile(x.text, r.whens[i], scope); err != nil {
			return err
		}
		c.reads |= x.to.reads
		c.timed = c.timed || x.to.ages != 0
	}
	if c.reads == 0 {
		return r.whens[0].errorf("rule %s reads nothing", r.ID)
	}
	if c.says, err = p.template(r, scope); err != nil {
		return err
	}
	h := fnv.New32a()
	fmt.Fprint(h, r.ID, r.When, r.For, r.Until, r.UntilFor, r.Unless, r.Family, r.Rank, r.Priority, r.Escalate, c.when.ops, c.until.ops)
	c.mark = h.Sum32()
	p.rules = append(p.rules, c)
	if scope == Sensor {
		scope = Patient // one State serves a bed: its patient and its sensor
	}
	p.scopes[scope] = append(p.scopes[scope], len(p.rules)-1)
	return nil
}

// families orders each family: a higher priority is worse, and of the same
// priority the higher rank. Two that neither tells apart are refused, and so is
// a milder one that escalates past a worse one that holds it back.
func (p *Program) families() error {
	for i := range p.rules {
		r := &p.rules[i]
		for j := range p.rules {
			o := &p.rules[j]
			if i == j || r.Family == "" || r.Family != o.Family || r.About != o.About {
				continue
			}
			switch top := r.top(); {
			case o.Priority == r.Priority && o.Rank == r.Rank:
				later := p.rules[max(i, j)]
				return later.at.errorf("rules %s and %s of family %s have the same priority and rank: give the worse one a higher rank", p.rules[min(i, j)].ID, later.ID, r.Family)
			case o.Priority < r.Priority || o.Priority == r.Priority && o.Rank < r.Rank:
				continue
			case top > o.Priority:
				return r.at.errorf("rule %s escalates to %s, but rule %s, which supersedes it, has priority %s", r.ID, top, o.ID, o.Priority)
			}
			r.worse = append(r.worse, j)
		}
	}
	return nil
}

// top is the highest priority that the rule's alert can have.
func (r *Rule) top() alert.Priority {
	if n := len(r.Escalate); n > 0 {
		return r.Escalate[n-1].Priority
	}
	return r.Priority
}

// window is the slot of a window that was asked for before, or a new one.
func (p *Program) window(in Input, span int64) int {
	w := newWindowSpec(in, span)
	if i := slices.Index(p.windows, w); i >= 0 {
		return i
	}
	p.windows = append(p.windows, w)
	return len(p.windows) - 1
}

// Len is the number of rules; Change.Rule is an index below it.
func (p *Program) Len() int { return len(p.rules) }

// Rule is rule i as it was written.
func (p *Program) Rule(i int) *Rule { return &p.rules[i].Rule }

// Pack is the pack that rule i belongs to.
func (p *Program) Pack(i int) *Pack { return p.rules[i].Pack }

// ByID finds a rule's index.
func (p *Program) ByID(id string) (int, bool) {
	i := slices.IndexFunc(p.rules, func(r compiled) bool { return r.ID == id })
	return i, i >= 0
}

// Limits lists the limits with the values in force, in the packs' order.
func (p *Program) Limits() []Limit { return slices.Clone(p.limits) }

// Reads is the mask (1<<Input) of what the physiological rules read of a bed.
func (p *Program) Reads() (mask uint64) {
	for _, i := range p.scopes[Patient] {
		if p.rules[i].kind == alert.Physiological {
			mask |= p.rules[i].reads
		}
	}
	return mask
}

// Ages is the mask of the vitals whose absence a physiological rule tells by
// itself, through age().
func (p *Program) Ages() (mask uint64) {
	for _, i := range p.scopes[Patient] {
		if r := &p.rules[i]; r.kind == alert.Physiological {
			mask |= r.when.ages
		}
	}
	return mask
}
