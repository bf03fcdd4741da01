package rule

import (
	"testing"

	"wardline/shared/alert"
)

func TestTheBuiltinPacksPassTheirOwnCases(t *testing.T) {
	var all []*Pack
	for _, name := range Builtins() {
		p, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Rules {
			raised, ended := false, false
			for _, c := range r.Cases {
				for _, e := range c.Expect {
					raised, ended = raised || e.Kind == Raised, ended || e.Kind == Ended
				}
			}
			if !raised || !ended {
				t.Errorf("%s: the cases of rule %s try neither how it is raised nor how it ends, or only one", name, r.ID)
			}
			if p.Kind == alert.Physiological && r.Code == "" {
				t.Errorf("%s: rule %s has no code", name, r.ID)
			}
		}
		all = append(all, p)
	}
	if err := Test(all...); err != nil {
		t.Error(err)
	}
}

func TestADurationIsSpeltForAClinician(t *testing.T) {
	for d, want := range map[int64]string{6 * second: "6 s", 300 * second: "5 min", 90 * second: "1 min 30 s", second / 2: "0.5 s"} {
		if got := Lasting(d); got != want {
			t.Errorf("%d µs is %q, want %q", d, got, want)
		}
	}
}
