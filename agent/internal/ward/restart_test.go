package ward

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"wardline/shared/alert"
	"wardline/shared/vital"
)

// taken is one Step of a recorded day.
type taken struct {
	now Instant
	in  Input
}

// day makes up hours of a ward with everything that can happen to it, by
// driving a ward with it: responses need alerts to answer.
type day struct {
	r      *rand.Rand
	w      *Ward
	now    Instant
	steps  []taken
	events [][]alert.Event // by step
	sums   [][]Summary
	open   []alert.Alert // at the cut
	away   int           // passes for which the relay carries nothing
	out    Output
}

type patient struct {
	sensor       string
	hr, spo2, rr float64
	goal         [3]float64
	mode         int // 0 well, 1 silent, 2 lead off, 3 no heart rate, 4 no SpO2
	seq, boot    uint32
	held         []*vital.Observation // to be back-filled
	sent         []*vital.Observation
}

func (d *day) step(in Input) {
	if o := in.Observation; o != nil {
		c := *o
		in.Observation = &c
	}
	d.out.Reset()
	d.w.Step(d.now, in, &d.out)
	d.steps = append(d.steps, taken{d.now, in})
	d.events = append(d.events, slices.Clone(d.out.Events))
	d.sums = append(d.sums, slices.Clone(d.out.Summaries))
}

func (d *day) pass() {
	ms := int64(200 + d.r.IntN(700))
	d.now.Mono += ms * 1000
	d.now.Wall += ms * 1000
	if d.r.IntN(2000) == 0 {
		d.now.Wall += int64(d.r.IntN(8)-4) * tick // the wall clock is stepped
	}
	d.away = max(0, d.away-1)
	d.step(Input{Tick: true})
}

func (d *day) speak(p *patient) {
	if d.r.IntN(60) == 0 {
		p.goal = [3]float64{60 + d.r.Float64()*120, 78 + d.r.Float64()*22, d.r.Float64() * 45}
	}
	if d.r.IntN(80) == 0 {
		p.mode = max(0, d.r.IntN(9)-4)
	}
	p.hr += (p.goal[0] - p.hr) / 5
	p.spo2 += (p.goal[1] - p.spo2) / 5
	p.rr += (p.goal[2] - p.rr) / 5
	o := &vital.Observation{Relay: "r1", Sensor: p.sensor, Boot: p.boot, Seq: p.seq, Sequenced: true, At: d.now.Wall - int64(d.r.IntN(3000))*1000}
	p.seq++
	add := func(v vital.Vital, x float64) {
		o.Readings = append(o.Readings, vital.Reading{Vital: v, Value: float64(int(x)), At: o.At, Quality: 100})
	}
	if p.mode != 3 {
		add(vital.HeartRate, p.hr)
	}
	if p.mode != 4 {
		add(vital.SpO2, p.spo2)
	}
	add(vital.RespRate, p.rr)
	add(vital.Temperature, 37)
	o.Contact, o.Leads = vital.Good, true
	if p.mode == 2 {
		o.LeadsOff = vital.LeadRA
	}
	switch {
	case p.mode == 1 || d.away > 0:
		p.held = append(p.held, o)
	default:
		d.step(Input{Observation: o})
		p.sent = append(p.sent, o)
	}
	if n := len(p.sent); n > 0 && d.r.IntN(30) == 0 { // a repeat, of a while ago or of now
		d.step(Input{Observation: p.sent[max(0, n-1-d.r.IntN(600))]})
	}
	if n := len(p.held); p.mode != 1 && d.away == 0 && n > 0 { // back-fill, out of order
		i := d.r.IntN(n)
		d.step(Input{Observation: p.held[i]})
		p.held = slices.Delete(p.held, i, i+1)
	}
}

