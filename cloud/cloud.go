// Package cloud is the composition root of the upper tier: it joins store, fleet,
// ingest, board, feed, access and api into one process with two ports, and waits
// for everything that it started.
//
// It promises that Run returns only when nothing of it is left running, that a
// damaged database stops it aloud, and that shutting down is a crash that says
// goodbye: nothing correct depends on it.
//
// It decides nothing itself. [Admin] is what an operator does beside it.
package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"wardline/cloud/dashboard"
	"wardline/cloud/internal/access"
	"wardline/cloud/internal/api"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/feed"
	"wardline/cloud/internal/fleet"
	"wardline/cloud/internal/ingest"
	"wardline/cloud/internal/store"
	"wardline/shared/pki"
)

// Version is the program's, set by the build.
var Version = "unknown"

// Bounds of the two ports. A WebSocket takes its connection over, and with that
// net/http lifts readWithin and writeWithin: sessions have bounds of their own.
const (
	headerWithin = 10 * time.Second
	readWithin   = 30 * time.Second // a request, with its body; longer than any handler of the API takes
	writeWithin  = time.Minute      // its answer, from the end of its header
	idleFor      = 2 * time.Minute
	maxHeader    = 32 << 10        // bytes
	goodbye      = 5 * time.Second // for requests in flight when stopping
)

// parts is everything that runs, joined.
type parts struct {
	c      Config
	store  *store.Store
	access *access.Access
	board  *board.Board
	feed   *feed.Log
	hub    *feed.Hub
	fleet  *fleet.Fleet
	ingest *ingest.Server
	api    *api.Server
	since  int64 // when it began, µs UTC
}

// Run runs a cloud until ctx ends, and returns when all of it has ended: nil when
// that was asked for.
func Run(ctx context.Context, c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	c = c.withDefaults()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	unlock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	s, ca, err := c.open()
	if err != nil {
		return errors.Join(err, unlock())
	}
	if err = s.Check(ctx); err == nil {
		err = run(ctx, c, s, ca)
	} else if ctx.Err() != nil {
		err = nil // told to stop while it was checked
	}
	return errors.Join(err, s.Close(), unlock())
}

func run(ctx context.Context, c Config, s *store.Store, ca *pki.CA) error {
	server, err := c.ensureServer(ca)
	if err != nil {
		return err
	}
	people, err := c.peopleIdentity(server)
	if err != nil {
		return err
	}
	peoplePort, err := c.listen("people.listen", c.People.Listen)
	if err != nil {
		return err
	}
	defer peoplePort.Close()
	gatewayPort, err := c.listen("gateways.listen", c.Gateways.Listen)
	if err != nil {
		return err
	}
	defer gatewayPort.Close()

	g, ctx := errgroup.WithContext(ctx)
	p := join(ctx, c, s, ca, portOf(gatewayPort))
	if err := p.begin(ctx); err != nil {
		return err
	}
	peopleServer := c.httpServer(p.api, pki.PageTLS(people, c.time))
	gatewayServer := c.httpServer(p.gatewayMux(), p.gatewayTLS(ctx, server, ca))

	g.Go(func() error { return p.board.Run(ctx) })
	g.Go(func() error { return p.feed.Run(ctx) })
	g.Go(func() error { return p.hub.Run(ctx) })
	g.Go(func() error { return p.fleet.Run(ctx) })
	g.Go(func() error { return p.api.Run(ctx) })
	g.Go(func() error { return p.keepStatus(ctx) })
	g.Go(func() error { return s.RunRetention(ctx, c.retention(), c.Log) })
	g.Go(func() error { return s.RunCheckpoints(ctx, c.Log) })
	g.Go(func() error { return c.keepServer(ctx, ca) })
	g.Go(func() error { return stopWhenDamaged(ctx, s) })
	g.Go(func() error { return serve(peopleServer, peoplePort) })
	g.Go(func() error { return serve(gatewayServer, gatewayPort) })
	g.Go(func() error {
		<-ctx.Done()
		p.ingest.Close()
		return stop(peopleServer, gatewayServer)
	})
	g.Go(func() error {
		if c.Listen == nil {
			if err := answer(ctx, peoplePort, gatewayPort); err != nil {
				return err
			}
		}
		if ctx.Err() != nil || c.Ready == nil {
			return nil
		}
		c.Ready(c.addresses(portOf(peoplePort), portOf(gatewayPort)))
		return nil
	})
	return g.Wait()
}

// answer connects to each port as a client does, and so returns nil only when
// all of them take connections, or when ctx has ended.
func answer(ctx context.Context, ports ...net.Listener) error {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: headerWithin}, Config: &tls.Config{InsecureSkipVerify: true}}
	for _, l := range ports {
		conn, err := dialer.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("the port %s does not answer: %w", l.Addr(), err)
		}
		if err == nil {
			conn.Close()
		}
	}
	return nil
}

// join makes the parts and ties them to each other.
func join(ctx context.Context, c Config, s *store.Store, ca *pki.CA, gatewayPort string) *parts {
	p := &parts{c: c, store: s, since: c.Now()}
	p.access = access.New(access.Config{Store: s, Now: c.Now, Log: c.Log})
	p.feed = feed.New(s)
	p.hub = feed.NewHub(func(ward, bed string, on bool) { p.watch(ctx, ward, bed, on) }, c.Now)
	p.board = board.New(board.Config{
		Store: s, Now: c.Now, Log: c.Log,
		Wake: func(gateway string) { p.ingest.Wake(gateway) },
	})
	f := fleetConfig(c, s, ca, p.access, gatewayPort)
	f.Link, f.Gone, f.Changed = p.board.Link, p.board.Gone, p.feed.Changed
	f.Disconnect = func(gateway, reason string) { p.ingest.Disconnect(gateway, reason) }
	p.fleet = fleet.New(f)
	p.ingest = p.newIngest(ctx)
	p.api = api.New(api.Config{
		Store: s, Access: p.access, Board: p.board, Feed: p.feed, Hub: p.hub, Page: dashboard.Files(), Now: c.Now, Log: c.Log,
		Revoke: p.fleet.Revoke, Status: p.status,
	})
	return p
}

