package cloud

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/store"
	"wardline/shared/pki"
)

// running is a cloud that serves on ports of its own.
type running struct {
	Config
	at   Addresses
	out  *bytes.Buffer
	stop func() error
}

func start(t *testing.T, data string) *running {
	t.Helper()
	r := &running{out: &bytes.Buffer{}}
	ready := make(chan Addresses, 1)
	r.Config = Config{
		Data: data, People: People{Listen: "127.0.0.1:0"}, Gateways: Gateways{Listen: "127.0.0.1:0"},
		Ready: func(a Addresses) { ready <- a }, Stdout: r.out, Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, r.Config) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { r.stop() })
	select {
	case r.at = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	r.Gateways.PublicURL = r.at.Gateways
	return r
}

// client shows certs, whichever CA the server would like to see, as an agent does.
func (r *running) client(certs ...tls.Certificate) *http.Client {
	c := &tls.Config{InsecureSkipVerify: true}
	if len(certs) > 0 {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
}

func (r *running) admin(t *testing.T) *Admin {
	t.Helper()
	a, err := OpenAdmin(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestACloudServesPeopleAndGatewaysAndEndsWhole(t *testing.T) {
	r := start(t, filepath.Join(t.TempDir(), "data"))
	answer, err := r.client().Get(r.at.People + "/healthz")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("health: %v, %v", answer, err)
	}
	answer.Body.Close()
	if got := r.out.String(); !regexp.MustCompile(`admin, with the password [A-Z2-7-]{20,}`).MatchString(got) {
		t.Errorf("the first start printed %q", got)
	}
	if err := r.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	again := start(t, r.Data)
	if got := again.out.String(); got != "" {
		t.Errorf("the second start printed %q", got)
	}
}

func TestAGatewayEnrolsWithATokenOfTheAdminAndWhoIsRefusedIsAuditedWithTheAddress(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.admin(t)
	line, _, err := a.Token(t.Context(), "gw-7w", []string{"7w"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	token, err := pki.ParseToken(line)
	if err != nil || token.URL != r.at.Gateways {
		t.Fatalf("the token leads to %s, %v", token.URL, err)
	}
	key, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"token": line, "csr": string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	host, err := url.Parse(token.URL)
	if err != nil {
		t.Fatal(err)
	}
	first := &http.Client{Transport: &http.Transport{TLSClientConfig: pki.FirstContactTLS(token.CAHash, host.Hostname(), nil)}}
	answer, err := first.Post(token.URL+"/enrol", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Certificate, Link string }
	err = json.NewDecoder(answer.Body).Decode(&got)
	answer.Body.Close()
	if err != nil || got.Link != r.at.Link {
		t.Fatalf("enrolled %+v, %v", got, err)
	}

	status := func(certs ...tls.Certificate) (int, error) {
		answer, err := r.client(certs...).Get(r.at.Gateways + "/link")
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		io.Copy(io.Discard, answer.Body)
		return answer.StatusCode, nil
	}
	if code, err := status(); code != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d, %v", code, err)
	}
	good, err := tls.X509KeyPair([]byte(got.Certificate), key)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := status(good); code != http.StatusUpgradeRequired {
		t.Errorf("with its certificate and no WebSocket: %d, %v", code, err)
	}
	stranger, err := pki.NewCA("elsewhere", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := stranger.SignGateway(csr, "main", "gw-7w", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := tls.X509KeyPair(forged, key)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := status(wrong); err == nil {
		t.Errorf("with another CA's certificate: %d", code)
	}
	if err := a.Revoke(t.Context(), "gw-7w", "lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := status(good); err != nil {
		t.Error(err)
	}
	var whys []string
	err = a.store.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.AuditAfter(0, 100)
		for _, row := range rows {
			if row.What == "connect gateway" && row.Outcome == string(access.Refused) {
				whys = append(whys, row.From+" "+row.Who+" "+row.Why)
			}
		}
		return err
	})
	if err != nil || len(whys) != 2 || !strings.HasPrefix(whys[0], "127.0.0.1 nobody wrong certificate: ") || whys[1] != "127.0.0.1 gateway gw-7w revoked" {
		t.Errorf("audited %q, %v", whys, err)
	}
}

func TestATakenPortAndATakenFolderAreSaidInPlainWords(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := Config{Data: t.TempDir(), People: People{Listen: l.Addr().String()}, Gateways: Gateways{Listen: "127.0.0.1:0"}, Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)}
	err = Run(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "people.listen: another program has the port") {
		t.Errorf("a taken port: %v", err)
	}
	r := start(t, t.TempDir())
	c.Data, c.People.Listen = r.Data, "127.0.0.1:0"
	if err := Run(t.Context(), c); !errors.Is(err, ErrRunning) {
		t.Errorf("a taken folder: %v", err)
	}
}

func TestADamagedDatabaseIsNotServed(t *testing.T) {
	data := t.TempDir()
	if err := start(t, data).stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "cloud.db"), bytes.Repeat([]byte("junk"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Config{Data: data, People: People{Listen: "127.0.0.1:0"}, Gateways: Gateways{Listen: "127.0.0.1:0"}, Stdout: io.Discard})
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

func TestADatabaseThatIsDamagedInsideIsFoundBeforeTheCloudIsUp(t *testing.T) {
	data := t.TempDir()
	if err := start(t, data).stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, "cloud.db")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// The header and the schema stay sound; the newest page is scribbled over.
	_, err = f.WriteAt(bytes.Repeat([]byte("junk"), 1024), stat.Size()-4096)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	up := false
	err = Run(t.Context(), Config{
		Data: data, People: People{Listen: "127.0.0.1:0"}, Gateways: Gateways{Listen: "127.0.0.1:0"},
		Stdout: io.Discard, Log: slog.New(slog.DiscardHandler), Ready: func(Addresses) { up = true },
	})
	if !errors.Is(err, store.ErrDamaged) || up {
		t.Errorf("got %v, want ErrDamaged; it said that it is up: %v", err, up)
	}
}

func TestACloudThatIsUpAnswersOnBothPorts(t *testing.T) {
	asked := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{
		Data: t.TempDir(), People: People{Listen: "127.0.0.1:0"}, Gateways: Gateways{Listen: "127.0.0.1:0"},
		Stdout: io.Discard, Log: slog.New(slog.DiscardHandler),
		Ready: func(a Addresses) {
			var errs []error
			for _, address := range []string{a.People, a.Gateways} {
				u, err := url.Parse(address)
				if err != nil {
					panic(err)
				}
				conn, err := tls.Dial("tcp", "127.0.0.1:"+u.Port(), &tls.Config{InsecureSkipVerify: true})
				if errs = append(errs, err); err == nil {
					conn.Close()
				}
			}
			asked <- errors.Join(errs...)
			cancel()
		},
	}
	if err := Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil {
		t.Error(err)
	}
}

func TestAGatewayThatTheOperatorRevokesIsAnAlertInItsWards(t *testing.T) {
	r := start(t, t.TempDir())
	a := r.admin(t)
	row := store.Gateway{ID: "gw-7w", Wards: []string{"7w"}, Link: store.LinkNever}
	if err := a.store.Do(t.Context(), store.Normal, func(tx *store.Tx) error { return tx.PutGateway(row) }); err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(t.Context(), "gw-7w", "lost"); err != nil {
		t.Fatal(err)
	}
	var open []store.Alert
	err := a.store.View(t.Context(), func(tx *store.Tx) (err error) {
		open, err = tx.Alerts(store.AlertQuery{Open: new(true)})
		return err
	})
	if err != nil || len(open) != 1 || open[0].Condition.Rule != "gateway-revoked" || open[0].Condition.Ward != "7w" {
		t.Errorf("open %+v, %v", open, err)
	}
}
