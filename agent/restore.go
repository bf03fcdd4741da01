package agent

import (
	"encoding/json"
	"fmt"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
)

// restore brings the ward back to where the last commit left it: checkpoint,
// then the frames after it with the instants at which they were decided, then
// the open episodes as they were committed.
func (a *agent) restore() error {
	l := a.loop
	state, at, episodes, err := a.disk.box.Load().Load()
	if err != nil {
		return fmt.Errorf("read what was kept: %w", err)
	}
	var open []alert.Alert
	for _, text := range episodes {
		var x alert.Alert
		if err := json.Unmarshal(text, &x); err != nil {
			return fmt.Errorf("read an open episode: %w", err)
		}
		open = append(open, x)
		b := ward.BedKey{Ward: x.Condition.Ward, Bed: x.Condition.Bed}
		if l.kept[b] == nil {
			l.kept[b] = map[alert.ID]bool{}
		}
		l.kept[b][x.ID] = true
	}
	l.tell.introduce(open)
	if err := l.ward.Restore(state, open); err != nil {
		// Our own state cannot be read: go on without it rather than not at all.
		l.log.Error("the checkpoint cannot be used: windows begin anew", "error", err)
		a.facts.set("storage_damaged", true, "the checkpoint could not be read")
		if err := l.ward.Restore(nil, open); err != nil {
			return fmt.Errorf("take up the open episodes: %w", err)
		}
	}
	n := 0
	for batch, err := range a.disk.box.Load().Frames(at) {
		if err != nil {
			return fmt.Errorf("replay frames: %w", err)
		}
		for _, f := range batch.Frames {
			now := ward.Instant{Boot: batch.Boot, Mono: batch.Mono + f.Received - batch.Wall, Wall: f.Received, Synchronised: batch.Synchronised}
			l.replay(now, &intake.Message{Topic: f.Topic, Payload: f.Payload, Received: f.Received})
			n++
		}
	}
	if box := a.disk.box.Load(); box.Quarantined != "" {
		l.log.Error("the outbox was damaged: a fresh one is begun", "damage", box.Damage, "aside", box.Quarantined)
		a.facts.set("storage_damaged", true, box.Quarantined)
	}
	l.log.Info("restored", "frames_replayed", n, "open_alerts", len(open))
	// Every bed is shown again: what an earlier life left retained is not true now.
	now := a.cfg.Clock()
	all := map[ward.BedKey]struct{}{}
	for _, b := range l.cfg.places() {
		all[b] = struct{}{}
	}
	l.tell.beds(all, l.ward, now, true)
	return nil
}

// replay steps a kept frame again. What came of it was kept then.
func (l *loop) replay(now ward.Instant, m *intake.Message) {
	l.in.Decoder().Decode(m, now.Wall)
	if m.Reason != "" || m.Class != intake.Sensor {
		return
	}
	m.Obs.Received = now.Wall
	l.out.Reset()
	l.ward.Step(now, ward.Input{Observation: &m.Obs, Replay: true}, &l.out)
}
