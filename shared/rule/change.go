package rule

import "wardline/shared/alert"

// ChangeKind is what happened to a rule of a subject.
type ChangeKind uint8

// The changes.
const (
	Raised ChangeKind = iota + 1
	Updated
	Ended
	NotEvaluable // no alert, no "normal": what the rule reads is absent
	Evaluable
)

var changeNames = []string{"", "raised", "updated", "ended", "not evaluable", "evaluable"}

// String is the change's word, as in a case's expect.
func (k ChangeKind) String() string { return changeNames[k] }

// Change is one thing that Step found.
type Change struct {
	Kind     ChangeKind
	Rule     int            // the Program's index
	At       int64          // when
	Onset    int64          // Raised: when the condition became true
	Priority alert.Priority // Raised, Updated
	Why      string         // Ended: in words, "" for the condition's own end
	By       int            // Ended: the worse rule that supersedes it, -1 for none
}
