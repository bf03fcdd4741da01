package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"
)

// backdate is how long before now a certificate begins, so that a clock which
// is a little behind its issuer's still takes it.
const backdate = time.Hour

// RenewAt is when a certificate should be renewed: at two thirds of its life,
// counted from when it was signed.
func RenewAt(cert *x509.Certificate) time.Time {
	from := cert.NotBefore.Add(backdate)
	return from.Add(cert.NotAfter.Sub(from) * 2 / 3)
}

// CA is the built-in certificate authority of one site or cloud: one self-signed
// root that signs gateways and servers, and no other CA.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes a root named name that is good from an hour before now until now
// plus life.
func NewCA(name string, now time.Time, life time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	root := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return &CA{cert, key}, nil
}

// LoadCA reads what [CA.Save] wrote.
func LoadCA(certFile, keyFile string) (*CA, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("load CA: the certificate in %s is not a CA's", certFile)
	}
	return &CA{pair.Leaf, key}, nil
}

// Save writes the certificate (mode 0644) and the key (0600) as PEM. It refuses
// to overwrite a key: every gateway would have to be enrolled again.
func (ca *CA) Save(certFile, keyFile string) error {
	if _, err := os.Lstat(keyFile); err == nil {
		return fmt.Errorf("save CA: %s exists already", keyFile)
	}
	key, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	if err := WriteFile(keyFile, key, 0o600); err != nil {
		return fmt.Errorf("save CA key: %w", err)
	}
	if err := WriteFile(certFile, ca.PEM(), 0o644); err != nil {
		return errors.Join(fmt.Errorf("save CA: %w", err), os.Remove(keyFile))
	}
	return nil
}

// PEM is the CA's certificate, without its key.
func (ca *CA) PEM() []byte { return encode(pemCertificate, ca.Cert.Raw) }

// Pool trusts this CA alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// SignGateway gives the key of a PEM request a client certificate for one
// gateway, good from an hour before now until now plus life or until the CA
// itself ends. Whatever names the request asks for are ignored. The request
// must prove that its sender holds the key, which must be P-256 or Ed25519.
func (ca *CA) SignGateway(csrPEM []byte, site, id string, now time.Time, life time.Duration) (certPEM []byte, err error) {
	uri, err := uriOf(site, id)
	if err != nil {
		return nil, err
	}
	public, err := requested(csrPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: id, Organization: []string{site}},
		URIs:        []*url.URL{uri},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, public, now, life)
}

func requested(csrPEM []byte) (crypto.PublicKey, error) {
	der, err := decode(csrPEM, pemRequest)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	switch key := csr.PublicKey.(type) {
	case ed25519.PublicKey:
		return key, nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return key, nil
		}
	}
	return nil, errors.New("the key is neither P-256 nor Ed25519")
}

// SignServer makes a P-256 key and a server certificate for hosts (DNS names
// and IP addresses), good from an hour before now until now plus life or until
// the CA itself ends. certPEM ends with the CA's certificate, so that a gateway
// which knows only its hash can find it; see [FirstContactTLS].
func (ca *CA) SignServer(hosts []string, now time.Time, life time.Duration) (certPEM, keyPEM []byte, err error) {
	if len(hosts) == 0 {
		return nil, nil, errors.New("sign server certificate: no host names")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make server key: %w", err)
	}
	leaf := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	if certPEM, err = ca.sign(leaf, key.Public(), now, life); err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return append(certPEM, ca.PEM()...), keyPEM, err
}

func (ca *CA) sign(leaf *x509.Certificate, public crypto.PublicKey, now time.Time, life time.Duration) ([]byte, error) {
	if !now.Before(ca.Cert.NotAfter) {
		return nil, fmt.Errorf("sign certificate: the CA ended on %s", ca.Cert.NotAfter.Format(time.DateOnly))
	}
	leaf.NotBefore = now.Add(-backdate)
	leaf.NotAfter = now.Add(life)
	if leaf.NotAfter.After(ca.Cert.NotAfter) {
		leaf.NotAfter = ca.Cert.NotAfter
	}
	leaf.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca.Cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return encode(pemCertificate, der), nil
}