func (d *day) happen() {
	switch d.r.IntN(400) {
	case 0:
		off := d.r.IntN(3) == 0
		if off {
			d.away = 10 + d.r.IntN(100)
		}
		d.step(Input{Fact: &Fact{Name: "relay_offline", Relay: "r1", On: off}})
	case 1:
		d.step(Input{Fact: &Fact{Name: "link_lost", On: d.r.IntN(2) == 0}})
	case 2:
		d.step(Input{Disconnected: true})
	}
	if !d.w.conn.On && d.r.IntN(20) == 0 {
		d.step(Input{Connected: true})
	}
	if open := d.w.Alerts("7w", "1"); len(open) > 0 && d.r.IntN(15) == 0 {
		a := open[d.r.IntN(len(open))]
		e := alert.Event{Alert: a.ID, Author: alert.Board, N: a.N(alert.Board) + 1, At: d.now.Wall, By: "ann"}
		e.Type = []alert.Type{alert.Acknowledged, alert.Commented, alert.Resolved}[d.r.IntN(3)]
		if d.r.IntN(3) == 0 {
			e.Author, e.N, e.Type = alert.Gateway, 0, alert.Acknowledged
		}
		d.step(Input{Response: &e})
	}
}

func (w *Ward) allOpen() (out []alert.Alert) {
	for _, a := range w.alerts {
		out = append(out, *a)
	}
	slices.SortFunc(out, alert.Compare)
	return out
}

