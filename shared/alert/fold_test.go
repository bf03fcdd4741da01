package alert

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const at = int64(1_780_000_000_000_000)

var id = Identify("gw-7w", Subject{Kind: "binding", ID: "7w/12/p1/x"}, "hr-high", at)

func condition(p Priority) *Condition {
	return &Condition{Gateway: "gw-7w", Ward: "7w", Bed: "12", Rule: "hr-high", Kind: Physiological, Priority: p, Onset: at}
}

// history makes up one author's events of an alert, in its order.
func history(r *rand.Rand, w Author) (out []Event) {
	n := uint32(0)
	add := func(e Event) {
		n += 1 + uint32(r.IntN(2)) // holes are allowed
		e.Alert, e.Author, e.N, e.At = id, w, n, at+int64(n)*1e6
		out = append(out, e)
	}
	if w == Gateway {
		add(Event{Type: Raised, Condition: condition(Medium)})
	}
	acts := []Type{Acknowledged, AckExpired, Silenced, Unsilenced, Accepted, Rejected, PassedOn, Escalated, Commented}
	for range r.IntN(12) {
		e := Event{Type: acts[r.IntN(len(acts))], By: "ann", Text: "t", Step: 1 + r.IntN(3), Until: at + int64(r.IntN(40))*1e6}
		if w == Gateway && r.IntN(4) == 0 {
			e = Event{Type: Updated, Condition: condition(Priority(1 + r.IntN(3)))}
		}
		add(e)
	}
	if w == Gateway && r.IntN(2) == 0 {
		add(Event{Type: Ended, Text: "over"})
	}
	if r.IntN(3) == 0 {
		add(Event{Type: Resolved, By: "ann"})
	}
	return out
}

func fold(t *testing.T, events []Event) (a Alert) {
	t.Helper()
	for _, e := range events {
		before := a
		comments := slices.Clone(a.Comments)
		var err error
		if a, err = Apply(a, e); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(before.Comments, comments) {
			t.Fatal("Apply wrote to the old value")
		}
	}
	return a
}

// interleave joins two authors' events, each in its own order, and repeats some
// of what came before.
func interleave(r *rand.Rand, x, y []Event) (out []Event) {
	for len(x)+len(y) > 0 {
		switch {
		case len(out) > 0 && r.IntN(3) == 0:
			out = append(out, out[r.IntN(len(out))])
		case len(y) == 0 || len(x) > 0 && r.IntN(2) == 0:
			out, x = append(out, x[0]), x[1:]
		default:
			out, y = append(out, y[0]), y[1:]
		}
	}
	return out
}

func TestAnyOrderAcrossAuthorsAndAnyRepetitionGiveTheSameAlert(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		gateway, board := history(r, Gateway), history(r, Board)
		want := fold(t, slices.Concat(gateway, board))
		for range 20 {
			events := interleave(r, gateway, board)
			if got := fold(t, events); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d:\ngot  %+v\nwant %+v", seed, got, want)
			}
		}
	}
}

func TestARepeatedEventChangesNothing(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 10))
		events := interleave(r, history(r, Gateway), history(r, Board))
		a := fold(t, events)
		for _, e := range events {
			if b, _ := Apply(a, e); !reflect.DeepEqual(a, b) {
				t.Fatalf("%s again changed %+v to %+v", e.Type, a, b)
			}
		}
	}
}

