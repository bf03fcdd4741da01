package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/store"
)

// Problem is a refusal or a failure, after RFC 9457.
type Problem struct {
	Type   string  `json:"type" doc:"urn:wardline:problem: and the reason"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Detail string  `json:"detail" doc:"What happened and what to do, for a clinician"`
	Reason string  `json:"reason" doc:"A stable word for programs"`
	Until  int64   `json:"until,omitempty" doc:"When the same request may succeed, µs since 1970 UTC"`
	Fields []Field `json:"fields,omitempty" doc:"What was wrong in the request"`

	retry int64 // seconds, for the header Retry-After
}

// Field is one thing that was wrong in a request.
type Field struct {
	Where string `json:"where" doc:"Such as body.minutes or query.limit"`
	What  string `json:"what"`
}

func newProblem(status int, reason, detail string) *Problem {
	return &Problem{Type: "urn:wardline:problem:" + reason, Title: http.StatusText(status), Status: status, Reason: reason, Detail: detail}
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus, ContentType and GetHeaders are what huma asks of an error.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders says when to try again.
func (p *Problem) GetHeaders() http.Header {
	if p.retry == 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.FormatInt(p.retry, 10)}}
}

// Reasons that are not access's.
const (
	reasonInvalid     = "invalid"
	reasonNotFound    = "not_found"
	reasonMethod      = "method"
	reasonConflict    = "conflict"
	reasonCrossOrigin = "cross_origin"
	reasonTooLarge    = "too_large"
	reasonTimeout     = "timeout"
	reasonUnavailable = "unavailable"
	reasonInternal    = "internal"
)

// What huma itself refuses (a body that does not fit its schema, and the like)
// becomes a Problem too. These variables are huma's one way to say so.
func init() {
	huma.DefaultArrayNullable = false // an empty list is []
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		p := newProblem(status, reasonOf(status), sentenceOf(status))
		for _, err := range errs {
			if d, ok := err.(huma.ErrorDetailer); ok {
				p.Fields = append(p.Fields, Field{Where: d.ErrorDetail().Location, What: d.ErrorDetail().Message})
			} else if err != nil {
				p.Fields = append(p.Fields, Field{What: err.Error()})
			}
		}
		if len(p.Fields) == 0 && msg != "" {
			p.Fields = []Field{{What: msg}}
		}
		return p
	}
}

func reasonOf(status int) string {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return reasonTooLarge
	case status == http.StatusRequestTimeout:
		return reasonTimeout
	case status == http.StatusNotFound:
		return reasonNotFound
	case status >= 500:
		return reasonInternal
	}
	return reasonInvalid
}

func sentenceOf(status int) string {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return "The request is too large. Nothing was changed."
	case status == http.StatusRequestTimeout:
		return "The request took too long to arrive. Nothing was changed; try again."
	case status >= 500:
		return "Something went wrong here. Try again; if it stays so, tell your administrator."
	}
	return "The request is not complete or not understood. Nothing was changed."
}

// refusals are the statuses of access's reasons.
var refusals = map[access.Reason]int{
	access.WrongPassword: http.StatusUnauthorized,
	access.NotSignedIn:   http.StatusUnauthorized,
	access.SessionOver:   http.StatusUnauthorized,
	access.Disabled:      http.StatusForbidden,
	access.MayNot:        http.StatusForbidden,
	access.OtherWard:     http.StatusForbidden,
	access.Locked:        http.StatusLocked,
	access.TooMany:       http.StatusTooManyRequests,
	access.Busy:          http.StatusServiceUnavailable,
	access.BadAccount:    http.StatusUnprocessableEntity,
	access.BadText:       http.StatusUnprocessableEntity,
	access.LastOne:       http.StatusConflict,
	access.Exists:        http.StatusConflict,
	access.Unknown:       http.StatusNotFound,
}

// problem is the one place where errors become statuses. What is nobody's fault
// outside is logged here and told without its particulars.
func (s *Server) problem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*access.Refusal](err); ok {
		p := newProblem(refusals[r.Reason], string(r.Reason), r.Text)
		if r.Until != 0 {
			p.Until, p.retry = r.Until, max(1, (r.Until-s.c.Now()+999_999)/1_000_000)
		}
		return p
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, reasonNotFound, "There is no such thing here. It may have been removed, or the address is wrong.")
	case errors.Is(err, board.ErrConflict):
		return newProblem(http.StatusConflict, reasonConflict, sentence(err, board.ErrConflict))
	case errors.Is(err, board.ErrInvalid):
		return newProblem(http.StatusUnprocessableEntity, reasonInvalid, sentence(err, board.ErrInvalid))
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrDamaged), errors.Is(err, context.DeadlineExceeded):
		s.c.Log.Error("a request could not be served", slog.Any("error", err))
		return newProblem(http.StatusServiceUnavailable, reasonUnavailable,
			"Wardline cannot answer at this moment. Nothing was changed that you were not told of. Alerts in the ward go on; try again.")
	case errors.Is(err, context.Canceled):
		return newProblem(http.StatusServiceUnavailable, reasonUnavailable, "The request was given up.")
	}
	s.c.Log.Error("a request failed", slog.Any("error", err))
	return newProblem(http.StatusInternalServerError, reasonInternal, sentenceOf(http.StatusInternalServerError))
}

// sentence is what an error says beyond its sentinel, as a sentence.
func sentence(err, sentinel error) string {
	text := strings.TrimPrefix(err.Error(), sentinel.Error())
	if text = strings.TrimPrefix(text, ": "); text == "" {
		text = sentinel.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}
