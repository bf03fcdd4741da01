package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"wardline/cloud/internal/access"
)

const cookieName = "__Host-wardline_session"

// caller is who makes a request, and how.
type caller struct {
	access.Person
	from  access.From
	via   string // page, api
	token string
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// credentials finds the session's token: a bearer's comes before a cookie's.
func credentials(authorization, cookies string) (token, via string) {
	if scheme, rest, ok := strings.Cut(authorization, " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(rest), "api"
	}
	r := http.Request{Header: http.Header{"Cookie": {cookies}}}
	if c, err := r.Cookie(cookieName); err == nil {
		return c.Value, "page"
	}
	return "", ""
}

// anyone is what an operation asks for that is for everybody who is signed in.
const anyone access.Permission = ""

// operation registers one that only a signed-in person with a permission may
// call. A {ward} in its path is checked too. Both happen before anything else of
// the request is read. Its refusals are audited under its id.
func operation[I, O any](s *Server, op huma.Operation, need access.Permission, f func(context.Context, caller, *I) (*O, error)) {
	op.Security = []map[string][]string{{"cookie": {}}, {"bearer": {}}}
	op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusServiceUnavailable)
	op.Middlewares = append(op.Middlewares, s.admit(need))
	s.register(&op)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, callerOf(ctx), in)
		if err != nil {
			return nil, s.problem(err)
		}
		return out, nil
	})
}

func (s *Server) register(op *huma.Operation) {
	op.MaxBodyBytes, op.BodyReadTimeout = maxBody, bodyTime
	if op.Summary != "" && op.Description == "" {
		op.Description = op.Summary + "."
	}
}

func (s *Server) admit(need access.Permission) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		token, via := credentials(ctx.Header("Authorization"), ctx.Header("Cookie"))
		c := caller{via: via, token: token, from: access.From{Address: ctx.RemoteAddr(), Agent: ctx.Header("User-Agent")}}
		p, err := s.c.Access.Authenticate(ctx.Context(), token)
		if err == nil {
			c.Person = p
			err = s.permit(ctx.Context(), c, need, ctx.Operation().OperationID, ctx.Param("id")+ctx.Param("bed")+ctx.Param("name"), ctx.Param("ward"))
		}
		if err != nil {
			_, w := humago.Unwrap(ctx)
			writeProblem(w, s.problem(err))
			return
		}
		next(huma.WithValue(ctx, callerKey{}, c))
	}
}

// permit asks whether a person may do something, and audits that it was refused.
func (s *Server) permit(ctx context.Context, c caller, need access.Permission, what, on, ward string) error {
	if need == anyone {
		return nil
	}
	err := c.May(need, ward)
	refusal, refused := errors.AsType[*access.Refusal](err)
	if !refused {
		return err
	}
	row := c.row(what, on, ward)
	row.Outcome, row.Why = access.Refused, string(refusal.Reason)
	if err := s.c.Access.Record(ctx, row); err != nil {
		return err
	}
	return refusal
}

// done audits what a person read or did. What was read is not given before the
// row is durable.
func (s *Server) done(ctx context.Context, c caller, what, on, ward string) error {
	return s.c.Access.Record(ctx, c.row(what, on, ward))
}

func (c caller) row(what, on, ward string) access.Row {
	return access.Row{Who: c.Name, From: access.Address(c.from.Address), What: what, On: on, Ward: ward, Outcome: access.Done}
}

// limit is the wards that a person's lists are limited to: nil for none.
func (c caller) limit() []string {
	if c.In(access.Every) {
		return nil
	}
	return append([]string{}, c.Wards...)
}

// inWards is how the audit log names the wards of a list.
func (c caller) inWards(ward string) string {
	if ward != "" {
		return ward
	}
	return strings.Join(c.Wards, " ")
}
