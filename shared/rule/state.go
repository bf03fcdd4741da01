package rule

import (
	"math"
	"math/bits"

	"wardline/shared/alert"
	"wardline/shared/vital"
)

// State is one subject's side of a Program: its inputs, windows and delays.
// All instants are µs of any one clock that does not step; the caller's choice.
// A State belongs to one goroutine.
type State struct {
	p     *Program
	scope Scope
	stale [vital.Count]int64

	values  [maxInputs]float64
	at      [maxInputs]int64
	missed  [maxInputs]int64 // age() counts from here: at, later where nobody could see
	gone    [maxInputs]run
	known   uint64
	begun   int64 // when the subject was first heard; 0 before
	notes   map[Input]string
	windows []window
	watched uint64 // vitals that have a window

	rules   []running // by the Program's index; only the scope's are used
	dirty   uint64
	changed int64 // newest instant of what made dirty
	next    int64 // the first instant at which time alone changes something
	fresh   bool  // no rule ran yet
}

// run is from when to when the sensor said, word after word, that it finds no
// value; 0 and 0 when its last word was a value.
type run struct{ first, last int64 }

type phase uint8

const (
	idle    phase = iota
	pending       // when is true, for is not over
	on            // raised
	ending        // until is true, until_for is not over
)

// running is one rule's state.
type running struct {
	when, until, unless truthValue
	phase               phase
	shown               bool // it was told as raised, and not ended
	level               uint8
	onset               int64 // when the condition became true
	raised              int64 // when its delay was over
	since               int64 // when pending or ending began; moved on by what was unknown
	held                int64 // since when the delay stands still for want of knowledge; 0 = it runs
	lost                int64 // since when the rule is not evaluable; 0 = it is
}

// A delay that stands still begins anew when nothing was known for this long.
const maxHeld = 60 * second

// NewState begins a subject of p. stale says after how many µs a vital is absent.
func (p *Program) NewState(scope Scope, stale [vital.Count]int64) *State {
	s := &State{p: p, scope: scope, stale: stale, rules: make([]running, len(p.rules)), next: math.MaxInt64, fresh: true}
	s.windows = make([]window, len(p.windows))
	for i, spec := range p.windows {
		s.windows[i].spec = spec
		s.watched |= 1 << spec.in
	}
	return s
}

// SetStale says anew after how many µs each vital is absent.
func (s *State) SetStale(stale [vital.Count]int64) {
	s.stale = stale
	s.next = math.MinInt64 // the next Step looks
}

// Program is what s runs.
func (s *State) Program() *Program { return s.p }

// Begin tells that from at on the subject can be seen: it is heard for the first
// time, or again after nobody could see it (it was silent, a lead was off).
// age() counts from there for a vital that has not come since, and gone() anew.
func (s *State) Begin(at int64) {
	if s.begun == 0 {
		s.begun = at
	}
	for i := range s.missed {
		s.missed[i] = max(s.missed[i], at)
		if s.gone[i] != (run{}) {
			s.gone[i] = run{}
			s.touch(1<<i, at)
		}
	}
	s.next = 0
}

// Excuse tells that nobody listened for so many µs: neither age() nor gone()
// counts them.
func (s *State) Excuse(span int64) {
	for i := range s.missed {
		s.missed[i] += span
		if g := &s.gone[i]; g.last != 0 {
			g.first, g.last = g.first+span, g.last+span
		}
	}
	s.next = 0
}

// Set gives an input a value that holds from at on. A vital that is older than
// the one it has, or than the word that there is none, is left out.
func (s *State) Set(in Input, x float64, at int64) {
	bit := uint64(1) << in
	if in.Vital() != 0 {
		if at < s.at[in] || at < s.gone[in].last {
			return
		}
		s.at[in], s.missed[in], s.gone[in] = at, max(s.missed[in], at), run{}
		if s.watched&bit != 0 {
			s.sample(in, x, at)
		}
	}
	if s.known&bit != 0 && s.values[in] == x && s.watched&bit == 0 {
		return
	}
	s.values[in] = x
	s.touch(bit, at)
	s.known |= bit
	if in.Vital() != 0 {
		s.next = min(s.next, at+s.stale[in])
	}
}

// Clear makes an input unknown from at on.
func (s *State) Clear(in Input, at int64) {
	if bit := uint64(1) << in; s.known&bit != 0 {
		s.known &^= bit
		s.touch(bit, at)
	}
}

// Gone tells that the sensor looked for a vital at an instant and found none: it
// has no value from then on. gone() is the time from the first such word since
// there was a value to the newest, so a single one, which an artefact can cause,
// counts for nothing.
func (s *State) Gone(v vital.Vital, at int64) {
	in := Of(v)
	g := &s.gone[in]
	if at < s.at[in] || at < g.last {
		return
	}
	if g.last == 0 {
		g.first = at
	}
	g.last = at
	s.known &^= 1 << in
	s.touch(1<<in, at)
}

