package agent

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"wardline/agent/internal/ward"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// learnOfTime keeps the floor, and corrects once the machine's clock is set.
func (l *loop) learnOfTime(now ward.Instant) {
	if err := l.time.write(); err != nil && l.floorFailed == nil {
		l.log.Error("the time floor cannot be kept: after a power cut the clock may begin anew", "error", err)
		l.floorFailed = err
	}
	if !now.Synchronised {
		l.corrected = false
	} else if !l.corrected {
		anew, err := l.correct(now)
		if l.corrected = err == nil; anew {
			l.disk.tellChanged()
		}
	}
}

// errBusy is that the disk takes nothing at present.
var errBusy = errors.New("the disk takes nothing")

// correct sets right what was stamped in this boot before the time was known, now
// that it is: open alerts are told with their true onset, and what the cloud does
// not have yet is shifted. Once that is done there is nothing left to do, so it may
// be called again: after an error it should be. It reports whether the outbox began
// a new epoch with that.
func (l *loop) correct(now ward.Instant) (anew bool, err error) {
	if l.disk.lacks != nil {
		return false, l.disk.lacks
	}
	if l.answer != nil {
		return false, errBusy
	}
	box := l.disk.box.Load()
	fix, wrong, err := box.Misdated(now.Boot, now.Wall-now.Mono, clockApart.Microseconds())
	if err != nil || !wrong {
		return false, err
	}
	l.part(now)
	l.out.Reset()
	l.ward.Correct(now, fix, &l.out)
	u := l.unit(now)
	for _, e := range l.out.Events {
		u.event(e)
	}
	for _, b := range l.cfg.places() {
		u.beds[b] = struct{}{}
	}
	u.urgent = true
	l.flush() // what the ward has decided by the wrong time must lie there
	if len(l.units) > 0 {
		return false, errBusy
	}
	n, err := box.Correct(now.Boot, now.Wall-now.Mono, clockApart.Microseconds(), corrected)
	if err != nil {
		l.log.Error("what was stamped before the time was known could not be corrected as yet", "error", err)
		return false, err
	}
	l.log.Info("the time is known: what was stamped before is corrected", "records", n)
	return true, nil
}

// corrected is a record with its times set right; the sensors' own times stay.
func corrected(kind link.Kind, observed int64, payload []byte, fix func(int64) int64) (int64, []byte, error) {
	switch kind {
	case link.AlertEvent:
		var e alert.Event
		if err := json.Unmarshal(payload, &e); err != nil {
			return 0, nil, err
		}
		e.Correct(fix)
		b, err := json.Marshal(e)
		return fix(observed), b, err
	case link.VitalsSummary:
		var s linkpb.Summary
		if err := proto.Unmarshal(payload, &s); err != nil {
			return 0, nil, err
		}
		if !s.GatewayTime {
			return observed, payload, nil
		}
		every := max(1, s.End-s.Start)
		by := fix(s.Start) - s.Start
		by -= by % every // intervals stay aligned
		s.Start, s.End = s.Start+by, s.End+by
		b, err := proto.Marshal(&s)
		return observed + by, b, err
	}
	return 0, nil, fmt.Errorf("kind %d has no times that are known", kind)
}