// fleetConfig is what a fleet needs, in a cloud that serves and beside one.
func fleetConfig(c Config, s *store.Store, ca *pki.CA, a *access.Access, port string) fleet.Config {
	public := c.publicURL(port)
	return fleet.Config{
		Store: s, CA: ca, Site: c.Site, Now: c.Now, Log: c.Log,
		CertificateLife: c.Gateways.CertificateLife.Or(fleet.CertificateLife),
		EnrolURL:        public, LinkURL: linkURL(public), Address: access.Address,
		Audit: func(tx *store.Tx, r fleet.Row) error {
			outcome := access.Done
			if r.Refused {
				outcome = access.Refused
			}
			return a.Audit(tx, access.Row{Who: r.Who, From: r.From, What: r.What, On: r.On, Outcome: outcome, Why: r.Why})
		},
	}
}

func linkURL(public string) string {
	u, err := url.Parse(public)
	if err != nil {
		return ""
	}
	u.Scheme, u.Path = "wss", "/link"
	return u.String()
}

// begin does what must be done before anybody connects.
func (p *parts) begin(ctx context.Context) error {
	name, password, err := p.access.FirstAdministrator(ctx)
	if err != nil {
		return err
	}
	if password != "" {
		fmt.Fprintf(p.c.Stdout, "The first administrator is %s, with the password %s\nIt is shown this once. Make accounts for the others: wardline-cloud user add --help\n", name, password)
	}
	return errors.Join(p.fleet.Begin(ctx), p.noteStatus(ctx))
}

// gatewayMux is what the gateways' port answers.
func (p *parts) gatewayMux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /enrol", p.fleet.Handler())
	mux.Handle("POST /renew", p.fleet.RenewHandler())
	mux.Handle("GET /link", p.ingest)
	return mux
}

// gatewayTLS lets in who shows no certificate, to enrol, and who shows one that
// the built-in CA gave to a gateway, also one that has ended. Any other is told so by TLS, and audited.
func (p *parts) gatewayTLS(ctx context.Context, server *pki.Identity, ca *pki.CA) *tls.Config {
	pool := ca.Pool()
	t := pki.ServerTLS(server, pool, p.c.time, nil)
	verify := t.VerifyConnection
	t.ClientAuth = tls.RequestClientCert // the chain is checked below, where a refusal can be audited
	check := func(s tls.ConnectionState, from string) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		leaf := s.PeerCertificates[0]
		at := p.c.time()
		if !at.Before(leaf.NotAfter) { // ended: it may still renew, which the fleet decides
			at = leaf.NotAfter.Add(-time.Second)
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil {
			err = verify(s)
		}
		if err != nil {
			p.fleet.Stranger(ctx, from, fmt.Sprintf("%.64s", leaf.Subject.CommonName), "wrong certificate: "+err.Error())
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
	t.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, from := t.Clone(), hello.Conn.RemoteAddr().String()
		c.VerifyConnection = func(s tls.ConnectionState) error { return check(s, from) }
		return c, nil
	}
	return t
}

// fromKey is where a request's context says from which address it came, which
// those who get the context alone need for the audit log.
type fromKey struct{}

func withFrom(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, fromKey{}, conn.RemoteAddr().String())
}

func fromOf(ctx context.Context) string {
	from, _ := ctx.Value(fromKey{}).(string)
	return from
}

func (c Config) httpServer(h http.Handler, t *tls.Config) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: t, ReadHeaderTimeout: headerWithin, ReadTimeout: readWithin, WriteTimeout: writeWithin,
		IdleTimeout: idleFor, MaxHeaderBytes: maxHeader, ConnContext: withFrom, ErrorLog: log.New(quiet{c.Log}, "", 0),
	}
}

// quiet writes what net/http says of clients' broken connections where it
// disturbs nobody.
type quiet struct{ log *slog.Logger }

func (q quiet) Write(b []byte) (int, error) {
	q.log.Debug("connection", "said", string(b))
	return len(b), nil
}

// listen takes a port, or says in plain words who has it.
func (c Config) listen(key, address string) (net.Listener, error) {
	on := c.Listen
	if on == nil {
		on = net.Listen
	}
	l, err := on("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: another program has the port of %s: stop it, or choose another port (%w)", key, address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

func portOf(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		panic(err) // a TCP listener has an address with a port
	}
	return port
}

func (c Config) addresses(people, gateways string) Addresses {
	public := c.publicURL(gateways)
	return Addresses{
		People: "https://" + net.JoinHostPort(c.thisHost(), people), Gateways: public, Link: linkURL(public),
	}
}

func serve(s *http.Server, l net.Listener) error {
	if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// stop ends servers: requests in flight have a moment, then they are cut.
func stop(servers ...*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	var ending sync.WaitGroup
	for _, s := range servers {
		ending.Go(func() {
			if s.Shutdown(ctx) != nil {
				s.Close()
			}
		})
	}
	ending.Wait()
	return nil
}

func stopWhenDamaged(ctx context.Context, s *store.Store) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.Damaged():
		return s.Damage()
	}
}
