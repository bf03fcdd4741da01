package rule

import (
	"encoding/binary"
	"errors"
	"math"
)

// stateVersion is the first byte of a saved state. It changes with the numbers
// of inputs, too.
const stateVersion = 2

// ErrState means that a saved state cannot be read.
var ErrState = errors.New("saved rule state cannot be read")

// Save appends the state to b: inputs, windows and delays. Notes are not kept;
// who gave them gives them again. A rule's part is kept under a mark of what the
// rule means, so that a changed rule begins anew and an unchanged one goes on.
func (s *State) Save(b []byte) []byte {
	w := writer{append(b, stateVersion)}
	w.uint(s.known)
	w.uint(s.dirty)
	w.ints(s.begun, s.changed, s.next)
	w.bool(s.fresh)
	for in := range inputs {
		if s.known>>in&1 != 0 || s.at[in] != 0 || s.missed[in] != 0 || s.gone[in].last != 0 {
			w.uint(uint64(in) + 1)
			w.float(s.values[in])
			w.ints(s.at[in], s.missed[in], s.gone[in].first, s.gone[in].last)
		}
	}
	w.uint(0)
	used := 0
	for i := range s.windows {
		if len(s.windows[i].grains) > 0 {
			used++
		}
	}
	w.uint(uint64(used))
	for i := range s.windows {
		s.windows[i].save(&w)
	}
	w.uint(uint64(len(s.p.scopes[s.scope])))
	for _, i := range s.p.scopes[s.scope] {
		r := &s.rules[i]
		w.uint(uint64(s.p.rules[i].mark))
		w.b = append(w.b, byte(r.when), byte(r.until), byte(r.unless), byte(r.phase), r.level)
		w.bool(r.shown)
		w.ints(r.onset, r.raised, r.since, r.held, r.lost)
	}
	return w.b
}

func (x *window) save(w *writer) {
	if len(x.grains) == 0 {
		return
	}
	w.uint(uint64(x.spec.in))
	w.int(x.spec.grain)
	w.int(x.spec.n)
	w.uint(uint64(len(x.grains)))
	was := int64(0)
	for _, g := range x.grains {
		w.int(g.index - was)
		w.uint(uint64(g.n))
		was = g.index
		same := g.low == g.top && g.last == g.low && g.sum == g.low*float64(g.n)
		w.bool(same)
		w.float(g.last)
		if !same {
			w.float(g.sum)
			w.float(g.low)
			w.float(g.top)
		}
	}
}

// Load reads what Save wrote from the front of b into a new state and returns
// the rest. A state of other packs loads as far as it fits; what was watched
// before and is not any more is left out.
func (s *State) Load(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != stateVersion {
		return nil, ErrState
	}
	r := reader{b: b[1:]}
	s.known, s.dirty = r.uint(), r.uint()
	s.begun, s.changed, s.next = r.int(), r.int(), r.int()
	s.fresh = r.bool()
	for in := r.uint(); in != 0 && !r.bad; in = r.uint() {
		if in > uint64(inputs) {
			return nil, ErrState
		}
		s.values[in-1], s.at[in-1], s.missed[in-1] = r.float(), r.int(), r.int()
		s.gone[in-1] = run{r.int(), r.int()}
	}
	for range r.count(maxWindows) {
		s.loadWindow(&r)
	}
	for range r.count(maxRules * 16) {
		s.loadRule(&r)
	}
	if r.bad || (s.known|s.dirty)&^defined != 0 {
		return nil, ErrState
	}
	return r.b, nil
}

func (s *State) loadWindow(r *reader) {
	spec := windowSpec{in: Input(r.uint()), grain: r.int(), n: r.int()}
	grains := make([]grain, 0, windowGrains+2)
	at := int64(0)
	for range r.count(windowGrains + 2) {
		g := grain{}
		at += r.int()
		g.index, g.n = at, uint32(r.uint())
		same := r.bool()
		g.last = r.float()
		if g.sum, g.low, g.top = g.last*float64(g.n), g.last, g.last; !same {
			g.sum, g.low, g.top = r.float(), r.float(), r.float()
		}
		grains = append(grains, g)
	}
	for i := range s.windows {
		if w := &s.windows[i]; w.spec == spec && len(grains) > 0 {
			w.grains = grains
			w.close()
		}
	}
}

func (s *State) loadRule(r *reader) {
	mark := uint32(r.uint())
	x := running{when: truthValue(r.byte()), until: truthValue(r.byte()), unless: truthValue(r.byte()), phase: phase(r.byte()), level: r.byte()}
	x.shown = r.bool()
	x.onset, x.raised, x.since, x.held, x.lost = r.int(), r.int(), r.int(), r.int(), r.int()
	for _, i := range s.p.scopes[s.scope] {
		if c := &s.p.rules[i]; c.mark == mark {
			if x.when > isTrue || x.until > isTrue || x.unless > isTrue || x.phase > ending || int(x.level) > len(c.Escalate) {
				r.bad = true
				return
			}
			s.rules[i] = x
			return
		}
	}
	s.fresh, s.next = true, 0 // some rule is new: judge them all
}

// defined is the mask of the inputs that there are.
var defined = func() (mask uint64) {
	for i, m := range meanings {
		if m.name != "" {
			mask |= 1 << i
		}
	}
	return mask
}()

type writer struct{ b []byte }

func (w *writer) uint(x uint64) { w.b = binary.AppendUvarint(w.b, x) }
func (w *writer) int(x int64)   { w.b = binary.AppendVarint(w.b, x) }
func (w *writer) ints(list ...int64) {
	for _, x := range list {
		w.int(x)
	}
}
func (w *writer) bool(x bool) { w.b = append(w.b, byte(number01(x))) }

// float writes what is a whole number of hundredths short, as most readings are.
func (w *writer) float(x float64) {
	if h := math.Round(x * 100); h/100 == x && math.Abs(h) < 1<<40 && (x != 0 || !math.Signbit(x)) {
		w.int(int64(h) << 1)
		return
	}
	w.int(1)
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(x))
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	x, n := binary.Uvarint(r.b)
	return take(r, x, n)
}

func (r *reader) int() int64 {
	x, n := binary.Varint(r.b)
	return take(r, x, n)
}

func take[T int64 | uint64](r *reader, x T, n int) T {
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) byte() byte {
	if len(r.b) == 0 || r.bad {
		r.bad = true
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) float() float64 {
	x := r.int()
	if x&1 == 0 {
		return float64(x>>1) / 100
	}
	if len(r.b) < 8 {
		r.bad = true
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return f
}

// count reads how many of something follow, at most limit.
func (r *reader) count(limit int) int {
	n := r.uint()
	if n > uint64(limit) {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return int(n)
}
