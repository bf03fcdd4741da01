package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/store"
)

// WardList is the wards that a person may see.
type WardList struct {
	Wards []Ward `json:"wards"`
}

// GatewayList is the gateways of a person's wards.
type GatewayList struct {
	Gateways []Gateway `json:"gateways"`
}

// Reason is why somebody does something.
type Reason struct {
	Why string `json:"why,omitempty" maxLength:"500" doc:"As a comment's"`
}

// AuditPage is a stretch of the audit log.
type AuditPage struct {
	Items []AuditRow `json:"items"`
	Next  int64      `json:"next" doc:"Send it as after; 0 when there is no more"`
}

// Verification is how far the audit log is whole.
type Verification struct {
	Whole bool   `json:"whole" doc:"Nothing that was looked at is wrong: the log is whole when next is 0 too"`
	Rows  int64  `json:"rows" doc:"Rows that were looked at and found whole"`
	Seq   int64  `json:"seq" doc:"Of the last of them"`
	Hash  string `json:"hash" doc:"Of the last of them"`
	Next  int64  `json:"next" doc:"Send it as after, with hash, to go on; 0 when there is no more"`
	Why   string `json:"why" doc:"What is wrong with the next row; empty when nothing is"`
}

func newWard(w store.Ward) Ward {
	out := Ward{ID: w.ID, Name: w.Name, Beds: make([]Bed, 0, len(w.Beds))}
	for _, b := range w.Beds {
		bed := Bed{ID: b.ID, Sensor: b.Sensor, Patient: b.Patient, Gateway: b.Gateway, Limits: map[string]float64{}, Expect: append([]string{}, b.Expect...)}
		for _, l := range b.Limits {
			bed.Limits[l.Name] = l.Value
		}
		out.Beds = append(out.Beds, bed)
	}
	return out
}

func newGateway(g store.Gateway) Gateway {
	return Gateway{ID: g.ID, Site: g.Site, Wards: append([]string{}, g.Wards...), Link: g.Link, Since: g.LinkSince,
		Why: g.LinkWhy, Software: g.Software, Revoked: g.RevokedAt != 0, Pending: g.Pending}
}

func (s *Server) wards() {
	operation(s, huma.Operation{OperationID: "list_wards", Method: http.MethodGet, Path: "/api/v1/wards",
		Summary: "The wards that you may see, with their beds"}, access.PatientsRead,
		func(ctx context.Context, c caller, _ *struct{}) (*body[WardList], error) {
			out := WardList{Wards: []Ward{}}
			err := s.c.Store.View(ctx, func(tx *store.Tx) error {
				all, err := tx.Wards()
				for _, w := range all {
					if c.In(w.ID) {
						out.Wards = append(out.Wards, newWard(w))
					}
				}
				return err
			})
			if err == nil {
				err = s.done(ctx, c, "list_wards", "", c.inWards(""))
			}
			return &body[WardList]{out}, err
		})
	operation(s, huma.Operation{OperationID: "trend", Method: http.MethodGet, Path: "/api/v1/wards/{ward}/beds/{bed}/trend",
		Summary: "The course of a bed's vitals",
		Description: "At most `points` points a vital; posture is left out. A step without a point is a stretch without " +
			"data: `holes` says why. What was filled in afterwards is joined, and named in `late`.",
		Errors: []int{http.StatusNotFound}}, access.PatientsRead, s.trend)
}

func (s *Server) gateways() {
	operation(s, huma.Operation{OperationID: "list_gateways", Method: http.MethodGet, Path: "/api/v1/gateways",
		Summary: "The gateways of your wards and their links"}, access.GatewaysRead,
		func(ctx context.Context, c caller, _ *struct{}) (*body[GatewayList], error) {
			out := GatewayList{Gateways: []Gateway{}}
			err := s.c.Store.View(ctx, func(tx *store.Tx) error {
				all, err := tx.Gateways()
				for _, g := range all {
					if c.seesGateway(g) {
						out.Gateways = append(out.Gateways, newGateway(g))
					}
				}
				return err
			})
			return &body[GatewayList]{out}, err
		})
	operation(s, huma.Operation{OperationID: "revoke_gateway", Method: http.MethodPost, Path: "/api/v1/gateways/{id}/revoke",
		Summary:     "End a gateway's right to connect",
		Description: "Its session ends within a second. In the ward it goes on; to connect again it must enrol again.",
		Errors:      []int{http.StatusNotFound}}, access.GatewaysManage, s.revoke)
}

