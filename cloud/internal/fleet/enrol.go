package fleet

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/pki"
)

// wardName is what a ward's id may be.
var wardName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// maxWards is how many wards one gateway may have.
const maxWards = 64

// NewToken makes a token that enrols one gateway for its wards, once, within
// life (0 = [TokenLife], at most [MaxTokenLife]). The secret is only in the
// answer.
func (f *Fleet) NewToken(ctx context.Context, gateway string, wards []string, life time.Duration, by string) (pki.Token, int64, error) {
	if err := pki.CheckName(gateway); err != nil {
		return pki.Token{}, 0, fmt.Errorf("gateway: %w", err)
	}
	if len(wards) == 0 || len(wards) > maxWards {
		return pki.Token{}, 0, fmt.Errorf("a gateway has 1 to %d wards", maxWards)
	}
	for _, w := range wards {
		if !wardName.MatchString(w) {
			return pki.Token{}, 0, fmt.Errorf("%q cannot be a ward's id: 1 to 64 letters, digits and . _ -", w)
		}
	}
	if life == 0 {
		life = TokenLife
	}
	if life < 0 || life > MaxTokenLife {
		return pki.Token{}, 0, fmt.Errorf("a token lives for at most %d days", MaxTokenLife/(24*time.Hour))
	}
	t := pki.NewToken(pki.Fingerprint(f.c.CA.Cert), f.c.EnrolURL)
	hash := sha256.Sum256([]byte(t.Secret))
	now := f.c.Now()
	row := store.Token{
		ID: t.ID, SecretHash: hash[:], Gateway: gateway, Wards: slices.Compact(slices.Sorted(slices.Values(wards))),
		MadeBy: by, MadeAt: now, ExpiresAt: now + life.Microseconds(),
	}
	err := f.c.Store.Do(ctx, store.Normal, func(tx *store.Tx) error {
		g, err := tx.Gateway(gateway)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		// A clock that was set back must not make the token older than the revocation
		// that it comes after.
		row.MadeAt = max(row.MadeAt, g.RevokedAt+1)
		return errors.Join(tx.AddToken(row), f.c.Audit(tx, Row{Who: by, What: "make token", On: gateway}))
	})
	return t, row.ExpiresAt, err
}

// Enrolled is what a gateway is told when it has enrolled.
type Enrolled struct {
	Site        string `json:"site"`
	Gateway     string `json:"gateway"`
	Certificate string `json:"certificate"` // PEM
	CA          string `json:"ca"`          // PEM: whom to trust for the link
	Link        string `json:"link"`        // where to connect
}

// Refusal is why a gateway was not enrolled.
type Refusal struct {
	Status int    // of HTTP
	Reason string // a stable word: one of the constants below
	Detail string // a sentence for a technician
}

func (r *Refusal) Error() string { return r.Detail }

// Reasons of a [Refusal].
const (
	UnknownToken = "unknown_token"
	TokenExpired = "expired"
	TokenUsed    = "used"
	Revoked      = "revoked" // the gateway was, after the token was made
	BadRequest   = "bad_request"
	TooMany      = "too_many"
)

// Enrol gives a gateway its certificate for the key in csr (PEM), against the
// token as one line. The same token with the same key is answered again, with the
// same certificate, until the token expires, since the first answer may have been
// lost. A token from before a revocation is of no use after it. Refusals are a
// [Refusal] and are audited; from is the asker's network address.
func (f *Fleet) Enrol(ctx context.Context, token, csr, from string) (Enrolled, error) {
	from = f.c.Address(from)
	t, err := pki.ParseToken(token)
	if err != nil {
		return Enrolled{}, f.refuse(ctx, from, "", http.StatusBadRequest, UnknownToken, "this is no token: copy it again, whole")
	}
	key, err := publicKey(csr)
	if err != nil {
		return Enrolled{}, f.refuse(ctx, from, t.ID, http.StatusBadRequest, BadRequest, "the certificate request cannot be used: "+err.Error())
	}
	var out Enrolled
	var again bool
	err = f.c.Store.Do(ctx, store.High, func(tx *store.Tx) (err error) {
		out, again, err = f.enrol(tx, t, []byte(csr), key, from)
		return err
	})
	if r, ok := errors.AsType[*Refusal](err); ok {
		return Enrolled{}, f.refuse(ctx, from, t.ID, r.Status, r.Reason, r.Detail)
	}
	if err != nil {
		return Enrolled{}, fmt.Errorf("enrol: %w", err)
	}
	if !again { // end a session under the identity of before
		f.c.Disconnect(out.Gateway, "this identity was replaced when the gateway was enrolled anew")
	}
	return out, nil
}

