package agent

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
	"wardline/shared/link"
)

// unit is one commit in the making, and what waits for it.
type unit struct {
	commit outbox.Commit
	began  int64 // Mono
	acks   []*intake.Message
	done   []func()
	beds   map[ward.BedKey]struct{}
	events []alert.Event
	urgent bool
	closed bool // it was given to the disk once: it must not change

	renewed bool // it is a fresh outbox's first commit, and was not tried yet
}

func (u *unit) event(e alert.Event) {
	u.add(link.Alerts, link.AlertEvent, e.At, must(json.Marshal(e)))
}

func (u *unit) add(lane link.Lane, kind link.Kind, observed int64, payload []byte) {
	u.commit.Records = append(u.commit.Records, outbox.Record{Lane: lane, Kind: kind, Observed: observed, Payload: payload})
}

// must is for encoding our own values, which cannot fail.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// runsWith says whether wall and monotonic time run at now as they did in u, and
// are believed alike.
func (u *unit) runsWith(now ward.Instant) bool {
	drift := (now.Wall - now.Mono) - (u.commit.Wall - u.commit.Mono)
	return now.Boot == u.commit.Boot && now.Synchronised == u.commit.Synchronised && drift < stepTolerance && drift > -stepTolerance
}

// part closes the open unit when the clock has stepped, while the ward still is
// as that unit leaves it.
func (l *loop) part(now ward.Instant) {
	if n := len(l.units); n > 0 && !l.units[n-1].closed && !l.units[n-1].runsWith(now) {
		l.close(l.units[n-1])
	}
}

// unit is the open one. Within one unit wall and monotonic time run alike, so
// that a replay finds each message's instant from the commit's.
func (l *loop) unit(now ward.Instant) *unit {
	l.part(now)
	if n := len(l.units); n > 0 && !l.units[n-1].closed {
		u := l.units[n-1]
		u.commit.Mono, u.commit.Wall, u.commit.Synchronised = now.Mono, now.Wall, now.Synchronised
		return u
	}
	u := &unit{began: now.Mono, beds: map[ward.BedKey]struct{}{}}
	u.commit.Boot, u.commit.Mono, u.commit.Wall, u.commit.Synchronised = now.Boot, now.Mono, now.Wall, now.Synchronised
	l.units = append(l.units, u)
	return u
}

// due says whether the oldest unit must be committed now.
func (l *loop) due(now int64) bool {
	if len(l.units) == 0 || now < l.retryAt {
		return false
	}
	u := l.units[0]
	return u.urgent || u.closed || len(l.units) > 1 || len(u.done) > 0 || len(u.acks) >= l.fullAt() || now-u.began >= linger.Microseconds()
}

// fullAt is how many unacknowledged messages make a unit full: fewer than the
// broker's in-flight window, or it would stop giving.
func (l *loop) fullAt() int { return max(1, min(batchMax, l.cfg.MQTT.Inflight*3/4)) }

func (l *loop) untilFlush() time.Duration {
	if len(l.units) == 0 || l.answer != nil {
		return time.Hour
	}
	at := max(l.units[0].began+linger.Microseconds(), l.retryAt)
	return max(0, time.Duration(at-l.cfg.Clock().Mono)*time.Microsecond)
}

// flush commits what is due, oldest first. A commit that fails stays, with all
// that came after it, and is tried again as it was; the ward is shown what they
// hold all the same, marked not yet durable. So it is while a commit takes long:
// the loop goes on, and hears of its end later.
func (l *loop) flush() {
	select {
	case err := <-l.answer:
		l.answered(err)
	default:
	}
	for l.answer == nil && l.due(l.cfg.Clock().Mono) {
		l.commit(l.units[0])
	}
	if len(l.untold) > 0 {
		l.show(l.untold, l.cfg.Clock())
		clear(l.untold)
	}
}

// commit gives a unit to the disk and waits for the answer, but not for longer
// than slowCommit.
func (l *loop) commit(u *unit) {
	if !u.closed {
		l.close(u)
	}
	if u.empty() {
		l.answered(nil)
		return
	}
	answer, keep := make(chan error, 1), l.append
	l.answer, l.asked = answer, l.cfg.Clock().Mono
	go func() { // ends with the disk's answer; run waits for it
		_, err := keep(u.commit)
		answer <- err
	}()
	slow := time.NewTimer(slowCommit)
	defer slow.Stop()
	select {
	case err := <-answer:
		l.answered(err)
	case <-slow.C:
		l.tellAll()
	}
}

// answered takes the disk's answer about the oldest unit.
func (l *loop) answered(err error) {
	l.answer = nil
	now, u := l.cfg.Clock(), l.units[0]
	if errors.Is(err, outbox.ErrDamaged) && !u.renewed {
		if err = l.renew(now); err == nil {
			return // the fresh outbox's first commit is due
		}
	}
	if u.renewed = false; err != nil {
		l.failed(now, err)
		return
	}
	l.units = l.units[1:]
	l.settled(u, now)
}

// tellAll has every bed shown of which something waits for the disk.
func (l *loop) tellAll() {
	for _, u := range l.units {
		maps.Copy(l.untold, u.beds)
	}
}

// stallTold is how long a commit may take before the disk is said to fail.
const stallTold = 5 * time.Second

// stalled notices that the disk does not answer.
func (l *loop) stalled(now ward.Instant) {
	if took := now.Mono - l.asked; l.answer != nil && took >= stallTold.Microseconds() && !l.stall {
		l.stall = true
		l.log.Error("a commit takes long", "seconds", took/1e6, "waiting", len(l.units))
		l.facts.set("disk_failing", true, "it does not answer")
	}
}

