package ingest

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
	"wardline/shared/sqlite"
	"wardline/shared/vital"
)

// The load of B10: gateways of 40 beds that each send batch after batch, at most
// benchAhead of them unacknowledged.
const (
	benchGateways = 200
	benchBeds     = 40
	benchBatches  = 20 // of one gateway, one row a bed each
	benchAhead    = 8
	benchRows     = benchGateways * benchBeds * benchBatches
)

// BenchmarkCommit is B10: what the cloud takes, from the gateways' WebSockets
// over mutual TLS on loopback to durable rows and acknowledgements, beside a
// bare append of the same rows to the same table, 256 a commit, in the same run.
// The gateways' own work (their half of TLS) is on the same machine and counts.
func BenchmarkCommit(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		took := benchCommit(b, filepath.Join(dir, "cloud.db"))
		bare := benchFloor(b, filepath.Join(dir, "cloud.db"), filepath.Join(dir, "floor.db"))
		b.ReportMetric(benchRows/took.Seconds(), "records/s")
		b.ReportMetric(benchRows/bare.Seconds(), "floor-records/s")
		b.ReportMetric(bare.Seconds()/took.Seconds(), "of-floor")
	}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// benchCommit is how long the load takes.
func benchCommit(b *testing.B, path string) time.Duration {
	st, err := store.Open(path)
	check(b, err)
	defer st.Close()
	ca, err := pki.NewCA("bench", time.Now(), time.Hour)
	check(b, err)
	server := New(Config{Store: st, Vitals: benchVitals, Admit: func(_ context.Context, c *x509.Certificate) (Gateway, error) {
		site, id, err := pki.GatewayFrom(c)
		return Gateway{Site: site, ID: id, Wards: []string{"w-" + id}}, err
	}})
	defer server.Close()
	addr := benchServe(b, ca, server)

	var gateways []*benchGateway
	for i := range benchGateways {
		g := benchDial(b, ca, addr, fmt.Sprintf("gw-%d", i))
		defer g.conn.CloseNow()
		gateways = append(gateways, g)
	}
	began := time.Now()
	var all sync.WaitGroup
	for _, g := range gateways {
		all.Go(g.run)
	}
	all.Wait()
	took := time.Since(began)
	if n := server.Counts().Records; n != benchRows {
		b.Fatalf("%d records were taken, want %d", n, benchRows)
	}
	return took
}

