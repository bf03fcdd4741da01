package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"wardline/cloud/internal/board"
	"wardline/cloud/internal/feed"
	"wardline/cloud/internal/fleet"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

func newBedLive(b feed.BedLive) BedLive {
	out := BedLive{Bed: b.Bed, At: b.At, V: make(map[string]LiveItem, len(b.Values)), Contact: b.Contact,
		LeadsOff: append([]string{}, b.LeadsOff...), SilentSince: b.SilentSince, Battery: b.Battery}
	for _, v := range b.Values {
		out.V[v.Vital.String()] = LiveItem{round(v.Value), float64(v.At), float64(v.Quality)}
	}
	return out
}

// snapshot is the full state of wards (nil = every ward), of one instant of the
// database, and the cursor of that instant.
func (s *Server) snapshot(ctx context.Context, wards []string) (Snapshot, uint64, error) {
	now := s.c.Now()
	out := Snapshot{T: "snapshot", Now: now, Wards: []SnapshotWard{}, Alerts: []Alert{}}
	var cursor uint64
	err := s.c.Store.View(ctx, func(tx *store.Tx) (err error) {
		if cursor, _, err = tx.FeedHead(); err != nil {
			return err
		}
		if out.Wards, err = s.snapshotWards(tx, wards, now); err != nil {
			return err
		}
		open, err := openAlerts(tx, wards)
		for _, a := range open {
			out.Alerts = append(out.Alerts, NewAlert(a.Alert, Standing{Version: a.Version, AtGateway: a.AtGateway(), Page: board.Sounds(a.Alert, a.Held, now)}, now))
		}
		return err
	})
	out.Cursor = strconv.FormatUint(cursor, 10)
	return out, cursor, err
}

func (s *Server) snapshotWards(tx *store.Tx, wards []string, now int64) ([]SnapshotWard, error) {
	all, err := tx.Wards()
	if err != nil {
		return nil, err
	}
	gateways, err := tx.Gateways()
	if err != nil {
		return nil, err
	}
	out := []SnapshotWard{}
	for _, row := range all {
		if wards != nil && !slices.Contains(wards, row.ID) {
			continue
		}
		w := newWard(row)
		x := SnapshotWard{ID: w.ID, Name: w.Name, Beds: []SnapshotBed{}, Gateways: []Gateway{}}
		current := s.liveOf(w.ID)
		for _, b := range w.Beds {
			line, err := newLine(now, tx.Vitals(w.ID, b.ID, lineFrom(now), now))
			if err != nil {
				return nil, err
			}
			x.Beds = append(x.Beds, SnapshotBed{Bed: b, Live: current[b.ID], Line: line})
		}
		for _, g := range gateways {
			if slices.Contains(g.Wards, w.ID) {
				x.Gateways = append(x.Gateways, newGateway(g))
			}
		}
		out = append(out, x)
	}
	return out, nil
}

func (s *Server) liveOf(ward string) map[string]*BedLive {
	out := map[string]*BedLive{}
	for _, b := range s.c.Hub.Vitals(ward) {
		out[b.Bed] = new(newBedLive(b))
	}
	return out
}

// openAlerts lists every open alert of wards, the most urgent first.
func openAlerts(tx *store.Tx, wards []string) ([]store.Alert, error) {
	const page = 1000
	q := store.AlertQuery{Wards: wards, Open: new(true), Limit: page}
	var out []store.Alert
	for {
		rows, err := tx.Alerts(q)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
		if len(rows) < page {
			break
		}
		last := rows[len(rows)-1]
		q.BeforeOnset, q.BeforeID = last.Condition.Onset, last.ID
	}
	slices.SortFunc(out, func(a, b store.Alert) int { return alert.Compare(a.Alert, b.Alert) })
	return out, nil
}

// wardNames lists those of wards (nil = all) that there are.
func (s *Server) wardNames(ctx context.Context, wards []string) (out []string, err error) {
	err = s.c.Store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Wards()
		for _, w := range all {
			if wards == nil || slices.Contains(wards, w.ID) {
				out = append(out, w.ID)
			}
		}
		return err
	})
	return out, err
}

// encodeChange makes the message of a feed row, from the row alone; nil for a
// kind that this version does not know.
func encodeChange(row store.FeedRow) ([]byte, error) {
	m := Change{T: "change", Cursor: strconv.FormatUint(row.Seq, 10), Kind: row.Kind}
	switch row.Kind {
	case board.ChangeKind:
		c, err := board.ParseChange(row.Payload)
		if err != nil {
			return nil, err
		}
		m.Page = c.Page
		m.Alert = new(NewAlert(c.Alert, Standing{Version: c.Version, AtGateway: c.AtGateway, Page: board.Sounds(c.Alert, c.Held, row.At)}, row.At))
	case fleet.GatewayChange:
		g, err := parseGateway(row)
		if err != nil {
			return nil, err
		}
		m.Gateway = new(newGateway(g))
	case fleet.WardChange:
		var w store.Ward
		if err := json.Unmarshal(row.Payload, &w); err != nil {
			return nil, fmt.Errorf("read a change of a ward: %w", err)
		}
		m.Ward = new(newWard(w))
	default:
		return nil, nil
	}
	return encode(m), nil
}

func parseGateway(row store.FeedRow) (g store.Gateway, err error) {
	if err := json.Unmarshal(row.Payload, &g); err != nil {
		return g, fmt.Errorf("read a change of a gateway: %w", err)
	}
	return g, nil
}

// concerns reports whether a feed row that is for every ward is for one of wards
// (nil = every ward).
func concerns(row store.FeedRow, wards []string) (bool, error) {
	if row.Kind != fleet.GatewayChange || wards == nil {
		return true, nil
	}
	g, err := parseGateway(row)
	return slices.ContainsFunc(g.Wards, func(w string) bool { return slices.Contains(wards, w) }), err
}
