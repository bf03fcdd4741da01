package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"unicode"
)

// ErrTypo means that a token was not copied whole or was changed on the way:
// ask for it to be copied again, not for a new one.
var ErrTypo = errors.New("the token was not copied whole")

const (
	tokenPrefix = "wl1."
	checkSize   = 4 // bytes of SHA-256: one typo in 4 billion passes, and then fails at the cloud
	maxField    = 255
	maxURL      = 1024
)

// A Token lets one gateway enrol, once. It is secret until it is used.
type Token struct {
	ID     string // names the token in lists and logs; at most 255 bytes
	Secret string // proves that the bearer was given it; at most 255 bytes
	CAHash string // the [Fingerprint] of the CA that the cloud's certificate must come from
	URL    string // https, host and perhaps port: where to enrol
}

// NewToken makes a token with a random id and secret (128 bits).
func NewToken(caHash, url string) Token {
	return Token{
		ID:     strings.ToLower(rand.Text()[:8]),
		Secret: rand.Text(),
		CAHash: caHash,
		URL:    url,
	}
}

// String names the token without giving its secret away; see [Token.Line].
func (t Token) String() string { return "token " + t.ID }

// LogValue is the token's id.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.ID) }

// Line is the token as one line to copy and paste: "wl1." and the base64url of
//
//	length of ID (1 byte), ID, length of Secret (1 byte), Secret,
//	CA hash (32 bytes), URL,
//	the first 4 bytes of the SHA-256 of "wl1." and all of that.
//
// It fails when a field is not as [Token] says.
func (t Token) Line() (string, error) {
	hash, err := hex.DecodeString(t.CAHash)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	body := append([]byte{byte(len(t.ID))}, t.ID...)
	body = append(append(body, byte(len(t.Secret))), t.Secret...)
	body = append(append(body, hash...), t.URL...)
	body = append(body, checkOf(body)...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(body), nil
}

// ParseToken reads what [Token.Line] wrote, passing over blanks and line breaks
// that a terminal or a mail put in. Its error wraps [ErrTypo] when copying again
// will help.
func ParseToken(line string) (Token, error) {
	line = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, line)
	if !strings.HasPrefix(line, tokenPrefix) {
		return Token{}, fmt.Errorf("read token: it does not begin with %q", tokenPrefix)
	}
	t, err := parseBody(line[len(tokenPrefix):])
	if err != nil {
		return Token{}, fmt.Errorf("read token: %w", err)
	}
	return t, nil
}

func parseBody(text string) (Token, error) {
	body, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(body) < checkSize {
		return Token{}, ErrTypo
	}
	body, sum := body[:len(body)-checkSize], body[len(body)-checkSize:]
	if string(sum) != string(checkOf(body)) {
		return Token{}, ErrTypo
	}
	var t Token
	var ok bool
	if t.ID, body, ok = field(body); !ok {
		return Token{}, errors.New("no id")
	}
	if t.Secret, body, ok = field(body); !ok {
		return Token{}, errors.New("no secret")
	}
	if len(body) < sha256.Size {
		return Token{}, errors.New("no CA hash")
	}
	t.CAHash = hex.EncodeToString(body[:sha256.Size])
	t.URL = string(body[sha256.Size:])
	return t, t.check()
}

func field(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}

func checkOf(body []byte) []byte {
	sum := sha256.Sum256(append([]byte(tokenPrefix), body...))
	return sum[:checkSize]
}

func (t Token) check() error {
	if t.ID == "" || len(t.ID) > maxField || t.Secret == "" || len(t.Secret) > maxField {
		return fmt.Errorf("id and secret are not 1 to %d bytes", maxField)
	}
	if len(t.CAHash) != hex.EncodedLen(sha256.Size) || t.CAHash != strings.ToLower(t.CAHash) {
		return fmt.Errorf("CA hash %q is not a SHA-256 in lower case", t.CAHash)
	}
	u, err := url.Parse(t.URL)
	if err != nil || len(t.URL) > maxURL {
		return fmt.Errorf("%.100q is not an address", t.URL)
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not https with a host", t.URL)
	}
	return nil
}
