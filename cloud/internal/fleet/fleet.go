// Package fleet is the cloud's list of gateways: how one becomes known, who may
// connect, what is known of its link, and how it is sent away.
//
// It promises that a token enrols one gateway, once, before it expires, and that
// the answer to an enrolment may be lost and asked for again with the same key;
// that only a certificate given here and not revoked is admitted, and nothing from
// before a revocation brings the gateway back; that a
// revocation, by this process or another, ends an open session within 1 s; and
// that a gateway without a word for [SilentAfter] is shown as down, whatever its
// connection pretends.
//
// It keeps gateways' rows and no alerts: that a lost link is an alert is the
// board's, told through [Config.Link].
package fleet

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// SilentAfter is how long a gateway with an open session may say nothing before
// its link is shown as down. It says its live values every second.
const SilentAfter = 12 * time.Second

// Lives of what the fleet gives out.
const (
	CertificateLife = 90 * 24 * time.Hour
	TokenLife       = 24 * time.Hour
	MaxTokenLife    = 14 * 24 * time.Hour
)

// The feed's kinds that the fleet writes: the payload is the JSON of a
// [store.Gateway] or a [store.Ward].
const (
	GatewayChange = "gateway"
	WardChange    = "ward"
)

// ErrNotFound means that there is no such gateway.
var ErrNotFound = store.ErrNotFound

// Config joins the fleet to the rest. Functions may be nil.
type Config struct {
	Store *store.Store
	CA    *pki.CA
	Site  string

	// EnrolURL is where gateways reach POST /enrol: https, host and port, no
	// path. LinkURL is where they then connect: wss and the path.
	EnrolURL, LinkURL string

	// CertificateLife is that of what gateways are given; 0 means [CertificateLife].
	CertificateLife time.Duration

	// Disconnect ends a gateway's session, if it has one, and tells it why in a
	// sentence. It must not block long.
	Disconnect func(gateway, text string)
	// Link tells the board that a link went up or down at since.
	Link func(tx *store.Tx, gateway string, up bool, since int64) error
	// Gone tells the board that a gateway was revoked.
	Gone func(tx *store.Tx, gateway string) error
	// Audit writes an audit row in the transaction of what it is about.
	Audit func(tx *store.Tx, r Row) error
	// Changed is closed when something was committed, here or elsewhere.
	Changed func() <-chan struct{}
	// Address is how limits and the audit log name a network address, which is given
	// with a port or without; nil = as it is given.
	Address func(string) string

	Now func() int64 // µs UTC; nil = the system's clock
	Log *slog.Logger // nil = slog.Default()
}

// Row is what the audit log is told.
type Row struct {
	Who, From, What, On string
	Refused             bool
	Why                 string
}

// Fleet is the list of gateways. Its methods may be called from any goroutine.
type Fleet struct {
	c     Config
	tries tries // to enrol

	strangers, gateways tries // that were refused and audited
	more                more  // that were refused

	mu       sync.Mutex // guards what follows
	sessions map[string]*session
}

// A session is what is known of a gateway while it is connected.
type session struct {
	heard int64 // µs UTC
	up    bool  // its row says so
}

