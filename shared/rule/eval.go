package rule

// op is one instruction of the evaluator's stack machine.
type op struct {
	num  float64
	arg  uint16 // an input, or a window's slot
	code code
}

type code uint8

const (
	opConst code = iota + 1
	opInput
	opKeep

	// Of a window's slot; opAge and opGone of an input.
	opMean
	opMin
	opMax
	opDelta
	opAge
	opGone

	opNot
	opNeg
	opAnd
	opOr
	opEqual
	opNotEqual
	opAdd
	opSubtract
	opMultiply
	opDivide

	opLess
	opLessEqual
	opMore
	opMoreEqual

	// An input against a constant: the four above, in the same order.
	opInputLess
	opInputLessEqual
	opInputMore
	opInputMoreEqual
)

// truthValue is one of Kleene's three.
type truthValue uint8

const (
	unknown truthValue = iota
	isFalse
	isTrue
)

// value is a number or a truth (0 or 1), if it is known.
type value struct {
	num   float64
	known bool
}

// evaluate runs e over the state's inputs. It allocates nothing. A number that
// is not finite, as after a division by zero, is unknown.
func (s *State) evaluate(e *expression, now int64) truthValue {
	var stack [maxDepth]value
	top := -1
	for i := range e.ops {
		o := &e.ops[i]
		switch {
		case o.code >= opInputLess:
			top++
			if s.known>>o.arg&1 != 0 {
				stack[top&(maxDepth-1)] = value{compare(o.code-(opInputLess-opLess), s.values[o.arg&(maxInputs-1)], o.num), true}
			} else {
				stack[top&(maxDepth-1)] = value{}
			}
		case o.code <= opGone:
			top++
			stack[top&(maxDepth-1)] = s.load(o, now)
		case o.code <= opNeg:
			x := &stack[top&(maxDepth-1)]
			if o.code == opNot {
				x.num = 1 - x.num
			} else {
				x.num = -x.num
			}
		default:
			y := stack[top&(maxDepth-1)]
			top--
			x := &stack[top&(maxDepth-1)]
			*x = combine(o.code, *x, y)
		}
	}
	switch x := stack[0]; {
	case !x.known:
		return unknown
	case x.num != 0:
		return isTrue
	}
	return isFalse
}

func (s *State) load(o *op, now int64) value {
	switch o.code {
	case opConst:
		return value{o.num, true}
	case opInput:
		return value{s.values[o.arg&(maxInputs-1)], s.known>>o.arg&1 != 0}
	case opAge:
		return value{float64(max(0, now-s.missed[o.arg&(maxInputs-1)])) / float64(second), s.begun != 0}
	case opGone:
		g := &s.gone[o.arg&(maxInputs-1)]
		return value{float64(g.last-g.first) / float64(second), s.begun != 0}
	}
	w := &s.windows[o.arg]
	if s.known>>w.spec.in&1 == 0 {
		return value{}
	}
	switch o.code {
	case opMean:
		return w.mean()
	case opMin:
		return w.min()
	case opMax:
		return w.max()
	}
	return w.delta()
}

func combine(c code, x, y value) value {
	switch c {
	case opAnd:
		if (x.known && x.num == 0) || (y.known && y.num == 0) {
			return value{0, true}
		}
		return value{1, x.known && y.known}
	case opOr:
		if (x.known && x.num != 0) || (y.known && y.num != 0) {
			return value{1, true}
		}
		return value{0, x.known && y.known}
	}
	if !x.known || !y.known {
		return value{}
	}
	switch c {
	case opAdd:
		return finite(x.num + y.num)
	case opSubtract:
		return finite(x.num - y.num)
	case opMultiply:
		return finite(x.num * y.num)
	case opDivide:
		return finite(x.num / y.num)
	}
	return value{compare(c, x.num, y.num), true}
}

func compare(c code, x, y float64) float64 {
	switch c {
	case opLess:
		return number01(x < y)
	case opLessEqual:
		return number01(x <= y)
	case opMore:
		return number01(x > y)
	case opMoreEqual:
		return number01(x >= y)
	case opEqual:
		return number01(x == y)
	}
	return number01(x != y)
}

// finite is x, unknown if it is NaN or infinite.
func finite(x float64) value { return value{x, x-x == 0} }
