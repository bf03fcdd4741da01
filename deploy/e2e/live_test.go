//go:build system || bench

package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A live is a screen's socket, and everything that came down it.
type live struct {
	conn *websocket.Conn
	done sync.WaitGroup

	mu    sync.Mutex // guards what follows
	down  []down
	waves []wave
	err   error
}

// down is any JSON message, as far as these tests read it.
type down struct {
	T, Cursor, Kind, Ward string
	Page                  bool
	At                    int64
	Alert                 *cloudAlert
	Alerts                []cloudAlert
	Gateway               *struct{ ID, Link string }
	Beds                  []struct {
		Bed string
		V   map[string][3]float64
	}
	got time.Time
}

// A wave is the header of a binary message: which bed's, and what stretch.
type wave struct {
	ward, bed string
	lead      uint32
	start     int64
	samples   int
	got       time.Time
}

// follow opens the live socket with an empty cursor and waits for the snapshot.
func (c *client) follow() *live {
	c.t.Helper()
	l := c.followFrom("")
	l.wait(c.t, 10*time.Second, "a snapshot", func(d down) bool { return d.T == "snapshot" })
	return l
}

// followFrom opens the live socket with a cursor.
func (c *client) followFrom(cursor string) *live {
	c.t.Helper()
	conn, _, err := websocket.Dial(context.Background(), strings.Replace(c.base, "https", "wss", 1)+"/api/v1/live", &websocket.DialOptions{HTTPClient: &http.Client{Transport: c.http.Transport, Jar: c.http.Jar}})
	if err != nil {
		c.t.Fatalf("the live socket: %v", err)
	}
	conn.SetReadLimit(16 << 20)
	l := &live{conn: conn}
	l.done.Go(l.read)
	c.t.Cleanup(func() { conn.CloseNow(); l.done.Wait() })
	l.say(c.t, map[string]any{"t": "hello", "cursor": cursor})
	return l
}

// cursor is the newest that came.
func (l *live) cursor() string {
	all := l.all()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Cursor != "" {
			return all[i].Cursor
		}
	}
	return ""
}

func (l *live) say(t testing.TB, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.conn.Write(ctx, websocket.MessageText, b); err != nil {
		t.Fatalf("the live socket: %v", err)
	}
}

func (l *live) read() {
	for {
		kind, b, err := l.conn.Read(context.Background())
		now := time.Now()
		l.mu.Lock()
		switch {
		case err != nil:
			l.err = err
		case kind == websocket.MessageBinary:
			l.waves = append(l.waves, parseWave(b, now))
		default:
			d := down{got: now}
			if l.err = json.Unmarshal(b, &d); l.err == nil {
				l.down = append(l.down, d)
			}
		}
		failed := l.err != nil
		l.mu.Unlock()
		if failed {
			return
		}
	}
}

// all is what came so far.
func (l *live) all() []down {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.down)
}

func (l *live) wavesOf(bed string) []wave {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.waves), func(w wave) bool { return w.bed != bed })
}

func (l *live) waveCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waves)
}

// lastWave is when the last piece of a waveform came.
func (l *live) lastWave() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waves) == 0 {
		return time.Time{}
	}
	return l.waves[len(l.waves)-1].got
}

// wait waits for a message, which may have come already.
func (l *live) wait(t testing.TB, within time.Duration, what string, is func(down) bool) down {
	t.Helper()
	var found down
	until(t, within, what+" on the live socket", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.IndexFunc(l.down, is); i >= 0 {
			found = l.down[i]
			return nil
		}
		return fmt.Errorf("%d messages came, error %v", len(l.down), l.err)
	})
	return found
}

// parseWave reads the header of a waveform message: see the API's description.
func parseWave(b []byte, got time.Time) wave {
	const header = 32
	if len(b) < header || b[0] != 1 {
		return wave{got: got}
	}
	w, n := int(b[1]), int(b[2])
	if len(b) < header+w+n {
		return wave{got: got}
	}
	return wave{
		ward: string(b[header : header+w]), bed: string(b[header+w : header+w+n]),
		lead: binary.LittleEndian.Uint32(b[4:]), start: int64(binary.LittleEndian.Uint64(b[8:])),
		samples: int(binary.LittleEndian.Uint32(b[28:])), got: got,
	}
}
