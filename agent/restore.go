package agent

import (
	"encoding/json"
	"fmt"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
)

// restore brings the ward back to where the last commit left it: checkpoint,
// then the frames after it with the instants at which they were decided, then
// the open episodes as they were committed. What of these cannot be read is left
// out, aloud: the ward is watched all the same.
func (a *agent) restore() error {
	l := a.loop
	state, at, open := a.load()
	l.tell.introduce(open)
	if err := l.ward.Restore(state, open); err != nil {
		a.unreadable("the checkpoint", err)
		if err := l.ward.Restore(nil, open); err != nil {
			return fmt.Errorf("take up the open episodes: %w", err)
		}
	}
	n := a.replayAfter(at)
	if aside, why := a.disk.damage(); aside != "" {
		l.log.Error("the outbox was damaged: a fresh one is begun", "damage", why, "aside", aside)
		a.facts.set("storage_damaged", true, aside)
	}
	if a.disk.gone {
		l.log.Error("the outbox is gone: a fresh one is begun")
		a.facts.set("storage_damaged", true, "the outbox was gone")
	}
	if len(a.untold) > 0 {
		l.tellAgain(a.cfg.Clock(), a.untold, 0)
	}
	l.log.Info("restored", "frames_replayed", n, "open_alerts", len(open))
	// Every bed is shown again: what an earlier life left retained is not true now.
	all := map[ward.BedKey]struct{}{}
	for _, b := range l.cfg.places() {
		all[b] = struct{}{}
	}
	l.show(all, a.cfg.Clock())
	return nil
}

// unreadable says that a part of what was kept is left out.
func (a *agent) unreadable(what string, err error) {
	a.loop.log.Error("what was kept cannot be read and is left out", "what", what, "error", err)
	a.facts.set("storage_damaged", true, what+" could not be read")
}

// load reads the checkpoint, its place, and the open episodes. An outbox that
// cannot tell them is put aside for a fresh one.
func (a *agent) load() (state []byte, at outbox.Position, open []alert.Alert) {
	if err := a.disk.lacks; err != nil {
		a.loop.log.Error("the outbox cannot be opened: nothing is kept until it can", "error", err)
		return nil, 0, nil
	}
	box := a.disk.box.Load()
	state, at, episodes, err := box.Load()
	if err != nil {
		a.unreadable("the outbox", box.Condemn(err))
		if _, err := a.disk.reopen(); err != nil {
			a.loop.log.Error("no fresh outbox can be begun as yet", "error", err) // the first commit tries again
		}
		return nil, 0, nil
	}
	l := a.loop
	a.untold = map[alert.ID]bool{}
	for _, e := range episodes {
		var x alert.Alert
		if err := json.Unmarshal(e.State, &x); err != nil {
			a.unreadable("open alert "+e.ID, err)
			u := l.unit(a.cfg.Clock())
			u.commit.Episodes = append(u.commit.Episodes, outbox.Episode{ID: e.ID})
			continue
		}
		open = append(open, x)
		if e.Untold {
			a.untold[x.ID] = true
		}
		b := ward.BedKey{Ward: x.Condition.Ward, Bed: x.Condition.Bed}
		if l.kept[b] == nil {
			l.kept[b] = map[alert.ID]bool{}
		}
		l.kept[b][x.ID] = true
	}
	return state, at, open
}

// replayAfter steps the frames that were kept after a place, and counts them.
func (a *agent) replayAfter(at outbox.Position) (n int) {
	if a.disk.lacks != nil {
		return 0
	}
	for batch, err := range a.disk.box.Load().Frames(at) {
		if err != nil {
			a.unreadable("kept frames", err)
			continue
		}
		for _, f := range batch.Frames {
			now := ward.Instant{Boot: batch.Boot, Mono: batch.Mono + f.Received - batch.Wall, Wall: f.Received, Synchronised: batch.Synchronised}
			a.loop.replay(now, &intake.Message{Topic: f.Topic, Payload: f.Payload, Received: f.Received})
			n++
		}
	}
	return n
}

// replay steps a kept frame again. What came of it was kept then.
func (l *loop) replay(now ward.Instant, m *intake.Message) {
	if l.stepped(now) {
		l.ward.Step(now, ward.Input{Replay: true}, &l.out)
	}
	l.in.Decoder().Decode(m, now.Wall, now.Synchronised && !l.ward.Doubts())
	if m.Reason != "" || m.Class != intake.Sensor {
		return
	}
	m.Obs.Received = now.Wall
	l.out.Reset()
	l.ward.Step(now, ward.Input{Observation: &m.Obs, Replay: true}, &l.out)
}
