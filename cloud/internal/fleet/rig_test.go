package fleet

import (
	"crypto/x509"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// rig is a fleet on a real store and CA, with a clock that the test moves.
type rig struct {
	*Fleet
	t    *testing.T
	path string
	ca   *pki.CA

	mu    sync.Mutex
	now   time.Time
	cut   []string // who was disconnected, and why
	audit []Row
	links []string
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "cloud.db"), now: time.Now()}
	ca, err := pki.NewCA("test", r.now, 365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.ca = ca
	r.Fleet = r.open()
	return r
}

// open opens the database once more, as another process would.
func (r *rig) open() *Fleet {
	r.t.Helper()
	s, err := store.Open(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	return New(Config{
		Store: s, CA: r.ca, Site: "north", EnrolURL: "https://cloud.test:8444", LinkURL: "wss://cloud.test:8444/link",
		Now: func() int64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.now.UnixMicro()
		},
		Disconnect: func(gateway, why string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.cut = append(r.cut, gateway+" "+why)
		},
		Audit: func(_ *store.Tx, row Row) error {
			r.audit = append(r.audit, row)
			return nil
		},
		Link: func(_ *store.Tx, gateway string, up bool, _ int64) error {
			state := "down"
			if up {
				state = "up"
			}
			r.links = append(r.links, state)
			return nil
		},
	})
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *rig) token(life time.Duration) string {
	r.t.Helper()
	tok, _, err := r.NewToken(r.t.Context(), "gw-7w", []string{"7w"}, life, "operator")
	if err != nil {
		r.t.Fatal(err)
	}
	line, err := tok.Line()
	if err != nil {
		r.t.Fatal(err)
	}
	return line
}

func newCSR(t *testing.T) string {
	t.Helper()
	_, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	return string(csr)
}

// enrolled enrols the gateway and returns its certificate.
func (r *rig) enrolled() *x509.Certificate {
	r.t.Helper()
	got, err := r.Enrol(r.t.Context(), r.token(0), newCSR(r.t), "192.0.2.1")
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := pki.ParseCertificate([]byte(got.Certificate))
	if err != nil {
		r.t.Fatal(err)
	}
	return cert
}

func (r *rig) up() {
	r.t.Helper()
	hello := &linkpb.Hello{Software: "1.2", Wards: []*linkpb.Ward{
		{Id: "7w", Name: "Ward 7 West", Beds: []*linkpb.Bed{{Id: "12", Sensor: "s017", Limits: []*linkpb.Limit{{Name: "hr.high", Value: 120}}}}},
		{Id: "8w", Name: "not its own"},
	}}
	if err := r.Up(r.t.Context(), "gw-7w", hello); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) row() (g store.Gateway) {
	r.t.Helper()
	err := r.c.Store.View(r.t.Context(), func(tx *store.Tx) (err error) {
		g, err = tx.Gateway("gw-7w")
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}
