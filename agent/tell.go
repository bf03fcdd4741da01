package agent

import (
	"encoding/json"
	"fmt"
	"sync"

	"wardline/agent/internal/control"
	"wardline/agent/internal/local"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
)

// teller says in the ward, and to whoever follows the agent, what was decided.
type teller struct {
	station *local.Station
	tail    *tail
	known   map[alert.ID]known // what open alerts are, for lines about them; the loop's
}

// known is what lines about an alert begin with.
type known struct {
	line  control.Line
	latch bool // it stays open when its condition has ended
}

// prepare makes what shows the alerts of beds as they are now; the returned
// function shows it, from any goroutine.
func (t *teller) prepare(beds map[ward.BedKey]struct{}, w *ward.Ward, now ward.Instant, pending func(ward.BedKey) bool) func() {
	payloads := make(map[ward.BedKey][]byte, len(beds))
	for b := range beds {
		var open []local.Open
		for _, a := range w.Alerts(b.Ward, b.Bed) {
			open = append(open, local.Open{Alert: a, Durable: !pending(b)})
		}
		payloads[b] = local.Alerts(b.Ward, b.Bed, now.Wall, open)
	}
	return func() {
		for b, p := range payloads {
			t.station.Show(b.Ward, b.Bed, p)
		}
	}
}

func (t *teller) events(events []alert.Event) {
	for _, e := range events {
		t.tail.say(t.line(e))
	}
}

// introduce makes open alerts known that were raised in an earlier life.
func (t *teller) introduce(open []alert.Alert) {
	for _, a := range open {
		t.known[a.ID] = about(a.Condition)
	}
}

func about(c alert.Condition) known {
	where := c.Ward
	if c.Bed != "" {
		where += "/" + c.Bed
	}
	return known{control.Line{Where: where, Text: c.Priority.Marks() + " " + c.Text}, c.Latch}
}

// line is an event in words.
func (t *teller) line(e alert.Event) control.Line {
	if e.Condition != nil {
		t.known[e.Alert] = about(*e.Condition)
	}
	k := t.known[e.Alert]
	l := k.line
	l.At, l.What, l.Alert = e.At, string(e.Type), string(e.Alert)
	if e.Type == alert.AckExpired && e.By != "" && e.By != "system" {
		l.What = "acknowledgement_withdrawn"
	}
	if e.By != "" {
		l.Text += ", by " + e.By
	}
	if e.Text != "" {
		l.Text += ": " + e.Text
	}
	if e.Type == alert.Resolved || e.Type == alert.Ended && !k.latch || len(t.known) > maxKnown {
		delete(t.known, e.Alert)
	}
	return l
}

// maxKnown bounds what is remembered for lines about alerts.
const maxKnown = 10_000

// tail lets readers follow what happens. One that is slow loses the oldest.
type tail struct {
	mu      sync.Mutex // guards what follows; never held across I/O
	readers map[*reader]struct{}
}

type reader struct {
	lines chan []byte
	lost  int
}

const tailBuffer = 256 // lines that may wait for one reader

func newTail() *tail { return &tail{readers: map[*reader]struct{}{}} }

func (t *tail) say(l control.Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.readers) == 0 {
		return
	}
	line := must(json.Marshal(l))
	for r := range t.readers {
		r.put(line, l.At)
	}
}

func (r *reader) put(line []byte, at int64) {
	for {
		select {
		case r.lines <- line:
			return
		default:
		}
		select {
		case <-r.lines:
			r.lost++
			line = must(json.Marshal(control.Line{At: at, What: "lost", Text: fmt.Sprintf("this reader is too slow: %d lines were left out", r.lost)}))
		default:
		}
	}
}

// follow gives each line to out until done closes or out fails.
func (t *tail) follow(done <-chan struct{}, out func([]byte) error) error {
	r := &reader{lines: make(chan []byte, tailBuffer)}
	t.mu.Lock()
	t.readers[r] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.readers, r)
		t.mu.Unlock()
	}()
	for {
		select {
		case <-done:
			return nil
		case line := <-r.lines:
			if err := out(line); err != nil {
				return err
			}
		}
	}
}
