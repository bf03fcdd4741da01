//go:build bench

package e2e

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wardline/shared/pki"
	"wardline/shared/sqlite"
)

// The floors of a replay: the rows read and deleted, and the bytes carried. Both
// are one after the other in one process, with nothing decided or packed.

// drainRows is how many rows of the floor are read and then deleted at a time.
const drainRows = 1024

// bareDrain reads the lane of vitals of a copy of an outbox and deletes it, a
// synced transaction a page. It returns the rows a second, and the payloads.
func bareDrain(t testing.TB, outbox string) (rate float64, payloads [][]byte) {
	t.Helper()
	dir := folder(t)
	copyFile(t, outbox, filepath.Join(dir, "outbox.db"))
	db, err := sqlite.Open(filepath.Join(dir, "outbox.db"), sqlite.Options{Readers: 1, CacheKiB: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	begin := time.Now()
	for after := int64(0); ; {
		page, last, err := drainPage(db.Read, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return float64(len(payloads)) / time.Since(begin).Seconds(), payloads
		}
		payloads, after = append(payloads, page...), last
		err = db.Tx(context.Background(), func(tx *sql.Tx) error {
			_, err := tx.Exec(`DELETE FROM record WHERE lane = 3 AND seq <= $1`, last)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func drainPage(db *sql.DB, after int64) (page [][]byte, last int64, err error) {
	rows, err := db.Query(`SELECT seq, kind, observed, payload FROM record WHERE lane = 3 AND seq > $1 ORDER BY seq LIMIT $2`, after, drainRows)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, observed int64
		var payload []byte
		if err := rows.Scan(&last, &kind, &observed, &payload); err != nil {
			return nil, 0, err
		}
		page = append(page, payload)
	}
	return page, last, rows.Err()
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// bareLink is how many of the payloads a second one WebSocket with mutual TLS
// carries, in messages of 60 KB.
func bareLink(t testing.TB, payloads [][]byte) float64 {
	t.Helper()
	c := &chain{}
	if err := c.certificates(folder(t)); err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, p := range payloads {
		size += len(p)
	}
	taken := make(chan error, 1)
	addr, err := c.serve(pki.ServerTLS(c.server, c.ca.Pool(), nil, nil), func(conn *websocket.Conn) error {
		conn.SetReadLimit(1 << 20)
		for got := 0; got < size; {
			_, b, err := conn.Read(context.Background())
			if err != nil {
				taken <- err
				return err
			}
			got += len(b)
		}
		taken <- nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(context.Background(), "wss://"+addr, &websocket.DialOptions{HTTPClient: linkClient(c)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	begin := time.Now()
	var message []byte
	for i, p := range payloads {
		message = append(message, p...)
		if len(message) >= 60_000 || i == len(payloads)-1 {
			if err := conn.Write(context.Background(), websocket.MessageBinary, message); err != nil {
				t.Fatal(err)
			}
			message = message[:0]
		}
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	return float64(len(payloads)) / time.Since(begin).Seconds()
}

func linkClient(c *chain) *http.Client {
	var conf *tls.Config = pki.ClientTLS(c.client, c.ca.Pool(), "127.0.0.1", nil)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
}
