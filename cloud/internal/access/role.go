package access

import (
	"fmt"
	"slices"
)

// Role is what somebody does in the house.
type Role string

// The five roles.
const (
	Viewer        Role = "viewer"
	Clinician     Role = "clinician"
	Lead          Role = "lead"
	Technician    Role = "technician"
	Administrator Role = "administrator"
)

// Permission is one thing that a role allows.
type Permission string

// The permissions.
const (
	PatientsRead   Permission = "patients.read"   // vitals, alerts, trends
	AlertsAct      Permission = "alerts.act"      // acknowledge, withdraw, comment, resolve
	GatewaysRead   Permission = "gateways.read"   // gateways and their links
	GatewaysManage Permission = "gateways.manage" // revoke
	PeopleManage   Permission = "people.manage"   // accounts and other people's sessions
	AuditRead      Permission = "audit.read"
	StatusRead     Permission = "status.read" // how the cloud itself is
)

// An administrator keeps accounts and gateways of the whole site, and sees
// patients only in wards that were given.
var allows = map[Role][]Permission{
	Viewer:        {PatientsRead, GatewaysRead},
	Clinician:     {PatientsRead, AlertsAct, GatewaysRead},
	Lead:          {PatientsRead, AlertsAct, GatewaysRead},
	Technician:    {GatewaysRead, StatusRead},
	Administrator: {PatientsRead, GatewaysRead, GatewaysManage, PeopleManage, AuditRead, StatusRead},
}

// Valid reports whether r is one of the five.
func (r Role) Valid() bool { return allows[r] != nil }

// Anywhere reports whether a person of this role has p without regard to wards.
func (r Role) Anywhere(p Permission) bool {
	return p == PeopleManage || p == AuditRead || p == StatusRead || r == Administrator && (p == GatewaysRead || p == GatewaysManage)
}

// Every is the ward of a person who is limited to none.
const Every = "*"

// Person is who is signed in.
type Person struct {
	Name    string
	Display string
	Role    Role
	Wards   []string // ids, or Every alone
	Session string   // the session's id
	Until   int64    // when the session ends whatever happens, µs UTC
}

// Permissions lists what the person may do somewhere.
func (p Person) Permissions() []Permission {
	var out []Permission
	for _, x := range allows[p.Role] {
		if len(p.Wards) > 0 || p.Role.Anywhere(x) {
			out = append(out, x)
		}
	}
	return out
}

// In reports whether ward is one of the person's.
func (p Person) In(ward string) bool {
	return slices.Contains(p.Wards, Every) || slices.Contains(p.Wards, ward)
}

// May is nil when the person may do x in ward, and otherwise a [*Refusal] of
// [MayNot] or [OtherWard]. The ward "" asks whether it is allowed anywhere.
func (p Person) May(x Permission, ward string) error {
	switch {
	case !slices.Contains(p.Permissions(), x):
		return &Refusal{Reason: MayNot, Text: fmt.Sprintf("The role %s does not allow you to %s. Ask your administrator if you need it.", p.Role, inWords[x])}
	case ward == "" || p.In(ward) || p.Role.Anywhere(x):
		return nil
	}
	return &Refusal{Reason: OtherWard, Text: fmt.Sprintf("Ward %s is not one of yours. Ask your administrator if you need it.", ward)}
}

var inWords = map[Permission]string{
	PatientsRead: "see patients' data", AlertsAct: "answer alerts", GatewaysRead: "see gateways",
	GatewaysManage: "manage gateways", PeopleManage: "manage people", AuditRead: "read the audit log", StatusRead: "see how the cloud is",
}