// New makes a fleet.
func New(c Config) *Fleet {
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	if c.CertificateLife == 0 {
		c.CertificateLife = CertificateLife
	}
	if c.Disconnect == nil {
		c.Disconnect = func(string, string) {}
	}
	if c.Link == nil {
		c.Link = func(*store.Tx, string, bool, int64) error { return nil }
	}
	if c.Gone == nil {
		c.Gone = func(*store.Tx, string) error { return nil }
	}
	if c.Audit == nil {
		c.Audit = func(*store.Tx, Row) error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Address == nil {
		c.Address = func(s string) string { return s }
	}
	return &Fleet{
		c: c, sessions: map[string]*session{}, tries: tries{each: triesOfAddress, all: triesOfAll},
		strangers: tries{each: rowsOfStranger, all: rowsOfStrangers}, gateways: tries{each: rowsOfGateway, all: rowsOfGateways},
	}
}

// revokedText tells a technician what to do about a revoked gateway.
const revokedText = "this gateway was revoked: enrol it with a new token"

// Serial is a certificate's serial number as the fleet keeps it.
func Serial(n *big.Int) string { return fmt.Sprintf("%x", n) }

// Admit says who shows cert, whose chain TLS has verified, and notes that it is
// used. Whoever is not admitted is told why by a [link.Refusal], which is audited. from is the
// network address.
func (f *Fleet) Admit(ctx context.Context, cert *x509.Certificate, from string) (store.Gateway, error) {
	g, err := f.admit(ctx, cert)
	if refusal, ok := errors.AsType[*link.Refusal](err); ok {
		f.Refused(ctx, from, fmt.Sprintf("%.64s", cert.Subject.CommonName), refusal.Reason)
	}
	return g, err
}

// What the audit log calls what is refused.
const (
	connecting = "connect gateway"
	enrolling  = "enrol gateway"
)

// Refused audits that a gateway, which has shown a certificate of ours, was sent
// away. One who tries again and again has a few rows a minute, and a row once a
// minute says how many more there were.
func (f *Fleet) Refused(ctx context.Context, from, gateway, why string) {
	r := Row{Who: "gateway " + gateway, From: f.c.Address(from), What: connecting, On: gateway, Why: why}
	f.audited(ctx, f.refused(ctx, &f.gateways, gateway, r))
	f.audited(ctx, f.sentAway(ctx, gateway, "refused: "+why))
}

// sentAway notes why a gateway that has no link gets none, for who waits for it.
func (f *Fleet) sentAway(ctx context.Context, id, why string) error {
	var g store.Gateway
	err := f.c.Store.View(ctx, func(tx *store.Tx) (err error) {
		g, err = tx.Gateway(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (g.Link == store.LinkUp || g.LinkWhy == why) {
		return nil
	}
	return f.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		g, err := tx.Gateway(id)
		if err != nil || g.Link == store.LinkUp {
			return err
		}
		g.LinkWhy = why
		return errors.Join(tx.PutGateway(g), tell(tx, id))
	})
}

// Stranger audits that somebody who calls itself a gateway and cannot show that
// was sent away, as Refused does.
func (f *Fleet) Stranger(ctx context.Context, from, gateway, why string) {
	f.audited(ctx, f.stranger(ctx, Row{Who: "nobody", From: f.c.Address(from), What: connecting, On: gateway, Why: why}))
}

func (f *Fleet) audited(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		f.c.Log.Error("a refusal could not be audited", "error", err)
	}
}

func (f *Fleet) admit(ctx context.Context, cert *x509.Certificate) (g store.Gateway, err error) {
	var c store.Certificate
	err = f.c.Store.View(ctx, func(tx *store.Tx) (err error) {
		g, c, err = f.known(tx, cert)
		return err
	})
	if err != nil {
		return g, err
	}
	now := f.c.Now()
	if !time.UnixMicro(now).Before(cert.NotAfter) {
		return g, expired(cert)
	}
	if c.UsedAt > 0 {
		return g, nil
	}
	return g, f.c.Store.Do(ctx, store.High, func(tx *store.Tx) error { return tx.UseCertificate(c.Serial, now) })
}

// known is whose certificate that is, whatever its dates. It fails with a
// [link.Refusal].
func (f *Fleet) known(tx *store.Tx, cert *x509.Certificate) (g store.Gateway, c store.Certificate, err error) {
	site, id, err := pki.GatewayFrom(cert)
	if err != nil {
		return g, c, unknown(err.Error())
	}
	if site != f.c.Site {
		return g, c, unknown(fmt.Sprintf("the certificate is of site %s, this is %s", site, f.c.Site))
	}
	c, err = tx.Certificate(Serial(cert.SerialNumber))
	if err == nil && (c.Gateway != id || c.Fingerprint != pki.Fingerprint(cert)) {
		err = store.ErrNotFound
	}
	if err == nil {
		g, err = tx.Gateway(id)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = unknown("no such certificate was given to gateway " + id)
	case err == nil && (c.RevokedAt > 0 || g.RevokedAt > 0):
		err = &link.Refusal{Reason: link.Revoked, Text: revokedText, Technician: true}
	}
	return g, c, err
}

func unknown(text string) error {
	return &link.Refusal{Reason: link.UnknownGateway, Text: text, Technician: true}
}

// Gateways lists every gateway by id.
func (f *Fleet) Gateways(ctx context.Context) (list []store.Gateway, err error) {
	err = f.c.Store.View(ctx, func(tx *store.Tx) error {
		list, err = tx.Gateways()
		return err
	})
	return list, err
}

// Revoke sends a gateway away for good: its certificates are of no use any more,
// nor are the tokens that were made for it until now, and its open session ends.
// It may be enrolled again with a new token. To
// revoke it again changes nothing and writes no second row to the audit log. by is
// who does it, from where.
func (f *Fleet) Revoke(ctx context.Context, id, by, from, why string) error {
	err := f.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		g, err := tx.Gateway(id)
		if err != nil {
			return fmt.Errorf("gateway %.64q: %w", id, err)
		}
		if g.RevokedAt > 0 {
			return nil
		}
		now := f.c.Now()
		g.RevokedAt, g.RevokedWhy = now, why
		if g.Link == store.LinkUp {
			g.Link, g.LinkSince, g.LinkWhy = store.LinkDown, now, link.Revoked
		}
		return errors.Join(
			tx.PutGateway(g), tx.RevokeCertificates(id, now), tx.ExpireTokens(id, now), f.c.Gone(tx, id),
			f.c.Audit(tx, Row{Who: by, From: from, What: "revoke gateway", On: id, Why: why}),
			tell(tx, id))
	})
	if err == nil {
		f.c.Disconnect(id, revokedText)
	}
	return err
}

