package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/fleet"
	"wardline/cloud/internal/store"
)

// Admin is what an operator does on the machine of a cloud, whether it runs or
// not. While it runs, both write the same database; the cloud notices within
// 250 ms, because every change that concerns it is in the feed, which it watches.
// So there is no second way in that could be down, and nothing to secure but
// the data folder.
type Admin struct {
	store  *store.Store
	access *access.Access
	fleet  *fleet.Fleet
}

// Operator is who the audit log says did what Admin did.
const Operator = "operator"

// OpenAdmin opens a cloud's data folder, which must exist. Close it.
func OpenAdmin(c Config) (*Admin, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if _, err := os.Stat(c.Data); err != nil {
		return nil, fmt.Errorf("open the data folder: %w", err)
	}
	s, ca, err := c.open()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(c.Gateways.Listen)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	a := access.New(access.Config{Store: s, Now: c.Now, Log: c.Log})
	f := fleetConfig(c, s, ca, a, port)
	f.Gone = board.New(board.Config{Store: s, Now: c.Now, Log: c.Log}).Gone // its alerts reach the screens by the feed
	return &Admin{store: s, access: a, fleet: fleet.New(f)}, nil
}

// Close closes the data folder.
func (a *Admin) Close() error { return a.store.Close() }

// Token makes a token that enrols one gateway for its wards, once, within life
// (0 = a day), as one line to copy, and says when it expires.
func (a *Admin) Token(ctx context.Context, gateway string, wards []string, life time.Duration) (line string, expires time.Time, err error) {
	t, at, err := a.fleet.NewToken(ctx, gateway, wards, life, Operator)
	if err != nil {
		return "", time.Time{}, err
	}
	line, err = t.Line()
	return line, time.UnixMicro(at).UTC(), err
}

// A Gateway is a gateway as an operator sees it. Instants are µs UTC, 0 = never.
type Gateway struct {
	ID       string   `json:"id"`
	Site     string   `json:"site"`
	Wards    []string `json:"wards"`
	Link     string   `json:"link"` // up, down, never
	Since    int64    `json:"since"`
	Why      string   `json:"why"` // why the link is down
	LastSeen int64    `json:"last_seen"`
	Software string   `json:"software"`
	Enrolled int64    `json:"enrolled_at"`
	Revoked  int64    `json:"revoked_at"`
	Pending  int      `json:"pending"` // commands that it has not answered
}

// Gateways lists every gateway by id.
func (a *Admin) Gateways(ctx context.Context) ([]Gateway, error) {
	list, err := a.fleet.Gateways(ctx)
	out := make([]Gateway, 0, len(list))
	for _, g := range list {
		out = append(out, Gateway{
			ID: g.ID, Site: g.Site, Wards: g.Wards, Link: g.Link, Since: g.LinkSince, Why: g.LinkWhy, LastSeen: g.LastSeen,
			Software: g.Software, Enrolled: g.EnrolledAt, Revoked: g.RevokedAt, Pending: g.Pending,
		})
	}
	return out, err
}

// ErrNotFound means that there is no such gateway.
var ErrNotFound = store.ErrNotFound

// Revoke sends a gateway away for good; an open session ends within a second.
func (a *Admin) Revoke(ctx context.Context, gateway, why string) error {
	if err := access.CheckText(why); err != nil {
		return err
	}
	return a.fleet.Revoke(ctx, gateway, Operator, "", why)
}

// An Account is an account as an operator sees it.
type Account struct {
	Name     string   `json:"name"`
	Display  string   `json:"display"`
	Role     string   `json:"role"`
	Wards    []string `json:"wards"`
	Disabled bool     `json:"disabled"`
	Locked   int64    `json:"locked_until"` // by too many wrong passwords, µs UTC; 0 = not
}

// AddAccount makes an account.
func (a *Admin) AddAccount(ctx context.Context, x Account, password string) error {
	return a.access.Add(ctx, Operator, access.From{},
		access.Account{Name: x.Name, Display: x.Display, Role: access.Role(x.Role), Wards: x.Wards}, password)
}

// Accounts lists every account by name.
func (a *Admin) Accounts(ctx context.Context) ([]Account, error) {
	list, err := a.access.Accounts(ctx)
	out := make([]Account, 0, len(list))
	for _, x := range list {
		out = append(out, Account{
			Name: x.Name, Display: x.Display, Role: string(x.Role), Wards: append([]string{}, x.Wards...), Disabled: x.Disabled, Locked: x.Locked,
		})
	}
	return out, err
}

// MayAddAccount says what is wrong with an account before its password is known,
// also that there is one of that name.
func (a *Admin) MayAddAccount(ctx context.Context, x Account) error {
	return a.access.MayAdd(ctx, access.Account{Name: x.Name, Display: x.Display, Role: access.Role(x.Role), Wards: x.Wards})
}

// HasAccount is nil when there is an account of that name.
func (a *Admin) HasAccount(ctx context.Context, name string) error {
	_, err := a.access.Account(ctx, name)
	return err
}

