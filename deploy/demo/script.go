package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"wardline/agent"
	"wardline/firmware-protocol/virtual"
)

// beds are those of the two wards, in the order of their sensors.
var beds = []struct{ ward, bed string }{
	{"7e", "1"}, {"7e", "2"}, {"7e", "3"}, {"7e", "4"}, {"7e", "5"}, {"7e", "6"},
	{"7w", "7"}, {"7w", "8"}, {"7w", "9"}, {"7w", "10"}, {"7w", "11"}, {"7w", "12"},
}

func sensorOf(i int) string { return fmt.Sprintf("P%04d", i+1) }

func sensors() []string {
	var out []string
	for i := range beds {
		out = append(out, sensorOf(i))
	}
	return out
}

func wards() []agent.Ward {
	east, west := agent.Ward{ID: "7e", Name: "Ward 7 East"}, agent.Ward{ID: "7w", Name: "Ward 7 West"}
	for i, b := range beds {
		bed := agent.Bed{Bed: b.bed, Sensor: sensorOf(i), Patient: fmt.Sprintf("demo-%02d", i+1)}
		if b.ward == west.ID {
			west.Beds = append(west.Beds, bed)
		} else {
			east.Beds = append(east.Beds, bed)
		}
	}
	return []agent.Ward{east, west}
}

// A scene is one thing that happens, again in every round.
type scene struct {
	at, lasts time.Duration // from the round's start
	kind      virtual.EpisodeKind
	bed       int // index into beds; -1: it is the link
	says      string
}

// A round is what happens before it all begins again.
const round = 6 * time.Minute

var scenes = []scene{
	{20 * time.Second, 75 * time.Second, virtual.Tachycardia, 2, "tachycardia"},
	{50 * time.Second, 70 * time.Second, virtual.Desaturation, 7, "desaturation"},
	{80 * time.Second, 50 * time.Second, virtual.LeadOff, 4, "an electrode comes off"},
	{140 * time.Second, time.Minute, "", -1, "the link to the cloud is cut; the gateway goes on by itself"},
	{155 * time.Second, 90 * time.Second, virtual.Apnoea, 9, "apnoea, while the link is cut"},
	{250 * time.Second, 30 * time.Second, virtual.Asystole, 1, "asystole"},
	{300 * time.Second, 30 * time.Second, virtual.Silent, 10, "a patch falls silent, and sends afterwards what it kept"},
}

// rounds is how often the script is written down: more than a day of it.
const rounds = 300

func episodes() []virtual.Episode {
	var out []virtual.Episode
	for r := range rounds {
		for _, s := range scenes {
			if s.bed >= 0 {
				out = append(out, virtual.Episode{Sensor: s.bed + 1, Kind: s.kind, After: time.Duration(r)*round + s.at, For: s.lasts})
			}
		}
	}
	return out
}

// run cuts the link when the script says so, until ctx ends.
func (w *wire) run(ctx context.Context, out io.Writer) error {
	began := time.Now()
	for r := range rounds {
		for _, s := range scenes {
			if s.bed >= 0 {
				continue
			}
			at := began.Add(time.Duration(r)*round + s.at)
			if !until(ctx, at) {
				return nil
			}
			w.cut(true)
			fmt.Fprintf(out, "%s  the link is cut\n", time.Now().Format("15:04:05"))
			if !until(ctx, at.Add(s.lasts)) {
				return nil
			}
			w.cut(false)
			fmt.Fprintf(out, "%s  the link is restored\n", time.Now().Format("15:04:05"))
		}
	}
	return nil
}

func until(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