func asJSON(t *testing.T, x any) string {
	t.Helper()
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestARestartAnywhereChangesNothing plays a day straight through, with the
// broker lost and reached again at an instant; and cut there, with the state of an
// earlier checkpoint and the steps since replayed. Both put out the same.
func TestARestartAnywhereChangesNothing(t *testing.T) {
	raised := map[string]int{}
	for seed := range uint64(12) {
		d := &day{r: rand.New(rand.NewPCG(seed, 7)), now: Instant{Boot: 1, Mono: 9 * tick, Wall: start + 123456, Synchronised: true}}
		var err error
		if d.w, err = New(config(t)); err != nil {
			t.Fatal(err)
		}
		d.step(Input{Connected: true})
		patients := []*patient{{sensor: "s1", goal: [3]float64{70, 97, 16}}, {sensor: "s2", goal: [3]float64{70, 97, 16}}}
		const seconds = 3000
		checkAt, cutAt := 500+d.r.IntN(1000), 1500+d.r.IntN(1000)
		var checkStep, cutStep int
		var saved []byte
		for i := range seconds {
			switch i {
			case checkAt:
				saved, checkStep = d.w.Save(), len(d.steps)
			case cutAt:
				d.step(Input{Connected: true})
				cutStep, d.open = len(d.steps), d.w.allOpen()
				d.step(Input{Disconnected: true})
				d.step(Input{Fact: &Fact{Name: "link_lost"}}) // what the shell knows is told anew
				d.step(Input{Fact: &Fact{Name: "relay_offline", Relay: "r1"}})
				d.step(Input{Connected: true})
			}
			d.pass()
			for _, p := range patients {
				d.speak(p)
			}
			d.happen()
		}
		for _, list := range d.events {
			for _, e := range list {
				if e.Type == alert.Raised {
					raised[e.Condition.Rule]++
				}
			}
		}

		w, err := New(config(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Restore(saved, d.open); err != nil {
			t.Fatal(err)
		}
		if got := w.Alerts("7w", "1"); len(d.open) > 0 && len(got)+len(w.Alerts("7w", "2"))+len(w.Alerts("7w", "")) != len(d.open) {
			t.Errorf("seed %d: open before the replay: %d of %d", seed, len(got), len(d.open))
		}
		var out Output
		for i := checkStep; i < len(d.steps); i++ {
			in := d.steps[i].in
			in.Replay = i < cutStep
			if in.Disconnected && i == cutStep {
				in = Input{Tick: true} // a restart has lost the connection by itself
			}
			out.Reset()
			w.Step(d.steps[i].now, in, &out)
			if got, want := asJSON(t, out.Events), asJSON(t, d.events[i]); got != want && len(out.Events)+len(d.events[i]) > 0 {
				t.Fatalf("seed %d, step %d of %d (cut at %d):\ngot  %s\nwant %s", seed, i, len(d.steps), cutStep, got, want)
			}
			if !slices.Equal(out.Summaries, d.sums[i]) {
				t.Fatalf("seed %d, step %d (cut at %d): summaries\ngot  %+v\nwant %+v", seed, i, cutStep, out.Summaries, d.sums[i])
			}
		}
		if got, want := asJSON(t, w.Live()), asJSON(t, d.w.Live()); got != want {
			t.Errorf("seed %d: live at the end:\ngot  %s\nwant %s", seed, got, want)
		}
		if got, want := asJSON(t, w.allOpen()), asJSON(t, d.w.allOpen()); got != want {
			t.Errorf("seed %d: open at the end:\ngot  %s\nwant %s", seed, got, want)
		}
	}
	t.Logf("raised %v", raised)
	for _, rule := range []string{"hr-high", "hr-extreme-high", "spo2-low", "rr-high", "rr-low", "no-heart-rate", "lead-off", "sensor-silent", "cannot-monitor", "relay-offline", "link-lost"} {
		if raised[rule] == 0 {
			t.Errorf("no day had a %s: the test does not try what it should", rule)
		}
	}
}

// TestOpenAlertsAreLoadedAndNotDerivedAgain restarts with frames alone to replay,
// as the shell does: what people did meanwhile and what ticks raised is in the
// alerts that are loaded.
func TestOpenAlertsAreLoadedAndNotDerivedAgain(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both(well))
	saved := s.w.Save()
	s.seconds(20, both(tachy))
	s.step(Input{Response: &alert.Event{Alert: s.events[0].Alert, Author: alert.Board, N: 1, Type: alert.Acknowledged, At: s.now.Wall, By: "ann"}})
	s.seconds(20, map[string]string{"s2": well}) // s1 falls silent
	s.expect("37s raised hr-high", "62s raised sensor-silent")
	open := s.w.allOpen()

	for _, checkpoint := range [][]byte{saved, nil, []byte("damaged")} {
		w, err := New(config(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Restore(checkpoint, open); (err != nil) != (string(checkpoint) == "damaged") {
			t.Fatal(err)
		}
		again := &script{t: t, w: w, seq: map[string]uint32{"s1": 1000, "s2": 1000}, counts: map[string]uint64{}, now: s.now}
		again.now.Mono += 600 * tick
		again.now.Wall += 600 * tick
		again.step(Input{Tick: true})
		if got, want := asJSON(t, w.allOpen()), asJSON(t, open); got != want {
			t.Errorf("open after the restart:\ngot  %s\nwant %s", got, want)
		}
		again.seconds(300, nil) // down time and no broker end nothing, and make no sensor silent
		for _, e := range again.events {
			if e.Type != alert.Raised || e.Condition.Rule != "broker-lost" {
				t.Errorf("after the restart: %s %+v", e.Type, e.Condition)
			}
		}
		again.step(Input{Connected: true})
		again.events = nil
		again.seconds(30, both(well))
		var ended []string
		for _, e := range again.events {
			if e.Type != alert.Ended {
				t.Errorf("after the broker was reached: %+v", e)
			}
			for _, a := range open {
				if a.ID == e.Alert {
					ended = append(ended, a.Condition.Rule)
				}
			}
		}
		if slices.Sort(ended); fmt.Sprint(ended) != "[hr-high sensor-silent]" {
			t.Errorf("ended %v", ended)
		}
	}
}

func TestAnAlertOfABindingThatIsNoMoreEnds(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both("hr=170 contact"))
	open, saved := s.w.allOpen(), s.w.Save()
	c := config(t)
	c.Wards[0].Beds[0].Patient = "p9"
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(saved, open); err != nil {
		t.Fatal(err)
	}
	var out Output
	w.Step(s.now, Input{Tick: true}, &out)
	if len(out.Events) != 2 || out.Events[0].Type != alert.Ended || out.Events[1].Type != alert.Resolved || len(w.allOpen()) != 0 {
		t.Errorf("events %+v, open %v", out.Events, w.allOpen())
	}
}

func TestSeqsAreKnownAcrossOrderBootsAndACheckpoint(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x repeats
	known := map[[2]uint32]bool{}
	for i := range 50_000 {
		boot, seq := uint32(r.IntN(3)), uint32(max(0, 5000+i/2-r.IntN(4000)))
		if got, want := x.sequenced(boot, seq), known[[2]uint32{boot, seq}]; got != want {
			t.Fatalf("boot %d seq %d: repeat %v, want %v", boot, seq, got, want)
		}
		known[[2]uint32{boot, seq}] = true
		if i%9973 == 0 {
			var y repeats
			y.load(x.save(hashesKept))
			x = y
		}
	}
}
