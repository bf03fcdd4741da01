package cloud

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"wardline/cloud/internal/board"
	"wardline/cloud/internal/feed"
	"wardline/cloud/internal/ingest"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/vital"
)

// newIngest joins the gateways' end of the link to board, fleet, feed and store.
func (p *parts) newIngest(ctx context.Context) *ingest.Server {
	return ingest.New(ingest.Config{
		Store: p.store,
		Now:   p.c.Now,
		Fault: p.c.Fault,
		Admit: func(ctx context.Context, cert *x509.Certificate) (ingest.Gateway, error) {
			from := fromOf(ctx)
			g, err := p.fleet.Admit(ctx, cert, from)
			return ingest.Gateway{Site: g.Site, ID: g.ID, Wards: g.Wards, From: from}, err
		},
		Alerts: func(tx *store.Tx, g ingest.Gateway, events []alert.Event, hold, late bool) error {
			err := p.board.Take(tx, g.ID, g.Wards, events, hold, late)
			if refused, ok := errors.AsType[*board.Refused](err); ok {
				return &ingest.SetAside{Reason: refused.Reason}
			}
			return err
		},
		Vitals: putVitals,
		Hole:   putHole,
		Odd: func(tx *store.Tx, g ingest.Gateway, _ link.Lane, _ link.Record, reason string) error {
			return p.board.Odd(tx, g.ID, g.Wards, reason)
		},
		Known: func(ctx context.Context, g ingest.Gateway, open []alert.ID) error {
			return p.board.Forgotten(ctx, g.ID, open)
		},
		Released: func(ctx context.Context, g ingest.Gateway) error { return p.board.Released(ctx, g.ID) },
		Live: func(g ingest.Gateway, l *linkpb.Live) {
			p.fleet.Heard(g.ID)
			p.hub.PutLive(g.Wards, l)
		},
		Wave: func(g ingest.Gateway, w *linkpb.Wave) {
			p.fleet.Heard(g.ID)
			p.hub.PutWave(g.Wards, w)
		},
		Pending: p.pending,
		Result: func(ctx context.Context, gateway string, r *linkpb.Result) error {
			return p.board.Finish(ctx, gateway, r.Id, r.Outcome, r.Detail)
		},
		Session: func(g ingest.Gateway, up bool, hello *linkpb.Hello, why string) { p.session(ctx, g, up, hello, why) },
		Lapsed:  p.fleet.Lapsed,
		Duplicate: func(g ingest.Gateway, text string) {
			if err := p.board.Conflict(ctx, g.ID, g.Wards, text); err != nil && ctx.Err() == nil {
				p.c.Log.Error("an alert could not be raised", "gateway", g.ID, "error", err)
			}
		},
		Foreign: func(g ingest.Gateway, text string) {
			p.c.Log.Error("gateway refused", "gateway", g.ID, "why", text)
			p.fleet.Refused(ctx, g.From, g.ID, text)
		},
	})
}

// session notes that a gateway came or went. A cloud that stops writes nothing
// down: its next start finds what a crash would leave, and is the better tested
// for it.
func (p *parts) session(ctx context.Context, g ingest.Gateway, up bool, hello *linkpb.Hello, why string) {
	var err error
	switch {
	case up:
		p.c.Log.Info("gateway connected", "gateway", g.ID, "software", hello.GetSoftware())
		err = p.fleet.Up(ctx, g.ID, hello)
		p.hub.Renew()
	case ctx.Err() == nil:
		p.c.Log.Info("gateway disconnected", "gateway", g.ID, "why", why)
		err = p.fleet.Down(ctx, g.ID, why)
	}
	if err != nil && ctx.Err() == nil {
		p.c.Log.Error("a gateway's link could not be noted", "gateway", g.ID, "error", err)
		if up {
			// The fleet does not know this session: its link would stay down for everybody
			// who looks, and a revocation by the operator would not end it.
			p.ingest.End(g.ID, "the cloud could not note that this gateway is here")
		}
	}
}

func putVitals(tx *store.Tx, g ingest.Gateway, list []*linkpb.Summary) error {
	rows := make([]store.Summary, 0, len(list))
	for _, s := range list {
		if !slices.Contains(g.Wards, s.Ward) {
			return &ingest.SetAside{Reason: fmt.Sprintf("ward %.64q is not one of the gateway's", s.Ward)}
		}
		if s.Bed == "" || s.Start <= 0 || s.End < s.Start {
			return &ingest.SetAside{Reason: "a summary without a bed or an interval"}
		}
		rows = append(rows, summary(s))
	}
	return tx.PutVitals(rows)
}

func summary(s *linkpb.Summary) store.Summary {
	out := store.Summary{
		Ward: s.Ward, Bed: s.Bed, Start: s.Start, End: s.End, Late: s.Late, Contact: s.Contact,
		LeadOff: s.LeadOff, Silent: s.Silent, Sensor: s.Sensor, Patient: s.Patient,
		Vitals: make([]store.VitalSummary, 0, len(s.Vitals)),
	}
	for _, v := range s.Vitals {
		if v.Vital >= uint32(vital.Count) || v.N == 0 {
			continue // a vital of a newer version
		}
		out.Vitals = append(out.Vitals, store.VitalSummary{
			Vital: vital.Vital(v.Vital), Quality: uint8(min(v.Quality, 100)), N: v.N,
			Min: float64(v.Min), Mean: float64(v.Mean), Max: float64(v.Max), Last: float64(v.Last),
		})
	}
	return out
}

func putHole(tx *store.Tx, g ingest.Gateway, lane link.Lane, h *linkpb.Hole) error {
	return tx.PutHole(store.Hole{Gateway: g.ID, Lane: int(lane), From: h.ObservedFrom, To: h.ObservedTo, Reason: h.Reason})
}

// pending is what a gateway is to be asked now. Waveforms are not among it: they
// are asked for anew while somebody looks.
func (p *parts) pending(ctx context.Context, gateway string) ([]*linkpb.Command, error) {
	list, err := p.board.Pending(ctx, gateway)
	out := make([]*linkpb.Command, 0, len(list))
	for _, c := range list {
		out = append(out, command(c))
	}
	return out, err
}

func command(c store.Command) *linkpb.Command {
	return &linkpb.Command{Id: c.ID, Deadline: c.Deadline, Body: &linkpb.Command_AlertEvent{AlertEvent: c.Payload}}
}

// watch asks a bed's gateway for its waveforms, or to stop them.
func (p *parts) watch(ctx context.Context, ward, bed string, on bool) {
	var gateway string
	err := p.store.View(ctx, func(tx *store.Tx) error {
		w, err := tx.Ward(ward)
		for _, b := range w.Beds {
			if b.ID == bed {
				gateway = b.Gateway
			}
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && gateway == "" {
		return // nobody watches that bed
	}
	if err != nil {
		if ctx.Err() == nil {
			p.c.Log.Error("waveforms could not be asked for", "ward", ward, "bed", bed, "error", err)
		}
		return
	}
	until := p.c.Now() + feed.WatchedFor.Microseconds()
	p.ingest.Wish(gateway, &linkpb.Command{
		Id: "wave-" + rand.Text(), Deadline: until,
		Body: &linkpb.Command_Wave{Wave: &linkpb.WaveOn{Ward: ward, Bed: bed, On: on, Until: until}},
	})
}