// tell writes a gateway as it stands to the feed.
func tell(tx *store.Tx, id string) error {
	g, err := tx.Gateway(id)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(g)
	if err != nil {
		return err
	}
	tx.Feed(GatewayChange, "", payload)
	return nil
}

// Up notes that a gateway's session began with hello. What it says of wards that
// are not its own is passed over.
func (f *Fleet) Up(ctx context.Context, id string, hello *linkpb.Hello) error {
	now := f.c.Now()
	err := f.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		g, err := tx.Gateway(id)
		if err != nil {
			return err
		}
		g.Link, g.LinkSince, g.LinkWhy, g.LastSeen = store.LinkUp, now, "", now
		g.Software, g.ConfigVersion = hello.GetSoftware(), fmt.Sprint(hello.GetConfigVersion())
		g.Lanes = nil
		for _, l := range hello.GetLanes() {
			g.Lanes = append(g.Lanes, store.Lane{Lane: int(l.Lane), First: l.First, Last: l.Last})
		}
		if err := errors.Join(tx.PutGateway(g), f.c.Link(tx, id, true, now)); err != nil {
			return err
		}
		return errors.Join(f.topology(tx, g, hello.GetWards()), tell(tx, id))
	})
	if err != nil {
		return fmt.Errorf("note the link of %s: %w", id, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[id] = &session{heard: now, up: true}
	return nil
}

func (f *Fleet) topology(tx *store.Tx, g store.Gateway, told []*linkpb.Ward) error {
	var wards []store.Ward
	for _, w := range told {
		if !slices.Contains(g.Wards, w.Id) {
			f.c.Log.Warn("a gateway names a ward that it is not enrolled for", "gateway", g.ID, "ward", w.Id)
			continue
		}
		wards = append(wards, ward(w))
	}
	changed, err := tx.PutTopology(g.ID, wards)
	if err != nil {
		return err
	}
	for _, id := range changed {
		w, err := tx.Ward(id)
		if errors.Is(err, store.ErrNotFound) {
			w, err = store.Ward{ID: id, Beds: []store.Bed{}}, nil
		}
		if err != nil {
			return err
		}
		payload, err := json.Marshal(w)
		if err != nil {
			return err
		}
		tx.Feed(WardChange, id, payload)
	}
	return nil
}

func limit(l *linkpb.Limit) store.Limit {
	return store.Limit{Name: l.Name, Value: l.Value, Unit: l.Unit}
}

// ward is a ward as it was told; a bed's own limits stand before its ward's.
func ward(w *linkpb.Ward) store.Ward {
	out := store.Ward{ID: w.Id, Name: w.Name}
	for _, b := range w.Beds {
		bed := store.Bed{ID: b.Id, Sensor: b.Sensor, Patient: b.Patient, Expect: b.Expect}
		for _, l := range w.Limits {
			if !slices.ContainsFunc(b.Limits, func(own *linkpb.Limit) bool { return own.Name == l.Name }) {
				bed.Limits = append(bed.Limits, limit(l))
			}
		}
		for _, l := range b.Limits {
			bed.Limits = append(bed.Limits, limit(l))
		}
		out.Beds = append(out.Beds, bed)
	}
	return out
}

// Down notes that a gateway's session ended, and why.
func (f *Fleet) Down(ctx context.Context, id, why string) error {
	f.mu.Lock()
	seen := f.c.Now()
	if s := f.sessions[id]; s != nil {
		seen = s.heard
	}
	delete(f.sessions, id)
	f.mu.Unlock()
	return f.setLink(ctx, id, store.LinkDown, why, seen)
}

// Heard notes a word from a gateway. It does not block.
func (f *Fleet) Heard(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[id]; s != nil {
		s.heard = f.c.Now()
	}
}

// setLink writes the state of a link, if it changed, and tells board and feed.
// A link is down since the gateway's last word.
func (f *Fleet) setLink(ctx context.Context, id, state, why string, seen int64) error {
	err := f.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		g, err := tx.Gateway(id)
		if err != nil {
			return err
		}
		if g.Link == state {
			return nil
		}
		g.Link, g.LinkSince, g.LinkWhy, g.LastSeen = state, seen, why, seen
		if err := errors.Join(tx.PutGateway(g), f.c.Link(tx, id, state == store.LinkUp, seen)); err != nil {
			return err
		}
		return tell(tx, id)
	})
	if err != nil {
		return fmt.Errorf("note the link of %s: %w", id, err)
	}
	return nil
}
