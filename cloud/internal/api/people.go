package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"wardline/cloud/internal/access"
)

// Account is a person's account.
type Account struct {
	Name     string   `json:"name" doc:"What the person signs in with: 1 to 64 of a-z 0-9 . _ -"`
	Display  string   `json:"display" doc:"The name that others see"`
	Role     string   `json:"role" enum:"viewer,clinician,lead,technician,administrator"`
	Wards    []string `json:"wards" doc:"Ids of wards, or * alone for every ward"`
	Disabled bool     `json:"disabled"`
	Made     int64    `json:"made"`
}

// NewAccount is what making an account takes.
type NewAccount struct {
	Name     string   `json:"name" minLength:"1" maxLength:"64"`
	Display  string   `json:"display,omitempty" maxLength:"100" doc:"Absent = the name; one line without control characters"`
	Role     string   `json:"role" enum:"viewer,clinician,lead,technician,administrator"`
	Wards    []string `json:"wards" maxItems:"200" doc:"Ids of wards, or * alone; only an administrator may have none"`
	Password string   `json:"password" minLength:"12" maxLength:"256"`
}

// AccountList is every account, by name.
type AccountList struct {
	People []Account `json:"people"`
}

// NewPassword is a password that somebody else is given.
type NewPassword struct {
	Password string `json:"password" minLength:"12" maxLength:"256"`
}

// OwnPassword is a password that a person chooses.
type OwnPassword struct {
	Old string `json:"old" minLength:"1" maxLength:"256"`
	New string `json:"new" minLength:"12" maxLength:"256"`
}

type person struct {
	Name string `path:"name" maxLength:"64"`
}

func (s *Server) people() {
	operation(s, huma.Operation{OperationID: "set_own_password", Method: http.MethodPost, Path: "/api/v1/session/password",
		Summary: "Choose a new password", Description: "Ends your other sessions. A wrong old password counts as at signing in.",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusLocked, http.StatusTooManyRequests}}, anyone,
		func(ctx context.Context, c caller, in *body[OwnPassword]) (*struct{}, error) {
			err := s.c.Access.ChangePassword(ctx, c.Person, in.Body.Old, in.Body.New, c.from)
			if r, ok := errors.AsType[*access.Refusal](err); ok && r.Reason == access.WrongPassword {
				return nil, newProblem(http.StatusForbidden, string(r.Reason), "The old password is wrong. Nothing was changed.") // 401 would say that the session is over
			}
			return nil, err
		})
	operation(s, huma.Operation{OperationID: "list_people", Method: http.MethodGet, Path: "/api/v1/people",
		Summary: "Every account"}, access.PeopleManage, s.listPeople)
	operation(s, huma.Operation{OperationID: "add_person", Method: http.MethodPost, Path: "/api/v1/people",
		Summary: "Make an account", DefaultStatus: http.StatusCreated, Errors: []int{http.StatusConflict}}, access.PeopleManage,
		func(ctx context.Context, c caller, in *body[NewAccount]) (*struct{}, error) {
			x := in.Body
			return nil, s.c.Access.Add(ctx, c.Name, c.from, access.Account{Name: x.Name, Display: x.Display, Role: access.Role(x.Role), Wards: x.Wards}, x.Password)
		})
	s.changePerson("disable_person", "disable", "Keep an account from signing in, and end its sessions", s.c.Access.Disable)
	s.changePerson("enable_person", "enable", "Let a disabled account sign in again", s.c.Access.Enable)
	operation(s, huma.Operation{OperationID: "set_password", Method: http.MethodPost, Path: "/api/v1/people/{name}/password",
		Summary: "Give an account a new password, lift its lock and end its sessions", DefaultStatus: http.StatusNoContent,
		Errors: []int{http.StatusNotFound}}, access.PeopleManage,
		func(ctx context.Context, c caller, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body NewPassword
		}) (*struct{}, error) {
			return nil, s.c.Access.SetPassword(ctx, c.Name, c.from, in.Name, in.Body.Password)
		})
}

func (s *Server) changePerson(id, word, summary string, change func(ctx context.Context, by string, from access.From, name string) error) {
	operation(s, huma.Operation{OperationID: id, Method: http.MethodPost, Path: "/api/v1/people/{name}/" + word, Summary: summary,
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusConflict}}, access.PeopleManage,
		func(ctx context.Context, c caller, in *person) (*struct{}, error) {
			if access.SameName(in.Name, c.Name) {
				return nil, newProblem(http.StatusConflict, reasonConflict, "You cannot do this to your own account. Ask another administrator.")
			}
			return nil, change(ctx, c.Name, c.from, in.Name)
		})
}

func (s *Server) listPeople(ctx context.Context, c caller, _ *struct{}) (*body[AccountList], error) {
	accounts, err := s.c.Access.Accounts(ctx)
	if err == nil {
		err = s.done(ctx, c, "list_people", "", "")
	}
	out := AccountList{People: []Account{}}
	for _, a := range accounts {
		out.People = append(out.People, Account{Name: a.Name, Display: a.Display, Role: string(a.Role),
			Wards: append([]string{}, a.Wards...), Disabled: a.Disabled, Made: a.Made})
	}
	return &body[AccountList]{out}, err
}
