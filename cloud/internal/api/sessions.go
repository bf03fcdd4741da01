package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"wardline/cloud/internal/access"
)

// SignIn is what signing in takes.
type SignIn struct {
	Name     string `json:"name" minLength:"1" maxLength:"64"`
	Password string `json:"password" minLength:"1" maxLength:"256"`
}

// SessionRow is one place where a person is signed in.
type SessionRow struct {
	ID    string `json:"id"`
	Made  int64  `json:"made"`
	Used  int64  `json:"used" doc:"To a minute"`
	Until int64  `json:"until"`
	From  string `json:"from"`
	Agent string `json:"agent"`
	This  bool   `json:"this" doc:"It is the one that asks"`
}

// SessionList is where a person is signed in.
type SessionList struct {
	Sessions []SessionRow `json:"sessions"`
}

type personOut struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      Person
}

type body[T any] struct{ Body T }

func newPerson(p access.Person) Person {
	out := Person{Name: p.Name, Display: p.Display, Role: string(p.Role), Wards: append([]string{}, p.Wards...), May: []string{}, Until: p.Until}
	for _, x := range p.Permissions() {
		out.May = append(out.May, string(x))
	}
	return out
}

// cookie makes the session's cookie: no script reads it, no other site's page
// sends it, and it leaves by TLS alone. Its name's prefix has browsers take it from
// this host only, and only so: another host of the domain cannot put one in its place.
func cookie(value string, maxAge int) http.Cookie {
	return http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode}
}

func (s *Server) sessions() {
	op := huma.Operation{OperationID: "sign_in", Method: http.MethodPost, Path: "/api/v1/session", Summary: "Sign in",
		Description: "Begins a session and sets its cookie; a session that the request carries ends. Five wrong passwords within 15 minutes lock the account for 15.",
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusLocked,
			http.StatusTooManyRequests, http.StatusServiceUnavailable},
		Middlewares: huma.Middlewares{s.stranger}}
	s.register(&op)
	huma.Register(s.api, op, s.signIn)

	operation(s, huma.Operation{OperationID: "who_am_i", Method: http.MethodGet, Path: "/api/v1/session",
		Summary: "Who is signed in and what that person may do"}, anyone,
		func(_ context.Context, c caller, _ *struct{}) (*body[Person], error) {
			return &body[Person]{newPerson(c.Person)}, nil
		})
	operation(s, huma.Operation{OperationID: "sign_out", Method: http.MethodDelete, Path: "/api/v1/session",
		Summary: "End this session", DefaultStatus: http.StatusNoContent}, anyone,
		func(ctx context.Context, c caller, _ *struct{}) (*signedOut, error) {
			if err := s.c.Access.End(ctx, c.Person, c.Session, c.from); err != nil {
				return nil, err
			}
			return &signedOut{SetCookie: cookie("", -1)}, nil
		})
	operation(s, huma.Operation{OperationID: "list_sessions", Method: http.MethodGet, Path: "/api/v1/sessions",
		Summary: "Where you are signed in, or another person, for whom manages people"}, anyone, s.listSessions)
	operation(s, huma.Operation{OperationID: "end_session", Method: http.MethodDelete, Path: "/api/v1/sessions/{id}",
		Summary: "End one of your sessions, or anybody's, for whom manages people", DefaultStatus: http.StatusNoContent,
		Errors: []int{http.StatusNotFound}}, anyone,
		func(ctx context.Context, c caller, in *struct {
			ID string `path:"id" maxLength:"64"`
		}) (*struct{}, error) {
			return nil, s.c.Access.End(ctx, c.Person, in.ID, c.from)
		})
}

type signedOut struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

// stranger notes where a request without a session comes from.
func (s *Server) stranger(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	token, _ := credentials(r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	c := caller{from: access.From{Address: r.RemoteAddr, Agent: r.UserAgent(), Token: token}}
	next(huma.WithValue(ctx, callerKey{}, c))
}

func (s *Server) signIn(ctx context.Context, in *body[SignIn]) (*personOut, error) {
	token, p, err := s.c.Access.SignIn(ctx, in.Body.Name, in.Body.Password, callerOf(ctx).from)
	if err != nil {
		return nil, s.problem(err)
	}
	left := (p.Until - s.c.Now()) / 1_000_000
	return &personOut{SetCookie: cookie(token, int(left)), Body: newPerson(p)}, nil
}

func (s *Server) listSessions(ctx context.Context, c caller, in *struct {
	Person string `query:"person" maxLength:"64" doc:"Another person's account"`
}) (*body[SessionList], error) {
	name := c.Name
	if in.Person != "" && !access.SameName(in.Person, name) {
		if err := s.permit(ctx, c, access.PeopleManage, "list_sessions", in.Person, ""); err != nil {
			return nil, err
		}
		name = in.Person
	}
	list, err := s.c.Access.Sessions(ctx, name)
	if err == nil && name != c.Name {
		err = s.done(ctx, c, "list_sessions", name, "")
	}
	if err != nil {
		return nil, err
	}
	out := SessionList{Sessions: []SessionRow{}}
	for _, x := range list {
		out.Sessions = append(out.Sessions, SessionRow{ID: x.ID, Made: x.Made, Used: x.Used, Until: x.Ends, From: x.From,
			Agent: x.Agent, This: x.ID == c.Session})
	}
	return &body[SessionList]{out}, nil
}