// publicKey is the SHA-256 of the key that a request asks a certificate for, and
// which its sender proves to hold.
func publicKey(csr string) ([]byte, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(request.RawSubjectPublicKeyInfo)
	return sum[:], nil
}

// enrol answers in the transaction; again means that nothing was changed, because
// the certificate had been given before.
func (f *Fleet) enrol(tx *store.Tx, t pki.Token, csr, key []byte, from string) (out Enrolled, again bool, err error) {
	row, err := tx.Token(t.ID)
	hash := sha256.Sum256([]byte(t.Secret))
	if errors.Is(err, store.ErrNotFound) || err == nil && subtle.ConstantTimeCompare(hash[:], row.SecretHash) != 1 {
		return out, false, &Refusal{http.StatusForbidden, UnknownToken, "the cloud knows no such token"}
	}
	if err != nil {
		return out, false, err
	}
	g, err := tx.Gateway(row.Gateway)
	if errors.Is(err, store.ErrNotFound) {
		g, err = store.Gateway{ID: row.Gateway, Link: store.LinkNever}, nil
	}
	if err != nil {
		return out, false, err
	}
	now := f.c.Now()
	switch again = row.UsedAt > 0; {
	case g.RevokedAt > 0 && row.MadeAt <= g.RevokedAt:
		return out, false, &Refusal{http.StatusForbidden, Revoked, "the gateway was revoked after this token was made: ask for a new one"}
	case again && !bytes.Equal(row.UsedKey, key):
		return out, false, &Refusal{http.StatusConflict, TokenUsed, "the token was used already: ask for a new one"}
	case now >= row.ExpiresAt:
		at := time.UnixMicro(row.ExpiresAt).UTC().Format(time.RFC3339)
		return out, false, &Refusal{http.StatusForbidden, TokenExpired, "the token expired at " + at + ": ask for a new one"}
	}
	audit := Row{Who: "gateway " + g.ID, From: from, What: enrolling, On: g.ID}
	text := []byte(row.Given)
	if again {
		audit.Why = "answered again"
		err = f.stillGood(tx, text)
	} else {
		text, err = f.sign(tx, g, row, csr, key, now)
	}
	if err != nil {
		return out, again, err
	}
	return Enrolled{
		Site: f.c.Site, Gateway: g.ID, Certificate: string(text), CA: string(f.c.CA.PEM()), Link: f.c.LinkURL,
	}, again, f.c.Audit(tx, audit)
}

// stillGood refuses to give a certificate again that is of no use any more.
func (f *Fleet) stillGood(tx *store.Tx, text []byte) error {
	cert, err := pki.ParseCertificate(text)
	if err == nil {
		var row store.Certificate
		if row, err = tx.Certificate(Serial(cert.SerialNumber)); err == nil && row.RevokedAt == 0 {
			return nil
		}
	}
	if err != nil && len(text) > 0 && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return &Refusal{http.StatusConflict, TokenUsed, "the token was used already, and the gateway was enrolled anew since: ask for a new one"}
}

// sign gives a certificate for a token, which is used with that. The gateway's
// row is made or renewed, and its certificates of before are of no use any more.
func (f *Fleet) sign(tx *store.Tx, g store.Gateway, t store.Token, csr, key []byte, now int64) ([]byte, error) {
	g.Site, g.Wards, g.EnrolledAt, g.RevokedAt, g.RevokedWhy = f.c.Site, t.Wards, now, 0, ""
	if err := errors.Join(tx.PutGateway(g), tx.RevokeCertificates(g.ID, now)); err != nil {
		return nil, err
	}
	text, err := f.certify(tx, g.ID, csr, now)
	if err != nil {
		return nil, err
	}
	return text, errors.Join(tx.UseToken(t.ID, key, string(text), now), tell(tx, g.ID))
}

func (f *Fleet) refuse(ctx context.Context, from, token string, status int, reason, detail string) error {
	err := f.stranger(ctx, Row{Who: "nobody", From: from, What: enrolling, On: "token " + token, Why: reason})
	return cmp.Or(err, error(&Refusal{status, reason, detail}))
}