func benchServe(b *testing.B, ca *pki.CA, h http.Handler) string {
	cert, key, err := ca.SignServer([]string{"127.0.0.1"}, time.Now(), time.Hour)
	check(b, err)
	file := filepath.Join(b.TempDir(), "server.pem")
	check(b, pki.SaveIdentity(file, cert, key))
	id, err := pki.OpenIdentity(file, file)
	check(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	s := &http.Server{Handler: h, TLSConfig: pki.ServerTLS(id, ca.Pool(), nil, nil)}
	go s.ServeTLS(l, "", "")
	b.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// benchGateway is a session with batches that are encoded beforehand.
type benchGateway struct {
	b       *testing.B
	conn    *websocket.Conn
	batches [][]byte
}

func benchDial(b *testing.B, ca *pki.CA, addr, id string) *benchGateway {
	key, csr, err := pki.NewKeyAndCSR()
	check(b, err)
	cert, err := ca.SignGateway(csr, "site", id, time.Now(), time.Hour)
	check(b, err)
	file := filepath.Join(b.TempDir(), "id.pem")
	check(b, pki.SaveIdentity(file, cert, key))
	identity, err := pki.OpenIdentity(file, file)
	check(b, err)
	transport := &http.Transport{TLSClientConfig: pki.ClientTLS(identity, ca.Pool(), "127.0.0.1", nil)}
	conn, _, err := websocket.Dial(context.Background(), "wss://"+addr+"/link", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{link.Subprotocol},
	})
	check(b, err)
	g := &benchGateway{b: b, conn: conn, batches: benchBatchesOf(b, id)}
	hello, err := link.Encode(&linkpb.Hello{Version: link.Version, Epoch: bytes.Repeat([]byte{7}, 16), Instance: []byte(id)})
	check(b, err)
	check(b, conn.Write(context.Background(), websocket.MessageBinary, hello))
	_, _, err = conn.Read(context.Background()) // Welcome
	check(b, err)
	return g
}

func benchBatchesOf(b *testing.B, id string) (list [][]byte) {
	seq := uint64(0)
	for i := range benchBatches {
		var records []link.Record
		for bed := range benchBeds {
			seq++
			s := &linkpb.Summary{
				Ward: "w-" + id, Bed: fmt.Sprint(bed), Sensor: fmt.Sprintf("s-%s-%d", id, bed), Patient: fmt.Sprintf("p-%s-%d", id, bed),
				Start: 1_700_000_000e6 + int64(i)*10e6, End: 1_700_000_010e6 + int64(i)*10e6, Contact: true,
			}
			for v := uint32(1); v <= 5; v++ {
				x := float32(60 + (int(v)*17+bed*7+i*3)%50)
				s.Vitals = append(s.Vitals, &linkpb.VitalSummary{Vital: v, N: 10, Min: x - 2, Mean: x, Max: x + 3, Last: x + 1, Quality: 95})
			}
			p, err := proto.Marshal(s)
			check(b, err)
			records = append(records, link.Record{Seq: seq, Kind: link.VitalsSummary, Observed: s.End, Payload: p})
		}
		batch, err := link.Pack(link.Vitals, records, false)
		check(b, err)
		m, err := link.Encode(batch)
		check(b, err)
		list = append(list, m)
	}
	return list
}

// run sends everything and returns when all of it is acknowledged.
func (g *benchGateway) run() {
	sent, acked := 0, 0
	for acked < len(g.batches) {
		for sent < len(g.batches) && sent-acked < benchAhead {
			if err := g.conn.Write(context.Background(), websocket.MessageBinary, g.batches[sent]); err != nil {
				g.b.Error(err)
				return
			}
			sent++
		}
		_, m, err := g.conn.Read(context.Background())
		if err != nil {
			g.b.Error(err)
			return
		}
		if m, err := link.Decode(m); err == nil {
			if a, ok := m.(*linkpb.Ack); ok {
				acked = int(a.Through) / benchBeds
			}
		}
	}
}

// benchVitals is what the composition root does with summaries.
func benchVitals(tx *store.Tx, g Gateway, list []*linkpb.Summary) error {
	rows := make([]store.Summary, 0, len(list))
	for _, s := range list {
		row := store.Summary{
			Ward: s.Ward, Bed: s.Bed, Start: s.Start, End: s.End, Late: s.Late, Contact: s.Contact,
			Sensor: s.Sensor, Patient: s.Patient, Vitals: make([]store.VitalSummary, 0, len(s.Vitals)),
		}
		for _, v := range s.Vitals {
			row.Vitals = append(row.Vitals, store.VitalSummary{
				Vital: vital.Vital(v.Vital), Quality: uint8(v.Quality), N: v.N,
				Min: float64(v.Min), Mean: float64(v.Mean), Max: float64(v.Max), Last: float64(v.Last),
			})
		}
		rows = append(rows, row)
	}
	return tx.PutVitals(rows)
}

// benchFloor is how long a bare append of the rows that from holds takes.
func benchFloor(b *testing.B, from, to string) time.Duration {
	source, err := sqlite.Open(from, sqlite.Options{})
	check(b, err)
	defer source.Close()
	rows, err := source.Read.Query(`SELECT bed, start, part, payload FROM vitals ORDER BY start, bed`)
	check(b, err)
	defer rows.Close()
	args := make([]any, 0, 4*benchRows)
	for rows.Next() {
		var bed, start, part int64
		var payload []byte
		check(b, rows.Scan(&bed, &start, &part, &payload))
		args = append(args, bed, start, part, payload)
	}
	check(b, rows.Err())
	if len(args) != 4*benchRows {
		b.Fatalf("%d rows are in the store, want %d", len(args)/4, benchRows)
	}
	db, err := sqlite.Open(to, sqlite.Options{CacheKiB: 16 << 10, WALLimit: 64 << 20})
	check(b, err)
	defer db.Close()
	_, err = db.Write.Exec(`CREATE TABLE vitals (bed INTEGER NOT NULL, start INTEGER NOT NULL, part INTEGER NOT NULL,
		payload BLOB NOT NULL, PRIMARY KEY (bed, start, part)) STRICT, WITHOUT ROWID`)
	check(b, err)
	const each = 32
	insert, err := db.Write.Prepare(`INSERT INTO vitals VALUES (?,?,?,?)` + strings.Repeat(`,(?,?,?,?)`, each-1))
	check(b, err)
	defer insert.Close()
	began := time.Now()
	for len(args) > 0 {
		check(b, db.Tx(context.Background(), func(tx *sql.Tx) error {
			st := tx.Stmt(insert)
			for range 256 / each {
				if len(args) == 0 {
					break
				}
				if _, err := st.Exec(args[:4*each]...); err != nil {
					return err
				}
				args = args[4*each:]
			}
			return nil
		}))
	}
	return time.Since(began)
}
