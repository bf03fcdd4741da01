package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
)

// Gateway is one gateway's row.
type Gateway struct {
	ID            string   `json:"id"`
	Site          string   `json:"site"`
	Wards         []string `json:"wards"` // the only wards that it may speak of
	EnrolledAt    int64    `json:"enrolled_at"`
	RevokedAt     int64    `json:"revoked_at"` // 0 while it is welcome
	RevokedWhy    string   `json:"revoked_why"`
	Link          string   `json:"link"`       // up, down, never
	LinkSince     int64    `json:"link_since"` // µs UTC
	LinkWhy       string   `json:"link_why"`   // why it is down, in words
	LastSeen      int64    `json:"last_seen"`
	Software      string   `json:"software"`
	ConfigVersion string   `json:"config_version"`
	Lanes         []Lane   `json:"lanes"`   // as its last Hello had them
	Pending       int      `json:"pending"` // commands without a Result
}

// Lane is what a gateway said of one lane of its outbox.
type Lane struct {
	Lane  int    `json:"lane"`
	First uint64 `json:"first"` // first kept
	Last  uint64 `json:"last"`
}

// The states of a link.
const (
	LinkUp    = "up"
	LinkDown  = "down"
	LinkNever = "never"
)

const gatewayColumns = `id, site, wards, enrolled_at, revoked_at, revoked_why, link, link_since, link_why, last_seen,
	software, config_version, lanes, (SELECT count(*) FROM command WHERE command.gateway = gateway.id AND done_at = 0)`

// Gateway finds a gateway, [ErrNotFound] when there is none of that id.
func (tx *Tx) Gateway(id string) (Gateway, error) {
	return scanGateway(tx.QueryRow(`SELECT `+gatewayColumns+` FROM gateway WHERE id = $1`, id))
}

// Gateways lists every gateway by id.
func (tx *Tx) Gateways() ([]Gateway, error) {
	var out []Gateway
	err := tx.each(func(row scanner) error {
		g, err := scanGateway(row)
		out = append(out, g)
		return err
	}, `SELECT `+gatewayColumns+` FROM gateway ORDER BY id`)
	return out, err
}

func scanGateway(row scanner) (Gateway, error) {
	var g Gateway
	var wards, lanes []byte
	err := row.Scan(&g.ID, &g.Site, &wards, &g.EnrolledAt, &g.RevokedAt, &g.RevokedWhy, &g.Link, &g.LinkSince, &g.LinkWhy,
		&g.LastSeen, &g.Software, &g.ConfigVersion, &lanes, &g.Pending)
	if err != nil {
		return g, err
	}
	return g, decode("gateway "+g.ID, pair{wards, &g.Wards}, pair{lanes, &g.Lanes})
}

