package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

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
		return
	}
	if l.corrected {
		return
	}
	a, err := l.amend(now)
	if l.corrected = err == nil; a != nil {
		select {
		case l.disk.amendments <- a:
		default: // it is there already
		}
	}
}

// errBusy is that the disk takes nothing at present.
var errBusy = errors.New("the disk takes nothing")

// amendment is that what was stamped in a boot is to be set right: wall less
// monotonic time is known to be offset.
type amendment struct {
	boot   uint64
	offset int64
	done   atomic.Bool // the records too
}

// amend tells open alerts with their true onset, now that the time is known, once;
// what the cloud does not have yet is the amendment's to set right, which may take
// long and is not the loop's. nil means that nothing is wrong. After an error it
// should be called again.
func (l *loop) amend(now ward.Instant) (*amendment, error) {
	if l.disk.lacks != nil {
		return nil, l.disk.lacks
	}
	if a := l.amendment; a != nil && a.boot == now.Boot && !a.done.Load() {
		return a, nil
	}
	for _, u := range l.units {
		u.urgent = true
	}
	if l.flush(); len(l.units) > 0 { // what the ward has decided by the wrong time must lie there
		return nil, errBusy
	}
	a := &amendment{boot: now.Boot, offset: now.Wall - now.Mono}
	fix, wrong, err := l.disk.box.Load().Misdated(a.boot, a.offset, clockApart.Microseconds())
	if err != nil || !wrong {
		return nil, err
	}
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
	l.amendment = a
	return a, nil
}

// amend sets right the records of an amendment, under a new epoch: a second for
// every 50,000. Commits wait for it, and what they hold is shown meanwhile.
func (d *disk) amend(a *amendment, log *slog.Logger) error {
	n, err := d.box.Load().Correct(a.boot, a.offset, clockApart.Microseconds(), corrected)
	if err != nil {
		log.Error("what was stamped before the time was known could not be corrected as yet", "error", err)
		return err
	}
	a.done.Store(true)
	log.Info("the time is known: what was stamped before is corrected", "records", n)
	return nil
}

// runAmendments makes those that the loop asks for, until ctx ends.
func (d *disk) runAmendments(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-d.amendments:
			for !a.done.Load() && d.amend(a, log) != nil && ctx.Err() == nil {
				pause(ctx, retryEvery)
			}
			d.tellChanged()
		}
	}
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
