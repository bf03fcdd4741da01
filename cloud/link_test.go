package cloud

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// enrolled gives the identity of a gateway that has enrolled.
func (r *running) enrolled(t *testing.T, a *Admin, gateway, ward string) tls.Certificate {
	t.Helper()
	line, _, err := a.Token(t.Context(), gateway, []string{ward}, 0)
	if err != nil {
		t.Fatal(err)
	}
	key, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.fleet.Enrol(t.Context(), line, string(csr), "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(got.Certificate), key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// A peer is a gateway's connection, as plain as a WebSocket can be: only packages
// that own the module of WebSockets use it.
type peer struct {
	t    *testing.T
	conn *tls.Conn
	in   *bufio.Reader
}

func (r *running) dial(t *testing.T, cert tls.Certificate) *peer {
	t.Helper()
	u, err := url.Parse(r.at.Gateways)
	if err != nil {
		t.Fatal(err)
	}
	dialer := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify:   true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", "127.0.0.1:"+u.Port())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t, conn.(*tls.Conn), bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "GET /link HTTP/1.1\r\nHost: cloud\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", link.Subprotocol)
	answer, err := http.ReadResponse(p.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake: %v, %v", answer, err)
	}
	return p
}

// send writes one binary message, masked with zeros (RFC 6455 section 5.2).
func (p *peer) send(m proto.Message) {
	p.t.Helper()
	b, err := link.Encode(m)
	if err != nil {
		p.t.Fatal(err)
	}
	frame := binary.BigEndian.AppendUint16([]byte{0x82, 0x80 | 126}, uint16(len(b)))
	if _, err := p.conn.Write(append(append(frame, 0, 0, 0, 0), b...)); err != nil {
		p.t.Fatal(err)
	}
}

// next reads the next binary message.
func (p *peer) next() proto.Message {
	p.t.Helper()
	for {
		var head [2]byte
		_, err := io.ReadFull(p.in, head[:])
		n := uint16(head[1] & 0x7f)
		if err == nil && n == 126 {
			err = binary.Read(p.in, binary.BigEndian, &n)
		}
		b := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(p.in, b)
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if head[0] != 0x82 {
			continue
		}
		m, err := link.Decode(b)
		if err != nil {
			p.t.Fatal(err)
		}
		return m
	}
}

func TestASessionThatTheFleetCannotNoteIsEndedAndComesAgain(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.admin(t)
	cert := r.enrolled(t, a, "gw-7w", "7w")
	do := func(statement string) {
		t.Helper()
		err := a.store.Do(t.Context(), store.Normal, func(tx *store.Tx) error { _, err := tx.Exec(statement); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	hello := &linkpb.Hello{
		Version: link.Version, Epoch: bytes.Repeat([]byte{1}, 16), Instance: bytes.Repeat([]byte{2}, 16),
		Wards: []*linkpb.Ward{{Id: "7w", Name: "Ward 7 West"}},
	}
	do(`CREATE TRIGGER full BEFORE UPDATE OF link ON gateway BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
	p := r.dial(t, cert)
	p.send(hello)
	for {
		m := p.next()
		if _, welcome := m.(*linkpb.Welcome); welcome {
			continue
		}
		if refuse, ok := m.(*linkpb.Refuse); !ok || refuse.Reason != link.Busy || refuse.RetryAfter == 0 || refuse.Technician {
			t.Fatalf("told %v", m)
		}
		break
	}
	do(`DROP TRIGGER full`)
	p = r.dial(t, cert)
	p.send(hello)
	if m, ok := p.next().(*linkpb.Welcome); !ok {
		t.Fatalf("told %v", m)
	}
	list, err := a.Gateways(t.Context())
	if err != nil || len(list) != 1 || list[0].Link != store.LinkUp {
		t.Errorf("the gateways are %+v, %v", list, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
