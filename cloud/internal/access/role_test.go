package access

import (
	"slices"
	"testing"
)

func TestARoleAllowsWhatItSaysInItsWardsOnly(t *testing.T) {
	all := []Permission{PatientsRead, AlertsAct, GatewaysRead, GatewaysManage, PeopleManage, AuditRead, StatusRead}
	for _, c := range []struct {
		role            Role
		wards           []string
		here, elsewhere []Permission
	}{
		{Viewer, []string{"7w"}, []Permission{PatientsRead, GatewaysRead}, nil},
		{Clinician, []string{"7w"}, []Permission{PatientsRead, AlertsAct, GatewaysRead}, nil},
		{Lead, []string{"*"}, []Permission{PatientsRead, AlertsAct, GatewaysRead}, []Permission{PatientsRead, AlertsAct, GatewaysRead}},
		{Technician, []string{"7w"}, []Permission{GatewaysRead, StatusRead}, []Permission{StatusRead}},
		{Administrator, nil, []Permission{GatewaysRead, GatewaysManage, PeopleManage, AuditRead, StatusRead},
			[]Permission{GatewaysRead, GatewaysManage, PeopleManage, AuditRead, StatusRead}},
		{Administrator, []string{"7w"}, []Permission{PatientsRead, GatewaysRead, GatewaysManage, PeopleManage, AuditRead, StatusRead},
			[]Permission{GatewaysRead, GatewaysManage, PeopleManage, AuditRead, StatusRead}},
		{"", []string{"*"}, nil, nil},
	} {
		p := Person{Role: c.role, Wards: c.wards}
		for _, x := range all {
			if got, want := p.May(x, "7w") == nil, slices.Contains(c.here, x); got != want {
				t.Errorf("%s of %v: %s in 7w is %v, want %v", c.role, c.wards, x, got, want)
			}
			if got, want := p.May(x, "5e") == nil, slices.Contains(c.elsewhere, x); got != want {
				t.Errorf("%s of %v: %s in 5e is %v, want %v", c.role, c.wards, x, got, want)
			}
		}
	}
}

func TestAHashVerifiesItsPasswordAndNoOther(t *testing.T) {
	h := hashPassword(password, cheap)
	if h == hashPassword(password, cheap) {
		t.Error("two hashes of a password are the same: there is no salt")
	}
	for p, want := range map[string]bool{password: true, password + " ": false, "": false} {
		if got, err := verifyPassword(h, p); got != want || err != nil {
			t.Errorf("%q verifies as %v, %v", p, got, err)
		}
	}
	for _, bad := range []string{"", "x", h[:len(h)-4], "$argon2i" + h[9:], "$argon2id$v=19$m=99999999,t=1,p=1$YWJj$YWJj"} {
		if _, err := verifyPassword(bad, password); err == nil {
			t.Errorf("%q passes for a hash", bad)
		}
	}
}
