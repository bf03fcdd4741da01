package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// parcel is one batch, read: done beside the writer, so that the one writer has
// less to do.
type parcel struct {
	link.Taken
	held, events []alert.Event // from before the session, and since; in order
	summaries    []*linkpb.Summary
	holes        []*linkpb.Hole
	odd          []oddRecord
}

type oddRecord struct {
	link.Record
	reason string
}

// commit makes batches durable, then acknowledges them. What it cannot commit
// ends the session: the gateway will send it again.
func (x *session) commit(ctx context.Context, urgent bool, batches []link.Taken) {
	if len(batches) == 0 || ctx.Err() != nil || x.refused() != nil {
		return
	}
	parcels := make([]parcel, len(batches))
	for i, t := range batches {
		parcels[i] = x.open(t)
	}
	err := x.put(ctx, urgent, parcels)
	if _, ok := errors.AsType[*SetAside](err); ok {
		err = x.putSingly(ctx, urgent, batches)
	}
	if err != nil {
		x.refuse(&link.Refusal{Reason: link.Busy, Text: "the cloud could not keep what it was sent: " + err.Error(), RetryAfter: 2e6})
	}
}

// put commits parcels in one step and acknowledges them.
func (x *session) put(ctx context.Context, urgent bool, parcels []parcel) error {
	urgency := store.Normal
	if urgent {
		urgency = store.High
	}
	if err := x.server.c.Fault("before commit"); err != nil {
		return err
	}
	err := x.server.c.Store.Do(ctx, urgency, func(tx *store.Tx) error {
		for i := range parcels {
			if err := x.effect(tx, &parcels[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = x.server.c.Fault("after commit")
	}
	if err != nil {
		return err
	}
	for i := range parcels {
		x.committed(&parcels[i])
	}
	return nil
}

func (x *session) committed(p *parcel) {
	n := &x.server.counts
	n.records.Add(uint64(len(p.Records)))
	n.odd.Add(uint64(len(p.odd)))
	if p.Late {
		n.late.Add(uint64(len(p.Records)))
	}
	x.ack(p.Lane, p.Next.Seq)
	if p.Lane == link.Alerts && p.Next.Seq >= x.heldTo {
		if x.fold() {
			x.release()
		}
	}
}

// putSingly commits record by record, so that those which will never be taken
// are found and kept raw, and the others are not held up by them.
func (x *session) putSingly(ctx context.Context, urgent bool, batches []link.Taken) error {
	for _, t := range batches {
		at := t.Base
		for i := range t.Records {
			one := link.Taken{Lane: t.Lane, Base: at, Records: t.Records[i : i+1], Late: t.Late}
			var err error
			if _, one.Next, err = at.After(one.Records); err != nil {
				return err
			}
			p := x.open(one)
			err = x.put(ctx, urgent, []parcel{p})
			if aside, ok := errors.AsType[*SetAside](err); ok {
				p = parcel{Taken: one, odd: []oddRecord{{one.Records[0], aside.Reason}}}
				err = x.put(ctx, urgent, []parcel{p})
			}
			if err != nil {
				return err
			}
			at = one.Next
		}
	}
	return nil
}

// effect is what a batch does, inside the transaction.
func (x *session) effect(tx *store.Tx, p *parcel) error {
	c := &x.server.c
	if err := tx.MoveLane(x.g.ID, x.hello.Epoch, p.Lane, p.Base, p.Next); err != nil {
		return err
	}
	if c.Alerts != nil && len(p.held) > 0 {
		if err := c.Alerts(tx, x.g, p.held, true, p.Late); err != nil {
			return err
		}
	}
	if c.Alerts != nil && len(p.events) > 0 {
		if err := c.Alerts(tx, x.g, p.events, false, p.Late); err != nil {
			return err
		}
	}
	if c.Vitals != nil && len(p.summaries) > 0 {
		if err := c.Vitals(tx, x.g, p.summaries); err != nil {
			return err
		}
	}
	for _, h := range p.holes {
		if c.Hole == nil {
			break
		}
		if err := c.Hole(tx, x.g, p.Lane, h); err != nil {
			return err
		}
	}
	for _, r := range p.odd {
		if err := x.keepRaw(tx, p.Lane, r); err != nil {
			return err
		}
	}
	return nil
}

func (x *session) keepRaw(tx *store.Tx, lane link.Lane, r oddRecord) error {
	o := store.OddRecord{Gateway: x.g.ID, Epoch: x.hello.Epoch, Lane: lane, Record: r.Record, Reason: r.reason}
	if err := tx.PutOddRecord(o); err != nil {
		return err
	}
	if x.server.c.Odd == nil {
		return nil
	}
	return x.server.c.Odd(tx, x.g, lane, r.Record, r.reason)
}

// open reads a batch's records. It runs in the worker of the lane's queue.
func (x *session) open(t link.Taken) parcel {
	p := parcel{Taken: t}
	if t.Lane == link.Vitals {
		p.summaries = make([]*linkpb.Summary, 0, len(t.Records))
	}
	for _, r := range t.Records {
		if reason := x.openRecord(&p, r); reason != "" {
			p.odd = append(p.odd, oddRecord{r, reason})
		}
	}
	return p
}

// openRecord reads one record into p, or says why it cannot be taken.
func (x *session) openRecord(p *parcel, r link.Record) string {
	switch {
	case r.Kind == link.HoleKind:
		h, err := link.ReadHole(r)
		if err != nil {
			return err.Error()
		}
		p.holes = append(p.holes, h)
	case r.Kind == link.AlertEvent && p.Lane == link.Alerts:
		var e alert.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			return "alert event: " + err.Error()
		}
		if !x.folded && r.Seq > x.heldTo {
			x.since = append(x.since, e.Alert)
		}
		if !x.released && r.Seq <= x.heldTo {
			p.held = append(p.held, e)
		} else {
			p.events = append(p.events, e)
		}
	case r.Kind == link.VitalsSummary && p.Lane == link.Vitals:
		s := new(linkpb.Summary)
		if err := proto.Unmarshal(r.Payload, s); err != nil {
			return "summary: " + err.Error()
		}
		if !x.mine(s.Ward) {
			return fmt.Sprintf("ward %q is not this gateway's", s.Ward)
		}
		s.Late = s.Late || p.Late
		p.summaries = append(p.summaries, s)
	default:
		return fmt.Sprintf("kind %d is not known in lane %s", r.Kind, p.Lane)
	}
	return ""
}
