package alert

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestWhatIsToldAgainGivesTheSameAlertWhateverWasHeardBefore(t *testing.T) {
	told := 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 11))
		events := history(r, Gateway)
		for i := range events {
			if c := events[i].Condition; c != nil {
				c.Latch = true
			}
		}
		whole := fold(t, events)
		if !whole.Open() {
			continue
		}
		told++
		again := whole.Retell()
		update := Event{Alert: id, Author: Gateway, N: whole.Ward.N + 1, Type: Updated, At: at + 1e9, Condition: &whole.Condition}
		want := plain(fold(t, append(events[:len(events):len(events)], update)))
		for heard := range len(events) + 1 {
			got := fold(t, events[:heard])
			if heard == len(events) {
				for _, e := range again {
					if x, err := Apply(got, e); err != nil || !reflect.DeepEqual(x, got) {
						t.Fatalf("seed %d: %s again changed what was known whole: %v", seed, e.Type, err)
					}
				}
			}
			for _, e := range append(again[:len(again):len(again)], update) {
				var err error
				if got, err = Apply(got, e); err != nil {
					t.Fatal(err)
				}
			}
			if got := plain(got); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, %d of %d heard:\ngot  %+v\nwant %+v", seed, heard, len(events), got, want)
			}
		}
	}
	if told < 100 {
		t.Errorf("only %d histories were told again", told)
	}
}

// plain is an alert without what is not told again.
func plain(a Alert) Alert {
	a.Comments, a.Worst, a.Ward.Step = nil, 0, 0
	return a
}
