package fleet

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"wardline/shared/link"
	"wardline/shared/pki"
)

const days = 24 * time.Hour

// renewed renews a certificate; reason is why it must be refused, "" = it is given.
func (r *rig) renewed(cert *x509.Certificate, reason string) *x509.Certificate {
	r.t.Helper()
	before := len(r.audit)
	got, err := r.Renew(r.t.Context(), cert, newCSR(r.t), "192.0.2.1:5000")
	if refusal, ok := errors.AsType[*Refusal](err); ok || reason != "" {
		if !ok || refusal.Reason != reason {
			r.t.Errorf("renewing: %v, want a refusal of reason %q", err, reason)
		}
		if len(r.audit) != before+1 || !r.audit[before].Refused || r.audit[before].Why != reason {
			r.t.Errorf("audited %+v, want the refusal", r.audit[before:])
		}
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if len(r.audit) != before+1 || r.audit[before].What != renewing || r.audit[before].Refused {
		r.t.Errorf("audited %+v, want the renewal", r.audit[before:])
	}
	next, err := pki.ParseCertificate([]byte(got.Certificate))
	if err != nil {
		r.t.Fatal(err)
	}
	return next
}

// admitted asks whether a gateway may connect; reason is why not, "" = it may.
func (r *rig) admitted(cert *x509.Certificate, reason string) {
	r.t.Helper()
	_, err := r.Admit(r.t.Context(), cert, "192.0.2.1:5000")
	got := ""
	if refusal, ok := errors.AsType[*link.Refusal](err); ok {
		got = refusal.Reason
	} else if err != nil {
		r.t.Fatal(err)
	}
	if got != reason {
		r.t.Errorf("admitted: %q, want %q", got, reason)
	}
}

func TestACertificateIsRenewedAndTheOldOneIsGoodUntilItsEnd(t *testing.T) {
	r := newRig(t)
	old := r.enrolled()
	r.admitted(old, "")
	r.pass(60 * days)
	next := r.renewed(old, "")
	if left := next.NotAfter.Sub(r.now); left < CertificateLife-time.Minute {
		t.Errorf("the new one lasts %v", left)
	}
	r.admitted(old, "") // its answer may have been lost
	r.renewed(old, "")
	r.admitted(next, "")
	r.pass(31 * days)
	r.admitted(old, link.Expired)
	r.admitted(next, "")
}

func TestAnExpiredGatewayMayDoNothingButRenewUntilItIsRevoked(t *testing.T) {
	r := newRig(t)
	old := r.enrolled()
	r.admitted(old, "")
	r.pass(364 * days)
	r.admitted(old, link.Expired)
	next := r.renewed(old, "")
	r.admitted(next, "")
	if err := r.Revoke(t.Context(), "gw-7w", "anna", "192.0.2.9", "stolen"); err != nil {
		t.Fatal(err)
	}
	r.renewed(old, link.Revoked)
	r.renewed(next, link.Revoked)
	r.admitted(next, link.Revoked)
}

func TestWhoHasACopyOfARenewedCertificateCannotRenewIt(t *testing.T) {
	r := newRig(t)
	old := r.enrolled()
	r.admitted(old, "")
	r.pass(60 * days)
	next := r.renewed(old, "")
	r.admitted(next, "") // the true gateway has it
	r.renewed(old, Superseded)
	r.pass(60 * days)
	r.renewed(old, Superseded)
	r.renewed(next, "")
}

func TestACertificateOfNobodyIsNotRenewed(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	_, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.ca.SignGateway(csr, "north", "gw-7w", r.now, CertificateLife)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	r.renewed(cert, link.UnknownGateway)
}

func TestRenewalsAreBounded(t *testing.T) {
	r := newRig(t)
	cert := r.enrolled()
	for range renewalsAnHour - 1 { // the enrolment's was the first
		r.renewed(cert, "")
	}
	r.renewed(cert, TooMany)
	r.pass(renewalHour)
	r.renewed(cert, "")
}

func TestASessionOutlivesItsCertificateOnlyWhenThereIsANewerOne(t *testing.T) {
	r := newRig(t)
	old := r.enrolled()
	r.pass(60 * days)
	next := r.renewed(old, "")
	r.pass(31 * days)
	if err := r.Lapsed(t.Context(), old); err != nil {
		t.Errorf("with a newer one: %v", err)
	}
	r.pass(60 * days)
	if refusal, ok := errors.AsType[*link.Refusal](r.Lapsed(t.Context(), next)); !ok || refusal.Reason != link.Expired {
		t.Errorf("with none: %v", refusal)
	}
}