// Note gives an input words, which stand for it in texts. "" takes them back.
func (s *State) Note(in Input, words string) {
	if words == "" {
		delete(s.notes, in)
		return
	}
	if s.notes == nil {
		s.notes = map[Input]string{}
	}
	s.notes[in] = words
}

// Value is an input's value, and whether it is known.
func (s *State) Value(in Input) (float64, bool) { return s.values[in], s.known>>in&1 != 0 }

// Known is the mask (1<<Input) of what is known.
func (s *State) Known() uint64 { return s.known }

func (s *State) touch(bit uint64, at int64) {
	if s.dirty == 0 || at > s.changed {
		s.changed = at
	}
	s.dirty |= bit
}

func (s *State) sample(in Input, x float64, at int64) {
	for i := range s.windows {
		if s.windows[i].spec.in == in {
			s.windows[i].add(x, at)
		}
	}
}

// Step runs the rules whose inputs changed, and those for which it is time, and
// appends what happened to out. now may go back a little, to the instant of a
// reading that came behind a tick.
func (s *State) Step(now int64, out []Change) []Change {
	if s.dirty == 0 && now < s.next {
		return out
	}
	s.expire(now)
	dirty, changed := s.dirty, min(s.changed, now)
	if dirty == 0 {
		changed = now
	}
	s.dirty, s.changed = 0, 0
	next, moved := int64(math.MaxInt64), false
	for _, i := range s.p.scopes[s.scope] {
		c, r := &s.p.rules[i], &s.rules[i]
		if s.fresh || c.reads&dirty != 0 || c.timed {
			out = s.judge(i, now, changed, out)
		} else if r.phase == idle {
			continue
		}
		was := r.phase
		out = s.advance(i, now, changed, out)
		moved = moved || was != r.phase || r.phase >= on && !r.shown
		next = min(next, r.deadline(c, now))
		if c.timed && s.begun != 0 {
			next = min(next, now+second)
		}
	}
	if moved {
		out = s.show(now, out)
	}
	s.fresh = false
	s.next = min(next, s.freshUntil())
	return out
}

// expire makes vitals unknown that are stale at now.
func (s *State) expire(now int64) {
	for m := s.known & (1<<Contact - 1); m != 0; m &= m - 1 {
		in := Input(bits.TrailingZeros64(m))
		if end := s.at[in] + s.stale[in]; now >= end {
			s.known &^= 1 << in
			s.touch(1<<in, end)
		}
	}
}

func (s *State) freshUntil() int64 {
	next := int64(math.MaxInt64)
	for m := s.known & (1<<Contact - 1); m != 0; m &= m - 1 {
		in := bits.TrailingZeros64(m)
		next = min(next, s.at[in]+s.stale[in])
	}
	return next
}

// judge evaluates rule i's expressions.
func (s *State) judge(i int, now, changed int64, out []Change) []Change {
	c, r := &s.p.rules[i], &s.rules[i]
	r.unless = isFalse
	if c.unless.ops != nil {
		r.unless = s.evaluate(&c.unless, now)
	}
	r.when = s.evaluate(&c.when, now)
	switch {
	case c.until.ops != nil && r.phase >= on:
		r.until = s.evaluate(&c.until, now)
	case r.when != unknown:
		r.until = isTrue + isFalse - r.when
	default:
		r.until = unknown
	}
	// While raised it is the end that has to be known.
	blind := r.unless != isTrue && (r.phase < on && r.when == unknown || r.phase >= on && r.until == unknown)
	switch {
	case blind && r.lost == 0:
		r.lost = max(changed, 1)
		out = append(out, Change{Kind: NotEvaluable, Rule: i, At: changed, By: -1})
	case !blind && r.lost != 0:
		r.lost = 0
		out = append(out, Change{Kind: Evaluable, Rule: i, At: changed, By: -1})
	}
	return out
}

// advance moves rule i's delays on to now.
func (s *State) advance(i int, now, changed int64, out []Change) []Change {
	c, r := &s.p.rules[i], &s.rules[i]
	if r.unless == isTrue {
		return s.finish(i, now, c.UnlessBy, out)
	}
	if r.phase == idle && r.when == isTrue {
		r.phase, r.onset, r.since, r.held = pending, changed, changed, 0
	}
	if r.phase == pending {
		switch {
		case r.when == isFalse, r.hold(r.when == unknown, now):
			r.phase = idle
		case r.held == 0 && now-r.since >= c.For:
			r.phase, r.raised, r.level = on, max(r.since+c.For, changed), 0
			if c.until.ops != nil {
				r.until = s.evaluate(&c.until, now)
			}
		}
	}
	if r.phase == on && r.until == isTrue {
		r.phase, r.since, r.held = ending, changed, 0
	}
	if r.phase == ending {
		switch {
		case r.until == isFalse:
			r.phase = on
		case r.hold(r.until == unknown, now):
			r.phase = on
		case r.held == 0 && now-r.since >= c.UntilFor:
			return s.finish(i, now, "", out)
		}
	}
	return s.escalate(i, now, out)
}

