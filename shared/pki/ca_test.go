package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// day0 is the instant at which a simulation's clock starts.
var day0 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA("St. Olave's", day0, 10*year)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func signGateway(t *testing.T, ca *CA, site, id string) (cert *x509.Certificate, certPEM, keyPEM []byte) {
	t.Helper()
	keyPEM, csr, err := NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	if certPEM, err = ca.SignGateway(csr, site, id, day0, year); err != nil {
		t.Fatal(err)
	}
	if cert, err = ParseCertificate(certPEM); err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}

func TestAGatewayIsKnownByItsCertificate(t *testing.T) {
	cert, _, _ := signGateway(t, newCA(t), "olave", "gw-7w")
	site, id, err := GatewayFrom(cert)
	if site != "olave" || id != "gw-7w" || err != nil {
		t.Errorf("got %q, %q, %v, want olave, gw-7w", site, id, err)
	}
	if want := day0.Add(year); !cert.NotAfter.Equal(want) || cert.NotBefore.After(day0) {
		t.Errorf("good from %v to %v, want to %v", cert.NotBefore, cert.NotAfter, want)
	}
	if cert.IsCA {
		t.Error("a gateway's certificate can sign others")
	}
}

func TestANameOutsideTheCharacterSetIsNotSigned(t *testing.T) {
	ca := newCA(t)
	_, csr, err := NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "A", "a:b", "a/b", "a b", "ä", "a\n", "a.b", "a%41", strings.Repeat("a", 65)} {
		if _, err := ca.SignGateway(csr, "olave", bad, day0, year); err == nil {
			t.Errorf("gateway %q was signed", bad)
		}
		if _, err := ca.SignGateway(csr, bad, "gw", day0, year); err == nil {
			t.Errorf("site %q was signed", bad)
		}
	}
	if _, err := ca.SignGateway(csr, strings.Repeat("z", 64), "0-", day0, year); err != nil {
		t.Error(err)
	}
}

func TestACertificateWithOtherNamesIsNoGateway(t *testing.T) {
	good := &url.URL{Scheme: "urn", Opaque: "wardline:gateway:olave:gw"}
	if _, _, err := GatewayFrom(&x509.Certificate{URIs: []*url.URL{good}}); err != nil {
		t.Fatal(err)
	}
	for what, cert := range map[string]*x509.Certificate{
		"no name":   {},
		"two URIs":  {URIs: []*url.URL{good, good}},
		"a host":    {URIs: []*url.URL{good}, DNSNames: []string{"gw"}},
		"a mail":    {URIs: []*url.URL{good}, EmailAddresses: []string{"gw@example.org"}},
		"a query":   {URIs: []*url.URL{{Scheme: "urn", Opaque: "wardline:gateway:olave:gw", RawQuery: "x"}}},
		"a part":    {URIs: []*url.URL{{Scheme: "urn", Opaque: "wardline:gateway:olave:gw:more"}}},
		"one short": {URIs: []*url.URL{{Scheme: "urn", Opaque: "wardline:gateway:gw"}}},
		"another":   {URIs: []*url.URL{{Scheme: "urn", Opaque: "wardline:person:olave:gw"}}},
		"a capital": {URIs: []*url.URL{{Scheme: "urn", Opaque: "wardline:gateway:olave:GW"}}},
		"a path":    {URIs: []*url.URL{{Scheme: "urn", Host: "x", Path: "wardline:gateway:olave:gw"}}},
	} {
		if site, id, err := GatewayFrom(cert); err == nil {
			t.Errorf("%s: taken for %s of %s", what, id, site)
		}
	}
}

func TestARequestIsSignedOnlyForAGoodKeyThatItsSenderHolds(t *testing.T) {
	ca := newCA(t)
	request := func(key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return encode(pemRequest, der)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, good, err := NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	der, err := decode(good, pemRequest)
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1 // the signature
	for what, csr := range map[string][]byte{
		"RSA":             request(weak),
		"P-224":           request(other),
		"wrong signature": encode(pemRequest, der),
		"no PEM":          []byte("hello"),
		"a certificate":   ca.PEM(),
		"nothing":         nil,
	} {
		if _, err := ca.SignGateway(csr, "olave", "gw", day0, year); err == nil {
			t.Errorf("%s: was signed", what)
		}
	}
}

func TestNothingOutlivesTheCA(t *testing.T) {
	ca := newCA(t)
	_, csr, err := NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	text, err := ca.SignGateway(csr, "olave", "gw", day0.Add(9*year), 2*year)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ParseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	if !cert.NotAfter.Equal(ca.Cert.NotAfter) {
		t.Errorf("good until %v, the CA until %v", cert.NotAfter, ca.Cert.NotAfter)
	}
	if _, err := ca.SignGateway(csr, "olave", "gw", day0.Add(10*year), year); err == nil {
		t.Error("a CA that has ended signed")
	}
	if _, _, err := ca.SignServer(nil, day0, year); err == nil {
		t.Error("a server without a name was signed")
	}
}

func TestACAIsTheSameAfterItWasSaved(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	ca := newCA(t)
	if err := ca.Save(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	s, err := os.Stat(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Mode().Perm(); got != 0o600 {
		t.Errorf("mode of the key: got %o, want 600", got)
	}
	loaded, err := LoadCA(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Fingerprint(loaded.Cert), Fingerprint(ca.Cert); got != want || len(got) != 64 {
		t.Errorf("got %s, want %s", got, want)
	}
	cert, _, _ := signGateway(t, loaded, "olave", "gw")
	if err := cert.CheckSignatureFrom(ca.Cert); err != nil {
		t.Error(err)
	}
	if err := newCA(t).Save(certFile, keyFile); err == nil {
		t.Error("another CA was written over it")
	}
}

func TestALeafIsNoCA(t *testing.T) {
	dir := t.TempDir()
	_, cert, key := signGateway(t, newCA(t), "olave", "gw")
	file := filepath.Join(dir, "gw.pem")
	if err := SaveIdentity(file, cert, key); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(file, file); err == nil {
		t.Error("a gateway's certificate was loaded as a CA")
	}
	if _, err := LoadCA(filepath.Join(dir, "none"), file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

func TestAFileIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	for _, text := range []string{"first", "second"} {
		if err := WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
	if err := WriteFile(filepath.Join(dir, "no", "a"), nil, 0o600); err == nil {
		t.Error("wrote into a folder that is not there")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
