package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openPair(t *testing.T, certPEM, keyPEM []byte) *Identity {
	t.Helper()
	file := filepath.Join(t.TempDir(), "identity.pem")
	if err := SaveIdentity(file, certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	id, err := OpenIdentity(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func server(t *testing.T, ca *CA, hosts ...string) *Identity {
	t.Helper()
	cert, key, err := ca.SignServer(hosts, day0, year)
	if err != nil {
		t.Fatal(err)
	}
	return openPair(t, cert, key)
}

func gateway(t *testing.T, ca *CA, site, id string) *Identity {
	t.Helper()
	_, cert, key := signGateway(t, ca, site, id)
	return openPair(t, cert, key)
}

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

var soon = at(day0.Add(time.Minute))

// talk connects the two over TCP, sends one byte back, and returns what either
// end came to and what the server saw.
func talk(t *testing.T, serverTLS, clientTLS *tls.Config) (seen tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		conn := tls.Server(raw, serverTLS)
		_, err = conn.Write([]byte{1}) // shakes hands first
		seen = conn.ConnectionState()
		done <- errors.Join(err, conn.Close())
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, clientTLS)
	_, clientErr = io.ReadFull(conn, make([]byte, 1))
	raw.Close()
	return seen, <-done, clientErr
}

func TestAGatewayAndItsCloudKnowEachOther(t *testing.T) {
	ca := newCA(t)
	for _, host := range []string{"cloud.example.org", "127.0.0.1", "::1"} {
		s := ServerTLS(server(t, ca, host), ca.Pool(), soon, nil)
		c := ClientTLS(gateway(t, ca, "olave", "gw"), ca.Pool(), host, soon)
		seen, serverErr, clientErr := talk(t, s, c)
		if serverErr != nil || clientErr != nil {
			t.Fatalf("%s: server %v, client %v", host, serverErr, clientErr)
		}
		if seen.Version != tls.VersionTLS13 {
			t.Errorf("%s: TLS version %x", host, seen.Version)
		}
		if site, id, err := GatewayFrom(seen.PeerCertificates[0]); site != "olave" || id != "gw" || err != nil {
			t.Errorf("%s: got %s, %s, %v", host, site, id, err)
		}
	}
}

func TestWhoIsNotWhoTheySayIsRefused(t *testing.T) {
	ca, stranger := newCA(t), newCA(t)
	good := server(t, ca, "cloud")
	gw := gateway(t, ca, "olave", "gw")
	mutual := ServerTLS(good, ca.Pool(), soon, nil)
	expired := at(day0.Add(2 * year))
	old := ClientTLS(gw, ca.Pool(), "cloud", soon)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for what, c := range map[string]struct{ server, client *tls.Config }{
		"a gateway of another CA":     {mutual, ClientTLS(gateway(t, stranger, "olave", "gw"), ca.Pool(), "cloud", soon)},
		"a server's certificate":      {mutual, ClientTLS(good, ca.Pool(), "cloud", soon)},
		"a gateway that serves":       {ServerTLS(gw, ca.Pool(), soon, nil), ClientTLS(gw, ca.Pool(), "gw", soon)},
		"a server of another CA":      {ServerTLS(server(t, stranger, "cloud"), ca.Pool(), soon, nil), ClientTLS(gw, ca.Pool(), "cloud", soon)},
		"a server of another name":    {mutual, ClientTLS(gw, ca.Pool(), "other", soon)},
		"a gateway that has expired":  {ServerTLS(good, ca.Pool(), expired, nil), ClientTLS(gw, ca.Pool(), "cloud", soon)},
		"a server that has expired":   {mutual, ClientTLS(gw, ca.Pool(), "cloud", expired)},
		"a client that is too old":    {mutual, old},
		"a first contact, wrong CA":   {mutual, FirstContactTLS(Fingerprint(stranger.Cert), "cloud", soon)},
		"a first contact, wrong name": {mutual, FirstContactTLS(Fingerprint(ca.Cert), "other", soon)},
		"a first contact, too late":   {mutual, FirstContactTLS(Fingerprint(ca.Cert), "cloud", expired)},
		"a first contact, a gateway":  {ServerTLS(withRoot(t, ca), ca.Pool(), soon, nil), FirstContactTLS(Fingerprint(ca.Cert), "cloud", soon)},
	} {
		if _, _, clientErr := talk(t, c.server, c.client); clientErr == nil {
			t.Errorf("%s was let in", what)
		}
	}
}

// withRoot is a gateway that sends the CA after its own certificate, as a
// server does.
func withRoot(t *testing.T, ca *CA) *Identity {
	t.Helper()
	_, cert, key := signGateway(t, ca, "olave", "cloud")
	return openPair(t, append(cert, ca.PEM()...), key)
}

func TestARevokedGatewayIsRefused(t *testing.T) {
	ca := newCA(t)
	gw := gateway(t, ca, "olave", "gw")
	revoked := errors.New("revoked")
	s := ServerTLS(server(t, ca, "cloud"), ca.Pool(), soon, func(c *x509.Certificate) error {
		if Fingerprint(c) == Fingerprint(gw.Leaf()) {
			return revoked
		}
		return nil
	})
	_, serverErr, clientErr := talk(t, s, ClientTLS(gw, ca.Pool(), "cloud", soon))
	if !errors.Is(serverErr, revoked) || clientErr == nil {
		t.Errorf("server %v, client %v, want %v", serverErr, clientErr, revoked)
	}
	_, serverErr, clientErr = talk(t, s, ClientTLS(gateway(t, ca, "olave", "gw"), ca.Pool(), "cloud", soon))
	if serverErr != nil || clientErr != nil {
		t.Errorf("its new certificate: server %v, client %v", serverErr, clientErr)
	}
}

func TestTheTokensHashIsEnoughForTheFirstContact(t *testing.T) {
	ca := newCA(t)
	for _, host := range []string{"cloud.example.org", "127.0.0.1"} {
		s := ServerTLS(server(t, ca, host), ca.Pool(), soon, nil)
		seen, serverErr, clientErr := talk(t, s, FirstContactTLS(Fingerprint(ca.Cert), host, soon))
		if serverErr != nil || clientErr != nil {
			t.Errorf("%s: server %v, client %v", host, serverErr, clientErr)
		}
		if len(seen.PeerCertificates) != 0 {
			t.Errorf("%s: a gateway that is not enrolled showed a certificate", host)
		}
	}
}

func TestAForgedChainIsTheWrongCA(t *testing.T) {
	ca, forger := newCA(t), newCA(t)
	cert, key, err := forger.SignServer([]string{"cloud"}, day0, year)
	if err != nil {
		t.Fatal(err)
	}
	forged := openPair(t, append(cert, ca.PEM()...), key) // the true root beside a false leaf
	for what, id := range map[string]*Identity{"another CA": server(t, forger, "cloud"), "the true root, unrelated": forged} {
		_, _, err := talk(t, PageTLS(id, soon), FirstContactTLS(Fingerprint(ca.Cert), "cloud", soon))
		if !errors.Is(err, ErrWrongCA) {
			t.Errorf("%s: got %v, want %v", what, err, ErrWrongCA)
		}
	}
}

func TestANewCertificateIsUsedWithoutARestart(t *testing.T) {
	ca := newCA(t)
	gw := gateway(t, ca, "olave", "gw")
	before := gw.Leaf()
	_, cert, key := signGateway(t, ca, "olave", "gw")
	if err := SaveIdentity(gw.certFile, cert, key); err != nil {
		t.Fatal(err)
	}
	s := ServerTLS(server(t, ca, "cloud"), ca.Pool(), soon, nil)
	seen, serverErr, clientErr := talk(t, s, ClientTLS(gw, ca.Pool(), "cloud", soon))
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server %v, client %v", serverErr, clientErr)
	}
	if seen.PeerCertificates[0].Equal(before) {
		t.Error("the old certificate was shown")
	}
}

func TestAnIdentityThatCannotBeReadKeepsTheLastGoodOne(t *testing.T) {
	ca := newCA(t)
	gw := gateway(t, ca, "olave", "gw")
	before := gw.Leaf()
	if err := os.WriteFile(gw.certFile, []byte("half of a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !gw.Leaf().Equal(before) || gw.Err() == nil {
		t.Errorf("half-written: err %v", gw.Err())
	}
	if err := os.Remove(gw.certFile); err != nil {
		t.Fatal(err)
	}
	if !gw.Leaf().Equal(before) || !errors.Is(gw.Err(), os.ErrNotExist) {
		t.Errorf("gone: err %v", gw.Err())
	}
	_, cert, key := signGateway(t, ca, "olave", "gw")
	if err := SaveIdentity(gw.certFile, cert, key); err != nil {
		t.Fatal(err)
	}
	if gw.Leaf().Equal(before) || gw.Err() != nil {
		t.Errorf("mended: err %v", gw.Err())
	}
}

func TestAKeyOfAnotherCertificateIsRefused(t *testing.T) {
	ca := newCA(t)
	_, cert, _ := signGateway(t, ca, "olave", "a")
	_, _, key := signGateway(t, ca, "olave", "b")
	file := filepath.Join(t.TempDir(), "identity.pem")
	if err := SaveIdentity(file, cert, key); err == nil {
		t.Error("a pair that does not match was saved")
	}
	if _, err := OpenIdentity(file, file); err == nil || !strings.Contains(err.Error(), "open identity") {
		t.Errorf("got %v", err)
	}
}