func (c caller) seesGateway(g store.Gateway) bool {
	if c.Role.Anywhere(access.GatewaysRead) {
		return true
	}
	for _, w := range g.Wards {
		if c.In(w) {
			return true
		}
	}
	return false
}

func (s *Server) revoke(ctx context.Context, c caller, in *struct {
	ID   string `path:"id" maxLength:"64"`
	Body *Reason
}) (*body[Gateway], error) {
	why := "revoked by " + c.Name
	if in.Body != nil && in.Body.Why != "" {
		why = in.Body.Why
	}
	if err := access.CheckText(why); err != nil {
		return nil, err
	}
	if err := s.c.Revoke(ctx, in.ID, c.Name, access.Address(c.from.Address), why); err != nil {
		return nil, err
	}
	var g store.Gateway
	err := s.c.Store.View(ctx, func(tx *store.Tx) (err error) {
		g, err = tx.Gateway(in.ID)
		return err
	})
	return &body[Gateway]{newGateway(g)}, err
}

func (s *Server) audit() {
	operation(s, huma.Operation{OperationID: "verify_audit", Method: http.MethodGet, Path: "/api/v1/audit/verification",
		Summary: "Whether the audit log is whole",
		Description: "Walks the chain of hashes, a page at a time: send `next` as `after`, with `hash`, until it is 0. The last " +
			"row's seq and hash, kept elsewhere and sent as `after` and `hash`, also show later on that no row was taken from the end, " +
			"and spare the walk to there."}, access.AuditRead,
		func(ctx context.Context, c caller, in *struct {
			After int64  `query:"after" minimum:"0" doc:"The seq of a row that was found whole before"`
			Hash  string `query:"hash" pattern:"^([0-9a-f]{64})?$" doc:"Of that row"`
		}) (*body[Verification], error) {
			head, err := s.c.Access.Verify(ctx, access.Head{Seq: in.After, Hash: in.Hash}, s.verifyRows)
			out := Verification{Whole: true, Rows: head.Rows, Seq: head.Seq, Hash: head.Hash}
			if head.More {
				out.Next = head.Seq
			}
			row := c.row("verify_audit", "", "")
			if broken, ok := errors.AsType[*access.Broken](err); ok {
				out.Whole, out.Why, err = false, broken.Error(), nil
				row.Outcome, row.Why = access.Failed, out.Why
			}
			if err == nil {
				err = s.c.Access.Record(ctx, row)
			}
			return &body[Verification]{out}, err
		})
	operation(s, huma.Operation{OperationID: "read_audit", Method: http.MethodGet, Path: "/api/v1/audit",
		Summary: "The audit log, oldest first"}, access.AuditRead,
		func(ctx context.Context, c caller, in *struct {
			After int64 `query:"after" minimum:"0" doc:"The seq of the last row that was read"`
			Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"100"`
		}) (*body[AuditPage], error) {
			page, err := s.c.Access.Log(ctx, in.After, in.Limit)
			if err != nil {
				return nil, err
			}
			out := AuditPage{Items: make([]AuditRow, 0, len(page))}
			for _, e := range page {
				out.Items = append(out.Items, AuditRow{Seq: e.Seq, At: e.At, Who: e.Who, From: e.From, What: e.What, On: e.On,
					Ward: e.Ward, Outcome: string(e.Outcome), Why: e.Why, Hash: e.Hash})
			}
			if len(page) == in.Limit {
				out.Next = page[len(page)-1].Seq
			}
			return &body[AuditPage]{out}, s.done(ctx, c, "read_audit", "", "")
		})
}
