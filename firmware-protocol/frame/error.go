package frame

import (
	"errors"
	"fmt"
	"strings"
)

// Reason is why a message was refused: a short word that never changes, fit
// for a counter's label (§13). It is itself an error, for errors.Is.
type Reason string

// The reasons of this package.
const (
	ErrEmpty      Reason = "empty"         // nothing inside
	ErrTooLarge   Reason = "too_large"     // more bytes than §9.1 or §9.2 allows
	ErrMalformed  Reason = "malformed"     // not what the schema or the JSON form says
	ErrVersion    Reason = "newer_version" // a major version that this one cannot read
	ErrTagMissing Reason = "tag_missing"   // the site sets keys, the message has no tag
	ErrTag        Reason = "tag_wrong"     // the tag is not that of the sensor's key
	ErrLimit      Reason = "limit"         // well formed, but outside a limit of §4 or §9
)

func (r Reason) Error() string { return strings.ReplaceAll(string(r), "_", " ") }

// Error says why a message was refused, and where.
type Error struct {
	Reason  Reason
	Section string // of SPEC.md, such as 9.7
	Path    string // the field, such as waveforms[1].differences
	Got     string
	Want    string // empty when there is nothing to compare with
}

func (e *Error) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("%s: %s: got %s (SPEC §%s)", e.Reason.Error(), e.Path, e.Got, e.Section)
	}
	return fmt.Sprintf("%s: %s: got %s, want %s (SPEC §%s)", e.Reason.Error(), e.Path, e.Got, e.Want, e.Section)
}

// Unwrap makes errors.Is(err, ErrLimit) and its like work.
func (e *Error) Unwrap() error { return e.Reason }

// ReasonOf returns the reason inside err as a word for a counter, or "other"
// when err is none of this protocol's.
func ReasonOf(err error) string {
	if r, ok := errors.AsType[Reason](err); ok {
		return string(r)
	}
	return "other"
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func count(n int, what string) string { return fmt.Sprintf("%d %s", n, what) }

func atMost[N int | uint64](n N) string { return fmt.Sprintf("at most %d", n) }
