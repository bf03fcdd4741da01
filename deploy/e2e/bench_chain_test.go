//go:build bench

package e2e

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"wardline/shared/pki"
	"wardline/shared/sqlite"
)

// The chain is the floors of the whole path one after the other, as one process:
// what raises an alert is taken off the broker, appended to a database, sent
// over a WebSocket with mutual TLS, appended to another database, and sent over
// a WebSocket with TLS to a screen. It decides nothing and looks nothing up.

// startBareChain returns where a screen connects and the file of the CA to trust.
func startBareChain(t testing.TB, broker string) (p *proc, url, caFile string) {
	t.Helper()
	dir := folder(t)
	p = start(t, "bare chain", os.Args[0], bareChain, broker, dir)
	until(t, 20*time.Second, "the bare chain", func() error {
		text, err := os.ReadFile(filepath.Join(dir, "screens"))
		url = string(text)
		return err
	})
	return p, url, filepath.Join(dir, "ca.pem")
}

func runBareChain(broker, dir string, stop <-chan os.Signal) error {
	c := &chain{screen: make(chan []byte, 1024)}
	if err := c.certificates(dir); err != nil {
		return err
	}
	for _, db := range []struct {
		to   **sqlite.DB
		name string
	}{{&c.gateway, "gateway.db"}, {&c.cloud, "cloud.db"}} {
		var err error
		if *db.to, err = sqlite.Open(filepath.Join(dir, db.name), sqlite.Options{}); err != nil {
			return err
		}
		if _, err := (*db.to).Write.Exec(`CREATE TABLE event (n INTEGER PRIMARY KEY, body BLOB NOT NULL)`); err != nil {
			return err
		}
	}
	links, err := c.serve(pki.ServerTLS(c.server, c.ca.Pool(), nil, nil), c.takeLink)
	if err != nil {
		return err
	}
	screens, err := c.serve(pki.PageTLS(c.server, nil), c.feedScreen)
	if err != nil {
		return err
	}
	up, _, err := websocket.Dial(context.Background(), "wss://"+links, &websocket.DialOptions{HTTPClient: &http.Client{
		Transport: &http.Transport{TLSClientConfig: pki.ClientTLS(c.client, c.ca.Pool(), "127.0.0.1", nil)},
	}})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	client, err := bareClient(broker, func(_ mqtt.Client, m mqtt.Message) {
		if bed, yes := raising(m); yes {
			if err := c.pass(up, bed); err != nil {
				failed <- err
			}
		}
		m.Ack()
	})
	if err != nil {
		return err
	}
	defer client.Disconnect(100)
	if err := pki.WriteFile(filepath.Join(dir, "screens"), []byte("wss://"+screens), 0o600); err != nil {
		return err
	}
	select {
	case <-stop:
		return nil
	case err := <-failed:
		return err
	}
}

type chain struct {
	ca             *pki.CA
	server, client *pki.Identity
	gateway, cloud *sqlite.DB
	screen         chan []byte
}

func (c *chain) certificates(dir string) error {
	now := time.Now()
	var err error
	if c.ca, err = pki.NewCA("bench", now, time.Hour); err != nil {
		return err
	}
	cert, key, err := c.ca.SignServer([]string{"127.0.0.1"}, now, time.Hour)
	if err != nil {
		return err
	}
	if c.server, err = identity(filepath.Join(dir, "server.pem"), cert, key); err != nil {
		return err
	}
	key, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		return err
	}
	if cert, err = c.ca.SignGateway(csr, "bench", "gw", now, time.Hour); err != nil {
		return err
	}
	if c.client, err = identity(filepath.Join(dir, "client.pem"), cert, key); err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(dir, "ca.pem"), c.ca.PEM(), 0o600)
}

func identity(file string, cert, key []byte) (*pki.Identity, error) {
	if err := pki.SaveIdentity(file, cert, key); err != nil {
		return nil, err
	}
	return pki.OpenIdentity(file, file)
}

// serve ends with the process.
func (c *chain) serve(conf *tls.Config, take func(*websocket.Conn) error) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	h := func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		if err := take(conn); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Print(err)
		}
	}
	go http.Serve(tls.NewListener(l, conf), http.HandlerFunc(h))
	return l.Addr().String(), nil
}

// event is as long as a real one.
func event(bed string) []byte {
	return fmt.Appendf(nil, `{"t":"change","kind":"alert","alert":{"bed":%q,"phase":"active","text":"%0500d"}}`, bed, 0)
}

func (c *chain) pass(up *websocket.Conn, bed string) error {
	body := event(bed)
	if err := appendEvent(c.gateway, body); err != nil {
		return err
	}
	return up.Write(context.Background(), websocket.MessageBinary, body)
}

func appendEvent(db *sqlite.DB, body []byte) error {
	return db.Tx(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO event (body) VALUES ($1)`, body)
		return err
	})
}

func (c *chain) takeLink(conn *websocket.Conn) error {
	for {
		_, body, err := conn.Read(context.Background())
		if err != nil {
			return err
		}
		if err := appendEvent(c.cloud, body); err != nil {
			return err
		}
		c.screen <- body
	}
}

func (c *chain) feedScreen(conn *websocket.Conn) error {
	if _, _, err := conn.Read(context.Background()); err != nil { // its hello
		return err
	}
	ctx := conn.CloseRead(context.Background())
	for body := range c.screen {
		if err := conn.Write(ctx, websocket.MessageText, body); err != nil {
			return err
		}
	}
	return nil
}
