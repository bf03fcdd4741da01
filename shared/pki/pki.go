// Package pki holds the identities of both tiers: the built-in certificate
// authority, the certificates of gateways and servers, the token that a gateway
// is enrolled with, and the TLS settings of either end.
//
// It promises that a certificate is good for one thing: a gateway's cannot
// serve and a server's cannot be a gateway; that a gateway is who its
// certificate's URI says and nothing else; that keys are P-256 or Ed25519 and
// connections TLS 1.3; and that a file it writes is whole and durable or was
// never written.
//
// It keeps no list of tokens or of revoked certificates: that is the cloud's
// fleet, which is asked through a function. It reads no clock but the one it is
// given.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS #8
	pemRequest     = "CERTIFICATE REQUEST"
)

var (
	name       = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	gatewayURI = regexp.MustCompile(`^urn:wardline:gateway:([a-z0-9-]{1,64}):([a-z0-9-]{1,64})$`)
)

// CheckName says whether s can name a site or a gateway: 1 to 64 of a-z, 0-9
// and the hyphen.
func CheckName(s string) error {
	if !name.MatchString(s) {
		return fmt.Errorf("%q is not 1 to 64 of a-z, 0-9 and -", s)
	}
	return nil
}

func uriOf(site, id string) (*url.URL, error) {
	if err := CheckName(site); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	if err := CheckName(id); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return &url.URL{Scheme: "urn", Opaque: "wardline:gateway:" + site + ":" + id}, nil
}

// GatewayFrom is the site and the id of the gateway that cert, already
// verified, belongs to: those of its one URI, urn:wardline:gateway:{site}:{id}.
// A certificate with any other name beside it is refused.
func GatewayFrom(cert *x509.Certificate) (site, id string, err error) {
	others := len(cert.DNSNames) + len(cert.IPAddresses) + len(cert.EmailAddresses)
	if len(cert.URIs) != 1 || others != 0 {
		return "", "", errors.New("certificate is not a gateway's: it does not have one URI as its only name")
	}
	match := gatewayURI.FindStringSubmatch(cert.URIs[0].String())
	if match == nil {
		return "", "", fmt.Errorf("certificate is not a gateway's: %q", cert.URIs[0])
	}
	return match[1], match[2], nil
}

// Fingerprint is the SHA-256 of the certificate in lower-case hexadecimal, 64
// characters: the CA's hash in a [Token], and a key to revoke by.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// NewKeyAndCSR makes a P-256 key and a request to sign it, both PEM. The
// request carries no name: the signer says who it is for.
func NewKeyAndCSR() (keyPEM, csrPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	keyPEM, err = encodeKey(key)
	return keyPEM, encode(pemRequest, der), err
}

// ParseCertificate reads the first certificate of a PEM text, a CA's or a leaf.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	der, err := decode(text, pemCertificate)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return encode(pemKey, der), nil
}

// decode finds the first block of a kind, passing over others.
func decode(text []byte, kind string) ([]byte, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("no PEM block %q", kind)
		}
		if block.Type == kind {
			return block.Bytes, nil
		}
		text = rest
	}
}

// WriteFile replaces the file at path by data at one instant: after a crash
// there is the old file or the new one, and after WriteFile returns nil it is
// the new one. Keys are written with mode 0600.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename, nothing
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes durable what was renamed or removed in a folder.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
