package access

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is the most characters of what a person writes: a comment, a reason. In
// bytes it is four times as many (UTF-8).
const MaxText = 500

// CheckText refuses with [BadText] what a person wrote when it is longer than
// [MaxText], or holds something
// that others would not see as it is: control characters but for newline and tab,
// and those that turn the direction of the writing around them (UAX #9, explicit
// formatting), with which one thing can be shown and another be kept.
func CheckText(text string) error {
	if n := utf8.RuneCountInString(text); n > MaxText {
		return &Refusal{Reason: BadText, Text: fmt.Sprintf("The text has %d characters, and %d at most are kept. Shorten it and try again. Nothing was changed.", n, MaxText)}
	}
	return checkText(text, func(r rune) bool { return r == '\n' || r == '\t' })
}

// checkLine is [CheckText] for what stands on one line.
func checkLine(text string) error {
	return checkText(text, func(rune) bool { return false })
}

func checkText(text string, allowed func(rune) bool) error {
	at := strings.IndexFunc(text, func(r rune) bool { return (unicode.IsControl(r) || turns(r)) && !allowed(r) })
	if at < 0 {
		return nil
	}
	r := []rune(text[at:])[0]
	what := "a control character"
	if turns(r) {
		what = "a character that turns the direction of writing"
	}
	return &Refusal{Reason: BadText, Text: fmt.Sprintf("The text contains %s (%U). Remove it and try again. Nothing was changed.", what, r)}
}

// turns reports whether r is an embedding, an override, an isolate or the end of
// one.
func turns(r rune) bool { return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 }
