package ward

import (
	"fmt"
	"testing"

	"wardline/shared/vital"
)

// thousand is a ward of 1,000 sensors, each heard for a while, and what they say.
func thousand(b testing.TB) (*Ward, Instant, []vital.Observation) {
	c := Config{Gateway: "gw", Packs: packs(b), Wards: []WardConfig{{ID: "w"}}}
	list := make([]vital.Observation, 1000)
	for i := range list {
		id := fmt.Sprintf("sensor-%04d", i)
		c.Wards[0].Beds = append(c.Wards[0].Beds, Binding{Bed: fmt.Sprint(i), Sensor: id})
		list[i] = vital.Observation{Relay: fmt.Sprint("relay-", i/20), Sensor: id, Boot: 1, Sequenced: true, Contact: vital.Good, Leads: true, Readings: make([]vital.Reading, 4)}
	}
	w, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	now := Instant{Boot: 1, Mono: 1, Wall: start, Synchronised: true}
	w.Step(now, Input{Connected: true}, &Output{})
	return w, now, list
}

// say lets sensor i say well vitals that change a little from second to second.
func say(o *vital.Observation, now Instant) {
	k := float64(now.Wall / tick % 7)
	o.Seq++
	o.At = now.Wall - 200_000
	for j, x := range [...]float64{72 + k, 97, 16, 36.8} {
		o.Readings[j] = vital.Reading{Vital: vital.Vital(j + 1), Quality: 100, At: o.At, Value: x}
	}
}

// BenchmarkStep is a message of four vitals of one of 1,000 sensors that send
// once a second, with both packs, ticks included.
func BenchmarkStep(b *testing.B) {
	w, now, list := thousand(b)
	var out Output
	i := 0
	one := func() {
		now.Mono += tick / 1000
		now.Wall += tick / 1000
		say(&list[i], now)
		w.Step(now, Input{Observation: &list[i]}, &out)
		if i = (i + 1) % 1000; i == 0 {
			if len(out.Events) > 0 || len(out.Counts) > 0 {
				b.Fatal(out.Events, out.Counts)
			}
			out.Reset()
		}
	}
	for range 700_000 { // the windows of ten minutes are full
		one()
	}
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}

func BenchmarkSave(b *testing.B) {
	w, now, list := thousand(b)
	var out Output
	for range 100_000 {
		i := int(now.Mono / 1000 % 1000)
		now.Mono += 1000
		now.Wall += 1000
		say(&list[i], now)
		w.Step(now, Input{Observation: &list[i]}, &out)
	}
	size := 0
	for b.Loop() {
		size = len(w.Save())
	}
	b.ReportMetric(float64(size)/1000, "bytes/bed")
}

func TestAMessageCostsNoMemoryWhileNothingHappens(t *testing.T) {
	w, now, list := thousand(t)
	var out Output
	round := func() {
		out.Reset()
		for i := range list {
			now.Mono += tick / 1000
			now.Wall += tick / 1000
			say(&list[i], now)
			w.Step(now, Input{Observation: &list[i]}, &out)
		}
	}
	for range 700 {
		round()
	}
	if n := testing.AllocsPerRun(20, round); n > 0 {
		t.Errorf("%v allocations in a round of 1,000 messages", n)
	}
}
