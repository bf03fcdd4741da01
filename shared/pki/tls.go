package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ServerTLS is for the port that gateways connect to. A client that shows a
// certificate is let in only when gateways verifies it, it names a gateway, and
// verify, which may be nil, lets it pass: the place to refuse a revoked one. A
// client that shows none may do no more than enrol: the request's
// TLS.PeerCertificates is then empty, and every other path must refuse it. now is
// what certificates' dates are held against; nil means [time.Now].
//
// In TLS 1.3 a client learns that it was refused only with its first read.
func ServerTLS(id *Identity, gateways *x509.CertPool, now func() time.Time, verify func(*x509.Certificate) error) *tls.Config {
	c := PageTLS(id, now)
	c.ClientAuth = tls.VerifyClientCertIfGiven
	c.ClientCAs = gateways
	c.SessionTicketsDisabled = true // every connection shows its certificate anew
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		if _, _, err := GatewayFrom(s.PeerCertificates[0]); err != nil {
			return err
		}
		if verify == nil {
			return nil
		}
		return verify(s.PeerCertificates[0])
	}
	return c
}

// PageTLS is for the port that browsers connect to: it asks for no certificate.
// now is as for [ServerTLS].
func PageTLS(id *Identity, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return id.current(), nil
		},
	}
}

// ClientTLS is for a gateway that is enrolled: it shows id and trusts a server
// that cloud verifies for host, a DNS name or an IP address. now is what dates are
// held against; nil means that nobody knows the time, and the server's certificate
// is taken whatever its dates.
func ClientTLS(id *Identity, cloud *x509.CertPool, host string, now func() time.Time) *tls.Config {
	c := clientTLS(id, cloud, host, now)
	if now != nil {
		return c
	}
	c.InsecureSkipVerify = true // which the next lines do, but for the dates
	c.VerifyConnection = func(s tls.ConnectionState) error {
		leaf, between := s.PeerCertificates[0], x509.NewCertPool()
		for _, x := range s.PeerCertificates[1:] {
			between.AddCert(x)
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			DNSName: host, Roots: cloud, Intermediates: between, CurrentTime: leaf.NotAfter.Add(-time.Second),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
	return c
}

func clientTLS(id *Identity, cloud *x509.CertPool, host string, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		RootCAs:    cloud,
		ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.current(), nil
		},
	}
}

// ErrWrongCA means that a server did not show a chain that begins at the CA
// whose hash the token carries: the token is another cloud's, or somebody
// stands in between.
var ErrWrongCA = errors.New("the server's certificate does not come from the CA that the token names")

// FirstContactTLS is for a gateway that knows of the cloud only what its token
// says. It shows no certificate and trusts a server for host whose chain, which
// must hold its root as [CA.SignServer] makes it, begins at the CA with the
// given [Fingerprint]. now is as for [ServerTLS].
func FirstContactTLS(caHash, host string, now func() time.Time) *tls.Config {
	if now == nil {
		now = time.Now
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         host,
		InsecureSkipVerify: true, // the usual check knows no such root; the next lines do it
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyFrom(s.PeerCertificates, caHash, host, now())
		},
	}
}

func verifyFrom(chain []*x509.Certificate, caHash, host string, now time.Time) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, c := range chain[1:] {
		if c.IsCA && Fingerprint(c) == caHash {
			roots.AddCert(c)
			found = true
		} else {
			between.AddCert(c)
		}
	}
	if !found {
		return ErrWrongCA
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName:       host,
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return ErrWrongCA
	}
	if err != nil {
		return fmt.Errorf("verify server certificate: %w", err)
	}
	return nil
}