// hold stops a delay while nothing is known, and lets it go on from there. It
// reports that the delay has stood still for too long to go on.
func (r *running) hold(unknown bool, now int64) bool {
	switch {
	case unknown && r.held == 0:
		r.held = max(now, 1)
	case unknown:
		return now-r.held >= maxHeld
	case r.held != 0:
		r.since += max(0, now-r.held)
		r.held = 0
	}
	return false
}

func (s *State) finish(i int, now int64, why string, out []Change) []Change {
	r := &s.rules[i]
	if r.shown {
		out = append(out, Change{Kind: Ended, Rule: i, At: now, Why: why, By: -1})
	}
	r.phase, r.shown, r.held, r.level = idle, false, 0, 0
	return out
}

func (s *State) escalate(i int, now int64, out []Change) []Change {
	c, r := &s.p.rules[i], &s.rules[i]
	for r.phase >= on && int(r.level) < len(c.Escalate) && now-r.raised >= c.Escalate[r.level].After {
		r.level++
		if r.shown {
			out = append(out, Change{Kind: Updated, Rule: i, At: now, Onset: r.onset, Priority: s.priority(i), By: -1})
		}
	}
	return out
}

func (s *State) priority(i int) alert.Priority {
	c, r := &s.p.rules[i], &s.rules[i]
	if r.level == 0 {
		return c.Priority
	}
	return c.Escalate[r.level-1].Priority
}

// show raises what is on and not superseded, the worse before the milder ends,
// so that there is no instant without an alert. What was held back is raised
// only while it is true: not on its way to an end that nobody saw begin.
func (s *State) show(now int64, out []Change) []Change {
	for _, i := range s.p.scopes[s.scope] {
		if r := &s.rules[i]; r.phase == on && r.when == isTrue && !r.shown && s.superseded(i) < 0 {
			r.shown = true
			out = append(out, Change{Kind: Raised, Rule: i, At: now, Onset: r.onset, Priority: s.priority(i), By: -1})
		}
	}
	for _, i := range s.p.scopes[s.scope] {
		if r := &s.rules[i]; r.shown {
			if by := s.superseded(i); by >= 0 {
				r.shown = false
				out = append(out, Change{Kind: Ended, Rule: i, At: now, By: by})
			}
		}
	}
	return out
}

// superseded is a worse rule of rule i's family that is raised, -1 for none.
func (s *State) superseded(i int) int {
	for _, j := range s.p.rules[i].worse {
		if s.rules[j].phase >= on {
			return j
		}
	}
	return -1
}

// deadline is when time alone moves the rule on.
func (r *running) deadline(c *compiled, now int64) int64 {
	next := int64(math.MaxInt64)
	switch {
	case (r.phase == pending || r.phase == ending) && r.held != 0:
		next = r.held + maxHeld
	case r.phase == pending:
		next = r.since + c.For
	case r.phase == ending:
		next = r.since + c.UntilFor
	}
	if r.phase >= on && int(r.level) < len(c.Escalate) {
		next = min(next, r.raised+c.Escalate[r.level].After)
	}
	return max(next, now+1)
}

// Open reports whether rule i's alert is raised and not ended.
func (s *State) Open(i int) bool { return s.rules[i].shown }

// Lost is since when rule i cannot be judged; 0 when it can.
func (s *State) Lost(i int) int64 { return s.rules[i].lost }

// Adopt makes rule i raised, as an alert of it is open from an earlier life. It
// ends on evidence only, like any other; so the facts that it reads are unknown
// until they are told again.
func (s *State) Adopt(i int, onset, raised int64, p alert.Priority) {
	r := &s.rules[i]
	*r = running{phase: on, shown: true, onset: onset, raised: raised}
	for int(r.level) < len(s.p.rules[i].Escalate) && s.priority(i) < p {
		r.level++
	}
	for in := Contact; in < inputs; in++ {
		if s.p.rules[i].reads>>in&1 != 0 {
			s.known &^= 1 << in
		}
	}
	s.fresh, s.next = true, 0
}

// Drop forgets that rule i is raised, without a change: its alert is gone. While
// the condition lasts, it is raised again after its delay.
func (s *State) Drop(i int) {
	s.rules[i] = running{}
	s.fresh, s.next = true, 0
}
