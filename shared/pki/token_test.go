package pki

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var hash = strings.Repeat("5a", 32)

func line(t testing.TB, token Token) string {
	t.Helper()
	l, err := token.Line()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestATokenSurvivesBeingPasted(t *testing.T) {
	want := NewToken(hash, "https://cloud.example.org:8444")
	l := line(t, want)
	for _, pasted := range []string{l, "  " + l + "\r\n", l[:60] + "\n" + l[60:]} {
		if got, err := ParseToken(pasted); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", pasted, got, err)
		}
	}
	if len(l) > 200 {
		t.Errorf("the line has %d characters", len(l))
	}
}

func TestEveryTypoInATokenIsSeen(t *testing.T) {
	l := line(t, NewToken(hash, "https://cloud"))
	for i := len(tokenPrefix); i < len(l); i++ {
		other := byte('A')
		if l[i] == other {
			other = 'B'
		}
		for what, typo := range map[string]string{
			"changed":  l[:i] + string(other) + l[i+1:],
			"left out": l[:i] + l[i+1:],
			"cut off":  l[:i],
		} {
			if _, err := ParseToken(typo); !errors.Is(err, ErrTypo) {
				t.Errorf("character %d %s: got %v, want %v", i, what, err, ErrTypo)
			}
		}
	}
}

func TestWhatIsNoTokenIsNotCalledATypo(t *testing.T) {
	for _, text := range []string{"", "hello", "wl2.AAAA", "WL1.AAAA"} {
		if _, err := ParseToken(text); err == nil || errors.Is(err, ErrTypo) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestATokenThatCouldNotBeReadBackIsNotWritten(t *testing.T) {
	for what, change := range map[string]func(*Token){
		"no id":            func(t *Token) { t.ID = "" },
		"a long id":        func(t *Token) { t.ID = strings.Repeat("a", 256) },
		"no secret":        func(t *Token) { t.Secret = "" },
		"no hash":          func(t *Token) { t.CAHash = "" },
		"half a hash":      func(t *Token) { t.CAHash = hash[:32] },
		"a capital hash":   func(t *Token) { t.CAHash = strings.ToUpper(hash) },
		"not hexadecimal":  func(t *Token) { t.CAHash = "zz" + hash[2:] },
		"no TLS":           func(t *Token) { t.URL = "http://cloud" },
		"no host":          func(t *Token) { t.URL = "https://" },
		"a password":       func(t *Token) { t.URL = "https://a:b@cloud" },
		"a query":          func(t *Token) { t.URL = "https://cloud?a=b" },
		"no URL":           func(t *Token) { t.URL = "" },
		"not even that":    func(t *Token) { t.URL = "https://cl oud" },
		"a very long host": func(t *Token) { t.URL = "https://" + strings.Repeat("a", maxURL) },
	} {
		token := NewToken(hash, "https://cloud")
		change(&token)
		if l, err := token.Line(); err == nil {
			t.Errorf("%s: wrote %s", what, l)
		}
	}
}

func TestTokensDifferAndAreNotPrintedByAccident(t *testing.T) {
	a, b := NewToken(hash, "https://cloud"), NewToken(hash, "https://cloud")
	if a.ID == b.ID || a.Secret == b.Secret {
		t.Errorf("two tokens alike: %s, %s", a, b)
	}
	for _, printed := range []string{fmt.Sprint(a), fmt.Sprintf("%+v", a), a.LogValue().String()} {
		if strings.Contains(printed, a.Secret) || !strings.Contains(printed, a.ID) {
			t.Errorf("printed as %q", printed)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(line(f, NewToken(hash, "https://cloud.example.org:8444")))
	f.Add("wl1.")
	f.Add("wl1.AAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			return
		}
		again, err := ParseToken(line(t, token))
		if err != nil || again != token {
			t.Errorf("got %+v, %v, want %+v", again, err, token)
		}
	})
}