// PutGateway writes a gateway's row whole, but for Pending.
func (tx *Tx) PutGateway(g Gateway) error {
	wards, lanes, err := encode(g.Wards, g.Lanes)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO gateway (id, site, wards, enrolled_at, revoked_at, revoked_why, link, link_since, link_why,
			last_seen, software, config_version, lanes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (id) DO UPDATE SET site = $2, wards = $3, enrolled_at = $4, revoked_at = $5, revoked_why = $6, link = $7,
			link_since = $8, link_why = $9, last_seen = $10, software = $11, config_version = $12, lanes = $13`,
		g.ID, g.Site, wards, g.EnrolledAt, g.RevokedAt, g.RevokedWhy, g.Link, g.LinkSince, g.LinkWhy,
		g.LastSeen, g.Software, g.ConfigVersion, lanes)
	return err
}

// Certificate is one certificate that was given to a gateway.
type Certificate struct {
	Serial      string // hexadecimal
	Gateway     string
	Fingerprint string
	NotBefore   int64
	NotAfter    int64
	IssuedAt    int64
	RevokedAt   int64 // 0 while it is good
	UsedAt      int64 // when the gateway first connected with it; 0 = never
}

const certificateColumns = `serial, gateway, fingerprint, not_before, not_after, issued_at, revoked_at, used_at`

func scanCertificate(row scanner) (c Certificate, err error) {
	return c, row.Scan(&c.Serial, &c.Gateway, &c.Fingerprint, &c.NotBefore, &c.NotAfter, &c.IssuedAt, &c.RevokedAt, &c.UsedAt)
}

// Certificate finds a certificate, [ErrNotFound] when none of that serial was given.
func (tx *Tx) Certificate(serial string) (Certificate, error) {
	return scanCertificate(tx.QueryRow(`SELECT `+certificateColumns+` FROM certificate WHERE serial = $1`, serial))
}

// Certificates lists what a gateway was given, oldest first.
func (tx *Tx) Certificates(gateway string) (out []Certificate, err error) {
	err = tx.each(func(row scanner) error {
		c, err := scanCertificate(row)
		out = append(out, c)
		return err
	}, `SELECT `+certificateColumns+` FROM certificate WHERE gateway = $1 ORDER BY issued_at, serial`, gateway)
	return out, err
}

// UseCertificate notes that a gateway has connected with a certificate.
func (tx *Tx) UseCertificate(serial string, at int64) error {
	_, err := tx.Exec(`UPDATE certificate SET used_at = $1 WHERE serial = $2 AND used_at = 0`, at, serial)
	return err
}

// AddCertificate notes a certificate that is about to be given.
func (tx *Tx) AddCertificate(c Certificate) error {
	_, err := tx.Exec(`INSERT INTO certificate (serial, gateway, fingerprint, not_before, not_after, issued_at, revoked_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, c.Serial, c.Gateway, c.Fingerprint, c.NotBefore, c.NotAfter, c.IssuedAt, c.RevokedAt)
	return err
}

// RevokeCertificates ends all of a gateway's certificates for good.
func (tx *Tx) RevokeCertificates(gateway string, at int64) error {
	_, err := tx.Exec(`UPDATE certificate SET revoked_at = $1 WHERE gateway = $2 AND revoked_at = 0`, at, gateway)
	return err
}

// Token lets one gateway enrol, once. Its secret is nowhere kept.
type Token struct {
	ID         string
	SecretHash []byte // SHA-256
	Gateway    string
	Wards      []string
	MadeBy     string
	MadeAt     int64
	ExpiresAt  int64
	UsedAt     int64  // 0 until it was used
	UsedKey    []byte // SHA-256 of the public key that it was used with
	Given      string // the certificate that was given for it, PEM
}

// Token finds a token, [ErrNotFound] when there is none of that id.
func (tx *Tx) Token(id string) (Token, error) {
	var t Token
	var wards []byte
	err := tx.QueryRow(`SELECT id, secret_hash, gateway, wards, made_by, made_at, expires_at, used_at, used_key, certificate
		FROM token WHERE id = $1`, id).
		Scan(&t.ID, &t.SecretHash, &t.Gateway, &wards, &t.MadeBy, &t.MadeAt, &t.ExpiresAt, &t.UsedAt, &t.UsedKey, &t.Given)
	if err != nil {
		return t, err
	}
	return t, decode("token "+t.ID, pair{wards, &t.Wards})
}

// AddToken makes a token.
func (tx *Tx) AddToken(t Token) error {
	wards, err := json.Marshal(t.Wards)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO token (id, secret_hash, gateway, wards, made_by, made_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, t.ID, t.SecretHash, t.Gateway, string(wards), t.MadeBy, t.MadeAt, t.ExpiresAt)
	return err
}

// UseToken marks a token as used with a key, and what was given for it (PEM).
func (tx *Tx) UseToken(id string, key []byte, given string, at int64) error {
	_, err := tx.Exec(`UPDATE token SET used_at = $1, used_key = $2, certificate = $3 WHERE id = $4`, at, key, given, id)
	return err
}

// ExpireTokens ends the life of all of a gateway's tokens at an instant.
func (tx *Tx) ExpireTokens(gateway string, at int64) error {
	_, err := tx.Exec(`UPDATE token SET expires_at = $1 WHERE gateway = $2 AND expires_at > $1`, at, gateway)
	return err
}

// A pair is a JSON column and where it is read to.
type pair struct {
	text []byte
	to   any
}

func decode(whose string, pairs ...pair) error {
	for _, p := range pairs {
		if err := json.Unmarshal(p.text, p.to); err != nil {
			return fmt.Errorf("%s: %w", whose, err)
		}
	}
	return nil
}

// encode writes two lists as JSON columns; an empty list is [].
func encode[A, B any](a []A, b []B) (string, string, error) {
	if a == nil {
		a = []A{}
	}
	if b == nil {
		b = []B{}
	}
	x, err := json.Marshal(a)
	if err != nil {
		return "", "", err
	}
	y, err := json.Marshal(b)
	return string(x), string(y), err
}

func affected(r sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// RevokedGateways lists the ids of gateways that were revoked.
func (tx *Tx) RevokedGateways() ([]string, error) {
	var out []string
	err := tx.each(func(row scanner) error {
		var id string
		err := row.Scan(&id)
		out = append(out, id)
		return err
	}, `SELECT id FROM gateway WHERE revoked_at > 0`)
	return out, err
}