// DisableAccount keeps an account from signing in and ends its sessions. The last
// administrator who can sign in is not disabled.
func (a *Admin) DisableAccount(ctx context.Context, name string) error {
	return a.access.Disable(ctx, Operator, access.From{}, name)
}

// EnableAccount lets an account sign in again: it is neither disabled nor locked.
// Sessions that it had are over.
func (a *Admin) EnableAccount(ctx context.Context, name string) error {
	return a.access.Enable(ctx, Operator, access.From{}, name)
}

// SetPassword gives an account a new password, lifts its lock and ends its
// sessions. A disabled account stays disabled.
func (a *Admin) SetPassword(ctx context.Context, name, password string) error {
	return a.access.SetPassword(ctx, Operator, access.From{}, name, password)
}

// PasswordRule says how long a password is, in words.
var PasswordRule = fmt.Sprintf("%d to %d characters", access.MinPassword, access.MaxPassword)

// AuditHead is the place to which an audit log was found whole.
type AuditHead struct {
	Rows int64  `json:"rows"` // that were looked at
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// AuditBroken means that the audit log is not what was written.
type AuditBroken = access.Broken

// verifyTold is after how many rows VerifyAudit says how far it is.
const verifyTold = 100_000

// VerifyAudit walks the audit log after from, which was found before (zero = from
// the beginning), to its end, and audits that. It calls told now and then, and fails
// with [*AuditBroken] at the first row that is wrong; the head is then the row before.
func (a *Admin) VerifyAudit(ctx context.Context, from AuditHead, told func(AuditHead)) (AuditHead, error) {
	head, more := AuditHead{Seq: from.Seq, Hash: from.Hash}, true
	for more {
		at, err := a.access.Verify(ctx, access.Head{Seq: head.Seq, Hash: head.Hash}, verifyTold)
		head, more = AuditHead{Rows: head.Rows + at.Rows, Seq: at.Seq, Hash: at.Hash}, at.More
		if err != nil {
			return head, audited(ctx, a.access, "verify audit", "", err)
		}
		told(head)
	}
	return head, audited(ctx, a.access, "verify audit", "", nil)
}

// Migrate brings the database forward and says from which schema to which.
func Migrate(c Config) (from, to int, err error) {
	if err := Found(c); err != nil {
		return 0, 0, err
	}
	from, to, err = store.Migrate(c.Database())
	if has, _ := c.hasCA(); has && errors.Is(err, store.ErrNone) {
		err = c.lostDatabase()
	}
	return from, to, err
}

// Backup copies the database, as it is at one instant, to a file that must not
// exist, and audits that: a copy holds patients' data. The built-in CA is not in
// it: copy ca.pem and ca-key.pem beside it.
func (a *Admin) Backup(ctx context.Context, c Config, dest string) error {
	return audited(ctx, a.access, "back up database", filepath.Base(dest), store.Backup(ctx, c.Database(), dest))
}

// audited writes down how what an operator did went, and passes its error on.
func audited(ctx context.Context, a *access.Access, what, on string, err error) error {
	row := access.Row{Who: Operator, What: what, On: on, Outcome: access.Done}
	if err != nil {
		row.Outcome, row.Why = access.Failed, err.Error()
	}
	return errors.Join(err, a.Record(ctx, row))
}

// Restore puts a backup in the place of a database that is not there, and audits
// that; no cloud may be running on the folder. It leaves the CA as it is, or is
// not: the gateways of the backup trust the one that was there with it.
func Restore(ctx context.Context, c Config, backup string) error {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	unlock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	return errors.Join(restore(ctx, c.withDefaults(), backup), unlock())
}

func restore(ctx context.Context, c Config, backup string) error {
	if err := store.Restore(ctx, backup, c.Database()); err != nil {
		return err
	}
	s, err := store.OpenExisting(c.Database(), c.Now)
	if err != nil {
		return err
	}
	a := access.New(access.Config{Store: s, Now: c.Now, Log: c.Log})
	return errors.Join(audited(ctx, a, "restore database", filepath.Base(backup), nil), s.Close())
}

// NewCA makes a CA for a database whose own was lost for good, and audits that:
// every gateway must then be enrolled again. No cloud may be running on the folder.
func NewCA(ctx context.Context, c Config) error {
	c = c.withDefaults()
	if has, err := c.hasCA(); err != nil {
		return err
	} else if has {
		return fmt.Errorf("there is a CA in %s: move ca.pem and ca-key.pem away first. Nothing was changed", c.Data)
	}
	if err := Found(c); err != nil {
		return err
	}
	unlock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	return errors.Join(newCA(ctx, c), unlock())
}

func newCA(ctx context.Context, c Config) error {
	s, err := store.OpenExisting(c.Database(), c.Now)
	if err != nil {
		return err
	}
	_, err = c.makeCA()
	a := access.New(access.Config{Store: s, Now: c.Now, Log: c.Log})
	return errors.Join(audited(ctx, a, "make CA", caFile, err), s.Close())
}

// Exists reports whether a configuration's database is there.
func Exists(c Config) bool {
	_, err := os.Stat(c.Database())
	return !errors.Is(err, fs.ErrNotExist)
}