// failed notes that the oldest unit could not be committed. It is said again when
// the reason changes, and once a minute.
func (l *loop) failed(now ward.Instant, err error) {
	l.failures++
	first := l.retryAt == 0
	l.retryAt = now.Mono + retryEvery.Microseconds()
	if first {
		l.tellAll()
	}
	if why := plain(err); first || why != l.failure || l.failures%60 == 0 {
		l.failure = why
		l.log.Error("commit failed and is kept", "error", err, "failures", l.failures, "waiting", len(l.units))
	}
	l.facts.set("disk_failing", true, l.failure)
}

// show shows beds as they are in the ward, marked not yet durable where something
// of them waits for the disk.
func (l *loop) show(beds map[ward.BedKey]struct{}, now ward.Instant) {
	l.tell.prepare(beds, l.ward, now, l.pending)()
}

// pending says whether something of a bed waits for the disk.
func (l *loop) pending(b ward.BedKey) bool {
	for _, u := range l.units {
		if _, ok := u.beds[b]; ok {
			return true
		}
	}
	return false
}

// waits says whether the effect of a command waits for the disk.
func (l *loop) waits(command string) bool {
	return slices.ContainsFunc(l.units, func(u *unit) bool { return slices.Contains(u.commit.Commands, command) })
}

// empty says that a unit has nothing to commit: its messages were set aside.
func (u *unit) empty() bool {
	c := &u.commit
	return len(c.Frames)+len(c.Records)+len(c.Episodes)+len(c.Commands) == 0 && c.Checkpoint == nil
}

// close completes a unit's commit: the episodes that changed and, when it is
// time, the checkpoint.
func (l *loop) close(u *unit) {
	u.closed = true
	for b := range u.beds {
		u.commit.Episodes = append(u.commit.Episodes, l.episodes(b)...)
	}
	if len(l.units) == 1 && u.commit.Mono-l.lastSaved >= checkpointEvery.Microseconds() {
		u.commit.Checkpoint = l.ward.Save()
		l.lastSaved = u.commit.Mono
	}
}

// episodes are a bed's open alerts, and those that were open at the last commit
// and are no more.
func (l *loop) episodes(b ward.BedKey) []outbox.Episode {
	var out []outbox.Episode
	open := map[alert.ID]bool{}
	for _, a := range l.ward.Alerts(b.Ward, b.Bed) {
		open[a.ID] = true
		_, untold := l.held[a.ID]
		out = append(out, outbox.Episode{ID: string(a.ID), Open: true, Untold: untold, State: must(json.Marshal(a))})
	}
	for id := range l.kept[b] {
		if !open[id] {
			out = append(out, outbox.Episode{ID: string(id)})
		}
	}
	l.kept[b] = open
	return out
}

// openOrUntold are the alerts that are open in the ward or on the disk, and those
// of which something waits for the disk. One whose episode could not be read is
// none of them: nobody would ever end it, so the cloud must.
func (l *loop) openOrUntold() []string {
	ids := map[string]bool{}
	for _, b := range l.cfg.places() {
		for _, a := range l.ward.Alerts(b.Ward, b.Bed) {
			ids[string(a.ID)] = true
		}
		for id := range l.kept[b] {
			ids[string(id)] = true
		}
	}
	for _, u := range l.units {
		for _, e := range u.events { // also of those that end with it
			ids[string(e.Alert)] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// renew puts the damaged outbox aside and makes the first commit of a fresh one
// from all that is in memory: what waits, every open episode, what the cloud must
// have heard of each, and a checkpoint. What else the old one held for the cloud
// is in the file that was put aside.
func (l *loop) renew(now ward.Instant) error {
	aside, err := l.disk.reopen()
	if err != nil {
		return err
	}
	l.log.Error("the outbox was damaged: a fresh one is begun", "aside", aside)
	l.facts.set("storage_damaged", true, aside)
	all := &unit{began: now.Mono, beds: map[ward.BedKey]struct{}{}, urgent: true, closed: true, renewed: true}
	all.commit.Boot, all.commit.Mono, all.commit.Wall, all.commit.Synchronised = now.Boot, now.Mono, now.Wall, now.Synchronised
	for _, u := range l.units {
		all.take(u)
	}
	l.out.Reset()
	l.ward.Retell(now, nil, 0, &l.out)
	for _, e := range l.out.Events {
		all.event(e)
	}
	clear(l.held)
	clear(l.kept)
	for _, b := range l.cfg.places() {
		all.beds[b] = struct{}{}
		all.commit.Episodes = append(all.commit.Episodes, l.episodes(b)...)
	}
	all.commit.Checkpoint = l.ward.Save()
	l.lastSaved = now.Mono
	l.units = []*unit{all}
	return nil
}

// take joins what a later unit holds to u, but for what its ward was like.
func (u *unit) take(later *unit) {
	u.commit.Frames = append(u.commit.Frames, later.commit.Frames...)
	u.commit.Records = append(u.commit.Records, later.commit.Records...)
	u.commit.Commands = append(u.commit.Commands, later.commit.Commands...)
	u.acks = append(u.acks, later.acks...)
	u.done = append(u.done, later.done...)
	u.events = append(u.events, later.events...)
}

// settled is what a commit that is on the disk allows.
func (l *loop) settled(u *unit, now ward.Instant) {
	l.commits++
	if l.retryAt != 0 || l.stall {
		l.retryAt, l.stall = 0, false
		l.facts.set("disk_failing", false, "")
	}
	l.show(u.beds, now) // before hundreds of acknowledgements go the same way
	if len(u.commit.Records) > 0 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	l.cfg.Fault(BeforeAck)
	for _, m := range u.acks {
		m.Ack()
	}
	l.cfg.Fault(AfterAck)
	for _, done := range u.done {
		done()
	}
	l.tell.events(u.events)
}
