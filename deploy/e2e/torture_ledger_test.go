//go:build system

package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A tally is what the cloud has against what the ledger says it must have.
type tally struct {
	expected, found, lost, twice   int
	invented, falselyEnded, tooOld int  // no patient was so; ended while it goes on; open after its end
	unfolded                       int  // events that do not make an episode
	apart                          int  // what is open, or taken by somebody, here and not there
	unanswered                     int  // acknowledgements that do not hold, came twice or are not at the gateway
	back                           bool // the cloud was put back to a backup, and lost what people did since
	wrong                          []string
}

func (y *tally) add(n *int, format string, a ...any) {
	*n++
	y.wrong = append(y.wrong, fmt.Sprintf(format, a...))
}

func (y *tally) err() error {
	if len(y.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d things are wrong:\n%s", len(y.wrong), strings.Join(y.wrong[:min(len(y.wrong), 20)], "\n"))
}

// reckon holds what the cloud has against the ledger. Every patient's present
// state has lasted for long enough to be known to the gateway.
func reckon(nurse *nurseOnDuty, wards []*tortured, folded map[string]bool, names map[string]string, back bool) *tally {
	y := &tally{back: back}
	by := map[string][]cloudAlert{} // ward, bed and text
	for _, a := range nurse.alerts("all") {
		if a.Rule == "torture" {
			if names[a.ID] == "" {
				names[a.ID] = firstText(nurse.alert(a.ID).Events)
			}
			key := a.Ward + "/" + a.Bed + " " + names[a.ID]
			by[key] = append(by[key], a)
		}
	}
	for _, x := range wards {
		x.relay.mu.Lock()
		for _, p := range x.relay.patients {
			var all []cloudAlert
			for i, e := range p.was {
				key := x.ward + "/" + e.bed + " " + e.text
				lasts := i == len(p.was)-1 && p.ill
				all = append(all, by[key]...)
				y.episode(key, e, lasts, p.ill && p.was[len(p.was)-1].forgot, by[key])
				delete(by, key)
				if lasts && e.forgot {
					y.standIn(key, all)
				}
			}
		}
		x.relay.mu.Unlock()
	}
	for key, all := range by {
		y.add(&y.invented, "%s: no patient was so, and there are %d alerts", key, len(all))
	}
	y.fold(nurse.client, folded)
	did := nurse.answered()
	open := nurse.alerts("open")
	y.held(nurse.client, did, open)
	for _, x := range wards {
		y.agree(x, open)
	}
	if len(y.wrong) == 0 {
		nurse.over(did)
	}
	return y
}

// firstText is what was said when the alert was raised: a gateway whose disk went
// back goes on with an alert for what is true now, and updates its text.
func firstText(events []cloudEvent) (text string) {
	first := ^uint32(0)
	for _, e := range events {
		if e.Type == "raised" && e.Author == "gateway" && e.N < first && e.Condition != nil {
			first, text = e.N, e.Condition.Text
		}
	}
	return text
}

// standIn is for a patient who is ill since before the gateway's disk went back. Was
// an earlier alert open on it, then that one goes on for the condition that is true
// now: exactly one has to be open, whichever it is.
func (y *tally) standIn(key string, bed []cloudAlert) {
	n := 0
	for _, a := range bed {
		if a.Open {
			n++
		}
	}
	if n != 1 {
		y.add(&y.falselyEnded, "%s: it lasts, and %d alerts are open for it: %+v", key, n, bed)
	}
}

// episode holds one against its alerts; anyOpen: which of the bed's is open is for
// standIn to say.
func (y *tally) episode(key string, e *episode, lasts, anyOpen bool, all []cloudAlert) {
	y.expected++
	open := slices.ContainsFunc(all, func(a cloudAlert) bool { return a.Open })
	most := 1
	if e.forgot {
		most = 2 // the one that was forgotten, and the one that began anew
	}
	switch {
	case len(all) == 0:
		y.add(&y.lost, "%s: no alert (forgot %v)", key, e.forgot)
		return
	case len(all) > most:
		y.add(&y.twice, "%s: %d alerts: %+v", key, len(all), all)
	case anyOpen:
	case lasts && !open:
		y.add(&y.falselyEnded, "%s: it lasts, and its alert ended: %+v", key, all)
	case !lasts && open:
		y.add(&y.tooOld, "%s: it is over, and its alert is open: %+v", key, all)
	}
	y.found++
}

// agree holds what is open at the gateway against what is open in the cloud.
func (y *tally) agree(x *tortured, cloud []cloudAlert) {
	s, err := x.state()
	if err != nil {
		y.add(&y.apart, "%s: %v", x.ward, err)
		return
	}
	by := map[string]string{}
	here := map[string]bool{}
	for _, a := range s.Alerts {
		if a.Rule == "torture" {
			here[a.ID], by[a.ID] = true, a.AcknowledgedBy
		}
	}
	for _, a := range cloud {
		if a.Ward != x.ward || a.Rule != "torture" {
			continue
		}
		who := ""
		if a.Ack != nil {
			who = a.Ack.By
		}
		if !here[a.ID] || by[a.ID] != who && (who != "" || !y.back) {
			y.add(&y.apart, "alert %s of %s/%s: open at the gateway %v, acknowledged there by %q, in the cloud by %q", a.ID, a.Ward, a.Bed, here[a.ID], by[a.ID], who)
		}
		delete(here, a.ID)
	}
	for id := range here {
		y.add(&y.apart, "alert %s of %s is open at the gateway alone", id, x.ward)
	}
}

// fold looks at the events of every ended alert, of whatever rule, once.
func (y *tally) fold(nurse *client, folded map[string]bool) {
	for _, a := range nurse.alerts("ended") {
		if !folded[a.ID] {
			folded[a.ID] = y.whole(a, nurse.alert(a.ID).Events)
		}
	}
}

// whole says whether the events make an episode: the gateway's numbers without a
// hole, first that it was raised, at most once that it ended, and at most one end
// by the board, for what a gateway lost. A gateway whose disk went back to when
// the alert was open begins so anew, under a number beyond what it may have said
// before. The cloud's own alerts
// are the board's.
func (y *tally) whole(a cloudAlert, events []cloudEvent) bool {
	var own []cloudEvent
	ended, byBoard, author := 0, 0, "gateway"
	if a.Gateway == "cloud" {
		author = "board"
	}
	for _, e := range events {
		if e.Author == author {
			own = append(own, e)
		} else if e.Type == "ended" {
			byBoard++
		}
	}
	slices.SortFunc(own, func(a, b cloudEvent) int { return cmp.Compare(a.N, b.N) })
	whole := byBoard <= 1 && len(own) > 0
	last := uint32(0)
	for i, e := range own {
		begins := e.Type == "raised"
		if begins {
			ended = 0
		}
		if e.Type == "ended" {
			ended++
		}
		whole = whole && ended <= 1 && (e.N == last+1 && begins == (i == 0) || i > 0 && begins && e.N > last+1)
		last = e.N
	}
	if !whole {
		y.add(&y.unfolded, "alert %s (%s of %s/%s) has the events %v", a.ID, a.Rule, a.Ward, a.Bed, events)
	}
	return whole
}
