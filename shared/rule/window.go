package rule

// A window is kept in grains, not in readings, so that its size does not depend
// on how often a sensor sends: 60 grains, of a second at least. So a window of
// ten minutes moves in steps of ten seconds.
const windowGrains = 60

type windowSpec struct {
	in    Input
	grain int64 // µs
	n     int64 // grains in the window
}

func newWindowSpec(in Input, span int64) windowSpec {
	grain := max(second, (span+windowGrains-1)/windowGrains)
	return windowSpec{in, grain, (span + grain - 1) / grain}
}

// grain sums up the readings of one stretch of sensor time.
type grain struct {
	index               int64 // sensor time / the window's grain
	n                   uint32
	sum, low, top, last float64
}

// window holds a vital's last grains. What is closed is summed up once a grain;
// a new reading touches the newest grain only.
type window struct {
	spec   windowSpec
	grains []grain // oldest first; the last one is open
	closed grain   // sum of all that are in the window but the open one
}

// add takes a reading at sensor time at. One older than the open grain is too
// late for a window and is left out.
func (w *window) add(x float64, at int64) {
	i := at / w.spec.grain
	n := len(w.grains)
	if n > 0 && i < w.grains[n-1].index {
		return
	}
	if n == 0 || i > w.grains[n-1].index {
		w.open(i, x)
		return
	}
	g := &w.grains[n-1]
	g.n++
	g.sum += x
	g.low, g.top, g.last = min(g.low, x), max(g.top, x), x
}

// open begins grain i and drops what is older than the window and the one grain
// before it, which delta looks at.
func (w *window) open(i int64, x float64) {
	old := 0
	for old < len(w.grains) && w.grains[old].index < i-w.spec.n {
		old++
	}
	w.grains = append(w.grains[:0], w.grains[old:]...)
	w.grains = append(w.grains, grain{index: i, n: 1, sum: x, low: x, top: x, last: x})
	w.close()
}

func (w *window) close() {
	c := grain{}
	newest := w.grains[len(w.grains)-1].index
	for _, g := range w.grains[:len(w.grains)-1] {
		if g.index <= newest-w.spec.n {
			continue
		}
		if c.n == 0 {
			c.low, c.top = g.low, g.top
		}
		c.n += g.n
		c.sum += g.sum
		c.low, c.top = min(c.low, g.low), max(c.top, g.top)
	}
	w.closed = c
}

// reaches reports whether readings go back as far as n grains before the newest.
func (w *window) reaches(n int64) bool {
	return len(w.grains) > 0 && w.grains[0].index <= w.grains[len(w.grains)-1].index-n
}

// mean, min and max are known once readings go back for half of the window.
func (w *window) mean() value {
	if !w.reaches(w.spec.n / 2) {
		return value{}
	}
	g := &w.grains[len(w.grains)-1]
	return value{(w.closed.sum + g.sum) / float64(w.closed.n+g.n), true}
}

func (w *window) min() value {
	if !w.reaches(w.spec.n / 2) {
		return value{}
	}
	g := &w.grains[len(w.grains)-1]
	if w.closed.n == 0 {
		return value{g.low, true}
	}
	return value{min(w.closed.low, g.low), true}
}

func (w *window) max() value {
	if !w.reaches(w.spec.n / 2) {
		return value{}
	}
	g := &w.grains[len(w.grains)-1]
	if w.closed.n == 0 {
		return value{g.top, true}
	}
	return value{max(w.closed.top, g.top), true}
}

// delta is the newest reading less the one a window's length before; unknown
// when there was none within a twentieth of the window of that instant.
func (w *window) delta() value {
	if !w.reaches(w.spec.n - w.spec.n/20) {
		return value{}
	}
	return value{w.grains[len(w.grains)-1].last - w.grains[0].last, true}
}
