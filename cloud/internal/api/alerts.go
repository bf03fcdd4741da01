package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

// AlertPage is a stretch of the list of alerts, the newest onset first.
type AlertPage struct {
	Items []Alert `json:"items"`
	Next  string  `json:"next" doc:"Send it as after; empty when there is no more"`
}

// Words is what a person says with an act.
type Words struct {
	Text string `json:"text" minLength:"1" maxLength:"500" doc:"No control characters but newline and tab, and none that turn the direction of writing"`
}

// Acknowledgement says for how long somebody is acting.
type Acknowledgement struct {
	Minutes int    `json:"minutes,omitempty" minimum:"1" maximum:"480" doc:"Less when the priority caps it; absent = the priority's usual time"`
	Text    string `json:"text,omitempty" maxLength:"500" doc:"As a comment's"`
}

// Nothing is the body of an act that needs none.
type Nothing struct{}

type alertID struct {
	ID string `path:"id" minLength:"32" maxLength:"32" pattern:"^[0-9a-f]{32}$"`
}

type act[T any] struct {
	ID   string `path:"id" minLength:"32" maxLength:"32" pattern:"^[0-9a-f]{32}$"`
	Key  string `header:"Idempotency-Key" maxLength:"128" doc:"The act has its effect once for each key of yours"`
	Body *T
}

// said is what came in the body, the zero value when there was none.
func (a *act[T]) said() (out T) {
	if a.Body != nil {
		out = *a.Body
	}
	return out
}

func (s *Server) alerts() {
	operation(s, huma.Operation{OperationID: "list_alerts", Method: http.MethodGet, Path: "/api/v1/alerts",
		Summary: "Alerts of your wards, the newest onset first"}, access.PatientsRead, s.listAlerts)
	operation(s, huma.Operation{OperationID: "read_alert", Method: http.MethodGet, Path: "/api/v1/alerts/{id}",
		Summary: "An alert and everything that happened to it", Errors: []int{http.StatusNotFound}}, access.PatientsRead, s.readAlert)

	s.act("acknowledge", "Say that you are acting, until a time")
	s.act("withdraw", "Take an acknowledgement back: the alert pages again")
	s.act("comment", "Add words to an alert")
	s.act("resolve", "End a latched alert whose condition is over")
}

// act registers one of the acts. All end in the board's one path.
func (s *Server) act(what, summary string) {
	path := "/api/v1/alerts/{id}/" + what
	what += "_alert"
	op := huma.Operation{OperationID: what, Method: http.MethodPost, Path: path, Summary: summary,
		Errors: []int{http.StatusNotFound, http.StatusConflict}}
	switch what {
	case "acknowledge_alert":
		operation(s, op, access.AlertsAct, func(ctx context.Context, c caller, in *act[Acknowledgement]) (*body[Alert], error) {
			said := in.said()
			x := board.Act{Type: alert.Acknowledged, Text: said.Text}
			if said.Minutes > 0 {
				x.Until = s.c.Now() + int64(said.Minutes)*60_000_000
			}
			return s.perform(ctx, c, what, in.ID, in.Key, x)
		})
	case "withdraw_alert":
		operation(s, op, access.AlertsAct, func(ctx context.Context, c caller, in *act[Nothing]) (*body[Alert], error) {
			return s.perform(ctx, c, what, in.ID, in.Key, board.Act{Type: alert.AckExpired})
		})
	default:
		kind := map[string]alert.Type{"comment_alert": alert.Commented, "resolve_alert": alert.Resolved}[what]
		operation(s, op, access.AlertsAct, func(ctx context.Context, c caller, in *act[Words]) (*body[Alert], error) {
			return s.perform(ctx, c, what, in.ID, in.Key, board.Act{Type: kind, Text: in.said().Text})
		})
	}
}

