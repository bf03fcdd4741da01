package access

import (
	"strings"
	"testing"
)

func TestTextThatWouldNotBeSeenAsItIsIsRefused(t *testing.T) {
	for _, good := range []string{"", "on my way", "one\ntwo\tthree", "Zoë Šimić 李", "مريض", "👩🏽‍⚕️", "a\u200eb"} {
		if err := CheckText(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"a\x00b": "control character (U+0000)", "\x1b[31m": "control character (U+001B)", "a\rb": "control character (U+000D)",
		"\x7f": "U+007F", "\u0085": "U+0085", "dose \u202e01": "turns the direction of writing (U+202E)",
		"\u202a": "U+202A", "\u2066": "U+2066", "\u2069": "U+2069",
	} {
		if r := wantReason(t, CheckText(bad), BadText); !strings.Contains(r.Text, want) {
			t.Errorf("%q: %q, want %q in it", bad, r.Text, want)
		}
	}
}

func TestADisplayedNameIsOnePlainLine(t *testing.T) {
	w := open(t)
	for _, display := range []string{"Dr\nAnna", "Dr \u202eannA", "\x1b[2J"} {
		err := w.Add(t.Context(), "operator", From{}, Account{Name: "anna", Display: display, Role: Viewer, Wards: []string{"7w"}}, password)
		wantReason(t, err, BadText)
	}
}

func TestATextHasFiveHundredCharactersInAnyWriting(t *testing.T) {
	for _, letter := range []string{"a", "ü", "病", "🫀"} {
		if err := CheckText(strings.Repeat(letter, MaxText)); err != nil {
			t.Errorf("%d of %s: %v", MaxText, letter, err)
		}
		wantReason(t, CheckText(strings.Repeat(letter, MaxText+1)), BadText)
	}
}
