package agent

import (
	"cmp"
	"maps"
	"slices"

	"wardline/agent/internal/control"
	"wardline/agent/internal/intake"
)

// unsourced is the name under which what came by no source is counted.
const unsourced = "other"

// counters count what came in, by source. They belong to the loop.
type counters struct {
	by map[string]*control.Intake
	on func(source, reason, detail string) // told of each refusal
}

func newCounters(sources []Source, on func(source, reason, detail string)) *counters {
	c := &counters{by: map[string]*control.Intake{}, on: on}
	for _, s := range sources {
		c.source(s.Name)
	}
	return c
}

func (c *counters) source(name string) *control.Intake {
	s := c.by[name]
	if s == nil {
		s = &control.Intake{Source: name, SetAside: map[string]uint64{}, PassedOver: map[string]uint64{}}
		c.by[name] = s
	}
	return s
}

// message counts one message as decoded. One that the ward then takes nothing
// of is moved by setAside.
func (c *counters) message(m *intake.Message) {
	name := unsourced
	if m.Source != nil {
		name = m.Source.Name
	}
	s := c.source(name)
	if m.Reason != "" {
		c.refuse(s, string(m.Reason), m.Detail)
		return
	}
	s.Accepted++
	if m.UnknownKeys > 0 {
		s.PassedOver["unknown_key"] += uint64(m.UnknownKeys)
	}
	if m.Implausible > 0 {
		s.PassedOver["implausible"] += uint64(m.Implausible)
		s.LastWhy = m.Detail
	}
}

// setAside takes back that a message was accepted.
func (c *counters) setAside(source, reason, detail string) {
	s := c.source(source)
	s.Accepted--
	c.refuse(s, reason, detail)
}

// late counts messages that were taken as history: they raise nothing.
func (c *counters) late(source string, n uint64) {
	if n > 0 {
		c.source(source).PassedOver["late"] += n
	}
}

func (c *counters) refuse(s *control.Intake, reason, detail string) {
	s.SetAside[reason]++
	s.LastWhy = reason + ": " + detail
	c.on(s.Source, reason, detail)
}

func (c *counters) all() []control.Intake {
	var out []control.Intake
	for _, s := range c.by {
		x := *s
		x.SetAside, x.PassedOver = maps.Clone(s.SetAside), maps.Clone(s.PassedOver)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b control.Intake) int { return cmp.Compare(a.Source, b.Source) })
	return out
}