func TestAnEventThatCannotBeFoldedIsRefusedAndChangesNothing(t *testing.T) {
	good := Event{Alert: id, Author: Gateway, N: 1, Type: Raised, At: at, Condition: condition(High)}
	for name, spoil := range map[string]func(*Event){
		"short id": func(e *Event) { e.Alert = "x" }, "no author": func(e *Event) { e.Author = "" }, "no number": func(e *Event) { e.N = 0 },
		"no time": func(e *Event) { e.At = 0 }, "no condition": func(e *Event) { e.Condition = nil },
		"no priority": func(e *Event) { e.Condition = condition(0) }, "unknown type": func(e *Event) { e.Type = "shouted" },
	} {
		e := good
		spoil(&e)
		if a, err := Apply(Alert{}, e); err == nil || !reflect.DeepEqual(a, Alert{}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestAnAlertIsOpenUntilItsConditionEndsOrALatchedOneIsResolved(t *testing.T) {
	event := func(n uint32, w Author, kind Type) Event {
		return Event{Alert: id, Author: w, N: n, Type: kind, At: at + int64(n), By: "ann"}
	}
	raised := event(1, Gateway, Raised)
	for _, latch := range []bool{false, true} {
		raised.Condition = condition(High)
		raised.Condition.Latch = latch
		for _, c := range []struct {
			events []Event
			phase  Phase
			open   bool
		}{
			{[]Event{event(1, Board, Commented)}, Unknown, false},
			{[]Event{raised}, Active, true},
			{[]Event{raised, event(1, Board, Acknowledged)}, Active, true},
			{[]Event{raised, event(2, Gateway, Ended)}, map[bool]Phase{false: Over, true: Latched}[latch], latch},
			{[]Event{raised, event(2, Gateway, Ended), event(1, Board, Resolved)}, map[bool]Phase{false: Over, true: Latched}[latch], false},
		} {
			if a := fold(t, c.events); a.Phase != c.phase || a.Open() != c.open {
				t.Errorf("latch %v, %d events: phase %q open %v, want %q %v", latch, len(c.events), a.Phase, a.Open(), c.phase, c.open)
			}
		}
	}
}

func TestAnAcknowledgementHoldsUntilItsEndTheConditionsEndOrAWorsePriority(t *testing.T) {
	raised := Event{Alert: id, Author: Gateway, N: 1, Type: Raised, At: at, Condition: condition(Medium)}
	ack := Event{Alert: id, Author: Board, N: 1, Type: Acknowledged, At: at + 1, Until: at + 100, Priority: Medium, By: "ann"}
	a := fold(t, []Event{raised, ack})
	for now, want := range map[int64]bool{at + 50: true, at + 99: true, at + 100: false} {
		if _, ok := a.Ack(now); ok != want {
			t.Errorf("at %d: acknowledged %v, want %v", now-at, ok, want)
		}
	}
	more := func(n uint32, w Author, kind Type, when int64, p Priority) Event {
		e := Event{Alert: id, Author: w, N: n, Type: kind, At: at + when, Priority: p, By: "bob"}
		if kind == Updated {
			e.Condition = condition(p)
		}
		return e
	}
	for name, c := range map[string]struct {
		then Event
		want bool
	}{
		"a worse priority sounds through":     {more(2, Gateway, Updated, 10, High), false},
		"a milder one does not":               {more(2, Gateway, Updated, 10, Low), true},
		"the condition's end ends it":         {more(2, Gateway, Ended, 10, 0), false},
		"a withdrawal ends it":                {more(2, Board, AckExpired, 10, 0), false},
		"an earlier withdrawal does not":      {more(2, Gateway, AckExpired, 0, 0), true},
		"the ward's later one takes over":     {more(2, Gateway, Acknowledged, 10, Medium), true},
		"a comment has nothing to do with it": {more(2, Board, Commented, 10, 0), true},
	} {
		b, err := Apply(a, c.then)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := b.Ack(at + 50); ok != c.want {
			t.Errorf("%s: acknowledged %v, want %v", name, ok, c.want)
		}
	}
}

func TestIdentityTellsEveryPartApart(t *testing.T) {
	seen := map[ID]bool{}
	for _, x := range []ID{
		Identify("g", Subject{"binding", "a"}, "r", 1), Identify("g", Subject{"binding", "a"}, "r", 2), Identify("g", Subject{"binding", "a"}, "s", 1),
		Identify("g", Subject{"sensor", "a"}, "r", 1), Identify("h", Subject{"binding", "a"}, "r", 1), Identify("gb", Subject{"inding", "a"}, "r", 1),
	} {
		if len(x) != 32 || seen[x] {
			t.Errorf("%q is no identity of its own", x)
		}
		seen[x] = true
	}
	again := Identify("g", Subject{"binding", "a"}, "r", 1)
	if !seen[again] {
		t.Error("the same parts have two identities")
	}
}

func TestAnEventsJSONIsAsItIsOnDisksAndTheLink(t *testing.T) {
	events := []Event{
		{Alert: id, Author: Gateway, N: 1, Type: Raised, At: at + 6e6, Condition: &Condition{
			Gateway: "gw-7w", Ward: "7w", Bed: "12", Subject: Subject{"binding", "7w/12/s001/p-0042"}, Sensor: "s001", Patient: "p-0042",
			Rule: "hr-high", Pack: "adult-ward", PackVersion: 1, Family: "heart-rate-high", Code: "MDC_EVT_HI/MDC_ECG_HEART_RATE",
			Kind: Physiological, Priority: Medium, Text: "Heart rate 156 above 120 /min for 6s", Onset: at, Latch: true,
			Evidence: []Evidence{{"hr", 156, "/min", at + 6e6}, {"limit.hr.high", 120, "/min", 0}},
			Previous: Identify("gw-7w", Subject{"binding", "7w/12/s001/p-0042"}, "hr-high", at-1e9),
		}},
		{Alert: id, Author: Board, N: 1, Type: Acknowledged, At: at + 20e6, By: "ann", Via: "page", Until: at + 620e6, Priority: Medium},
		{Alert: id, Author: Gateway, N: 2, Type: Ended, At: at + 60e6, Late: true, Text: "over"},
		{Alert: id, Author: Board, N: 2, Type: PassedOn, At: at + 70e6, By: "ann", To: "bob", Text: "off duty", Step: 2},
	}
	got, err := json.MarshalIndent(events, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const file = "testdata/events.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var back []Event
	if err := json.Unmarshal(want, &back); err != nil || !reflect.DeepEqual(back, events) {
		t.Errorf("read back as %+v, %v", back, err)
	}
}

func TestAlertsAreOrderedForAPerson(t *testing.T) {
	mk := func(p Priority, k Kind, onset int64) Alert {
		return Alert{Condition: Condition{Priority: p, Kind: k, Onset: onset}}
	}
	want := []Alert{mk(High, Physiological, 5), mk(High, Technical, 1), mk(Medium, Physiological, 1), mk(Medium, Physiological, 2), mk(Low, Physiological, 0)}
	got := slices.Clone(want)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	slices.SortFunc(got, Compare)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
