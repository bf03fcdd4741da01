package fleet

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/pki"
)

// renewing is what the audit log calls a renewal.
const renewing = "renew certificate"

// Bounds of renewals: a gateway asks once in two thirds of its certificate's
// life, and again when an answer was lost.
const (
	renewalsAnHour = 10
	renewalHour    = time.Hour
)

// Superseded is the reason of a [Refusal] to renew a certificate in whose place
// the gateway has used a newer one: somebody has a copy of the old one.
const Superseded = "superseded"

// Renew gives the gateway that shows cert, whose chain TLS has verified, another
// certificate for the key in csr (PEM). It does so also when cert has ended,
// however long ago, until the gateway is revoked or a newer one was used. The old
// one stays good until its end. Refusals are a [Refusal] and are audited.
func (f *Fleet) Renew(ctx context.Context, cert *x509.Certificate, csr, from string) (Enrolled, error) {
	var out Enrolled
	err := f.c.Store.Do(ctx, store.High, func(tx *store.Tx) (err error) {
		out, err = f.renew(tx, cert, []byte(csr), f.c.Address(from))
		return err
	})
	name := fmt.Sprintf("%.64s", cert.Subject.CommonName)
	if refusal, ok := errors.AsType[*link.Refusal](err); ok {
		err = &Refusal{http.StatusForbidden, refusal.Reason, refusal.Text}
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		row := Row{Who: "gateway " + name, From: f.c.Address(from), What: renewing, On: name, Why: r.Reason}
		return Enrolled{}, cmp.Or(f.refused(ctx, &f.gateways, name, row), error(r))
	}
	if err != nil {
		return Enrolled{}, fmt.Errorf("renew the certificate of %s: %w", name, err)
	}
	return out, nil
}

func (f *Fleet) renew(tx *store.Tx, cert *x509.Certificate, csr []byte, from string) (Enrolled, error) {
	g, mine, err := f.known(tx, cert)
	if err != nil {
		return Enrolled{}, err
	}
	list, err := tx.Certificates(g.ID)
	if err != nil {
		return Enrolled{}, err
	}
	now := f.c.Now()
	lately := 0
	for _, c := range list {
		if c.IssuedAt > mine.IssuedAt && c.UsedAt > 0 {
			return Enrolled{}, &Refusal{http.StatusForbidden, Superseded,
				"this certificate was renewed and the newer one is in use: if this is the true gateway, enrol it anew and revoke the other"}
		}
		if now-c.IssuedAt < renewalHour.Microseconds() {
			lately++
		}
	}
	if lately >= renewalsAnHour {
		return Enrolled{}, &Refusal{http.StatusTooManyRequests, TooMany, fmt.Sprintf("%d certificates were given within an hour: wait", lately)}
	}
	text, err := f.certify(tx, g.ID, csr, now)
	if err != nil {
		return Enrolled{}, err
	}
	return Enrolled{Site: f.c.Site, Gateway: g.ID, Certificate: string(text), CA: string(f.c.CA.PEM()), Link: f.c.LinkURL},
		f.c.Audit(tx, Row{Who: "gateway " + g.ID, From: from, What: renewing, On: g.ID})
}

// certify signs a certificate and notes it.
func (f *Fleet) certify(tx *store.Tx, gateway string, csr []byte, now int64) ([]byte, error) {
	text, err := f.c.CA.SignGateway(csr, f.c.Site, gateway, time.UnixMicro(now), f.c.CertificateLife)
	if err != nil {
		return nil, &Refusal{http.StatusBadRequest, BadRequest, err.Error()}
	}
	cert, err := pki.ParseCertificate(text)
	if err != nil {
		return nil, err
	}
	return text, tx.AddCertificate(store.Certificate{
		Serial: Serial(cert.SerialNumber), Gateway: gateway, Fingerprint: pki.Fingerprint(cert),
		NotBefore: cert.NotBefore.UnixMicro(), NotAfter: cert.NotAfter.UnixMicro(), IssuedAt: now,
	})
}

// expired is why a gateway is refused whose certificate has ended.
func expired(cert *x509.Certificate) *link.Refusal {
	return &link.Refusal{
		Reason: link.Expired, RetryAfter: 5e6,
		Text: "the gateway's certificate ended on " + cert.NotAfter.UTC().Format(time.RFC3339) + ": it can do nothing with it but renew it, which it tries by itself",
	}
}

// Lapsed is asked when the certificate of an open session ends: nil when the
// gateway was given another meanwhile that is good, else why the session is over.
func (f *Fleet) Lapsed(ctx context.Context, cert *x509.Certificate) error {
	return f.c.Store.View(ctx, func(tx *store.Tx) error {
		g, _, err := f.known(tx, cert)
		if err != nil {
			return err
		}
		list, err := tx.Certificates(g.ID)
		if err != nil {
			return err
		}
		for _, c := range list {
			if c.RevokedAt == 0 && f.c.Now() < c.NotAfter {
				return nil
			}
		}
		return expired(cert)
	})
}

// RenewHandler is POST /renew, of a gateway that shows its certificate: {"csr": …}
// to [Enrolled], or a problem as of Handler.
func (f *Fleet) RenewHandler() http.Handler { return http.HandlerFunc(f.serveRenew) }

func (f *Fleet) serveRenew(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		problem(w, &Refusal{http.StatusUnauthorized, UnknownToken, "a gateway's certificate is required"})
		return
	}
	var ask struct {
		CSR string `json:"csr"` // PEM
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, enrolBody))
	if err == nil {
		err = json.Unmarshal(body, &ask)
	}
	if err != nil {
		problem(w, &Refusal{http.StatusBadRequest, BadRequest, "the request is not JSON with csr"})
		return
	}
	got, err := f.Renew(r.Context(), r.TLS.PeerCertificates[0], ask.CSR, r.RemoteAddr)
	f.answer(w, got, err, "a gateway's certificate could not be renewed")
}

// answer writes what a gateway is given, or why not.
func (f *Fleet) answer(w http.ResponseWriter, got Enrolled, err error, failed string) {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		problem(w, refusal)
		return
	}
	if err != nil {
		f.c.Log.Error(failed, "error", err)
		problem(w, &Refusal{http.StatusServiceUnavailable, "failed", "the cloud could not do that now: try again"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(got) // a client that has gone asks again
}