// perform does a person's act on an alert of one of the person's wards, and
// audits how it went.
func (s *Server) perform(ctx context.Context, c caller, what, id, key string, x board.Act) (*body[Alert], error) {
	ward, err := s.wardOf(ctx, id)
	if err == nil {
		err = s.permit(ctx, c, access.AlertsAct, what, id, ward)
	}
	if err == nil {
		err = access.CheckText(x.Text)
	}
	if err != nil {
		return nil, err
	}
	row := c.row(what, id, ward)
	x.Alert, x.By, x.Via, x.Key = alert.ID(id), c.Name, c.via, key
	x.Also = func(tx *store.Tx) error { return s.c.Access.Audit(tx, row) }
	a, err := s.c.Board.Act(ctx, x)
	if err != nil {
		row.Outcome, row.Why = access.Failed, err.Error()
		if err := s.c.Access.Record(ctx, row); err != nil {
			return nil, err
		}
		return nil, err
	}
	return &body[Alert]{s.alertOf(a)}, nil
}

func (s *Server) alertOf(a store.Alert) Alert {
	now := s.c.Now()
	return NewAlert(a.Alert, Standing{Version: a.Version, AtGateway: a.AtGateway(), Page: board.Sounds(a.Alert, a.Held, now)}, now)
}

// wardOf finds the ward that decides who may see an alert.
func (s *Server) wardOf(ctx context.Context, id string) (ward string, err error) {
	err = s.c.Store.View(ctx, func(tx *store.Tx) error {
		a, err := tx.Alert(alert.ID(id))
		ward = a.Condition.Ward
		if err == nil && a.Phase == alert.Unknown {
			return store.ErrNotFound // only a response has come so far
		}
		return err
	})
	return ward, err
}

func (s *Server) listAlerts(ctx context.Context, c caller, in *struct {
	Ward  string `query:"ward" maxLength:"64"`
	Bed   string `query:"bed" maxLength:"64"`
	State string `query:"state" enum:"open,ended,all" default:"open"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	After string `query:"after" maxLength:"64" doc:"next of the page before"`
}) (*body[AlertPage], error) {
	q := store.AlertQuery{Wards: c.limit(), Bed: in.Bed, Limit: in.Limit + 1}
	if in.Ward != "" {
		if err := s.permit(ctx, c, access.PatientsRead, "list_alerts", "", in.Ward); err != nil {
			return nil, err
		}
		q.Wards = []string{in.Ward}
	}
	if in.State != "all" {
		q.Open = new(in.State == "open")
	}
	var err error
	if q.BeforeOnset, q.BeforeID, err = parsePlace(in.After); err != nil {
		return nil, err
	}
	var rows []store.Alert
	err = s.c.Store.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = tx.Alerts(q)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := AlertPage{Items: make([]Alert, 0, len(rows))}
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		last := rows[in.Limit-1]
		out.Next = fmt.Sprintf("%d.%s", last.Condition.Onset, last.ID)
	}
	for _, a := range rows {
		out.Items = append(out.Items, s.alertOf(a))
	}
	return &body[AlertPage]{out}, s.done(ctx, c, "list_alerts", in.Bed, c.inWards(in.Ward))
}

// parsePlace reads the key of a list's last alert, onset.id.
func parsePlace(after string) (int64, alert.ID, error) {
	if after == "" {
		return 0, "", nil
	}
	onset, id, _ := strings.Cut(after, ".")
	at, err := strconv.ParseInt(onset, 10, 64)
	if err != nil || len(id) != 32 {
		p := newProblem(http.StatusUnprocessableEntity, reasonInvalid, sentenceOf(http.StatusUnprocessableEntity))
		p.Fields = []Field{{Where: "query.after", What: "it is not the next of a page"}}
		return 0, "", p
	}
	return at, alert.ID(id), nil
}

func (s *Server) readAlert(ctx context.Context, c caller, in *alertID) (*body[AlertStory], error) {
	ward, err := s.wardOf(ctx, in.ID)
	if err == nil {
		err = s.permit(ctx, c, access.PatientsRead, "read_alert", in.ID, ward)
	}
	if err != nil {
		return nil, err
	}
	out := AlertStory{Events: []alert.Event{}}
	err = s.c.Store.View(ctx, func(tx *store.Tx) error {
		a, err := tx.Alert(alert.ID(in.ID))
		if err != nil {
			return err
		}
		out.Alert = s.alertOf(a)
		events, err := tx.Events(a.ID)
		out.Events = append(out.Events, events...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &body[AlertStory]{out}, s.done(ctx, c, "read_alert", in.ID, ward)
}
