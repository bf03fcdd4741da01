package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"wardline/cloud/internal/store"
	"wardline/shared/sqlite"
)

// Account is a person's account as an operator makes and lists it.
type Account struct {
	Name     string // 1 to 64 of a-z 0-9 . _ -
	Display  string // the name that others see; "" = Name
	Role     Role
	Wards    []string // ids, or Every alone
	Disabled bool
	Made     int64 // µs UTC
	Locked   int64 // until when too many wrong passwords keep it out, µs UTC; 0 = not. Of Accounts alone
}

var (
	accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	wardName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

func (c *Account) check() error {
	bad := func(text string, args ...any) error {
		return &Refusal{Reason: BadAccount, Text: fmt.Sprintf(text, args...)}
	}
	c.Name = normalName(c.Name)
	switch {
	case !accountName.MatchString(c.Name):
		return bad("An account's name has 1 to 64 letters a to z, digits, points, dashes or underscores, and begins with a letter or digit.")
	case !c.Role.Valid():
		return bad("The role %q is not one of viewer, clinician, lead, technician, administrator.", c.Role)
	case slices.Contains(c.Wards, Every) && len(c.Wards) > 1:
		return bad("Name wards, or * alone for every ward.")
	case len(c.Wards) == 0 && c.Role != Administrator:
		return bad("A %s needs at least one ward, or * for every ward.", c.Role)
	}
	for _, w := range c.Wards {
		if w != Every && !wardName.MatchString(w) {
			return bad("%q cannot be the id of a ward.", w)
		}
	}
	if err := checkLine(c.Display); err != nil {
		return err
	}
	if c.Display = clip(strings.TrimSpace(c.Display), 100); c.Display == "" {
		c.Display = c.Name
	}
	return nil
}

func checkPassword(password string) error {
	if utf8.RuneCountInString(password) < MinPassword || len(password) > MaxPassword {
		return &Refusal{Reason: BadAccount, Text: fmt.Sprintf("A password has at least %d and at most %d characters.", MinPassword, MaxPassword)}
	}
	return nil
}

// MayAdd refuses with [BadAccount], [BadText] or [Exists] what [Access.Add] would
// refuse whatever the password.
func (a *Access) MayAdd(ctx context.Context, c Account) error {
	if err := c.check(); err != nil {
		return err
	}
	_, err := a.Account(ctx, c.Name)
	if r, ok := errors.AsType[*Refusal](err); ok && r.Reason == Unknown {
		return nil
	}
	return cmp.Or(err, error(exists(c.Name)))
}

func exists(name string) *Refusal {
	return &Refusal{Reason: Exists, Text: fmt.Sprintf("There is an account %s already.", name)}
}

// Add makes an account. by is who does it, from where, for the audit log, as in
// the functions below. It refuses with [BadAccount], [BadText] or [Exists].
func (a *Access) Add(ctx context.Context, by string, from From, c Account, password string) error {
	if err := errors.Join(c.check(), checkPassword(password)); err != nil {
		return err
	}
	return a.add(ctx, by, from, c, password)
}

func (a *Access) add(ctx context.Context, by string, from From, c Account, password string) error {
	var hash string
	if err := a.withSlot(ctx, func() { hash = hashPassword(password, a.cost) }); err != nil {
		return err
	}
	err := a.store.Do(ctx, store.Normal, func(tx *store.Tx) error {
		now := a.now()
		return errors.Join(
			tx.AddPerson(store.Person{Name: c.Name, Display: c.Display, Role: string(c.Role), Wards: append([]string{}, c.Wards...),
				PasswordHash: hash, MadeAt: now, ChangedAt: now}),
			a.Audit(tx, Row{At: now, Who: by, From: Address(from.Address), What: "add account", On: c.Name, Outcome: Done,
				Why: fmt.Sprintf("%s of %s", c.Role, strings.Join(c.Wards, " "))}))
	})
	if sqlite.Duplicate(err) {
		return exists(c.Name)
	}
	if err != nil {
		return fmt.Errorf("add account %s: %w", c.Name, err)
	}
	return nil
}

// FirstAdministrator makes the account "admin", an administrator of no ward,
// when there is no account yet, and returns its password this once; "" when there
// are accounts.
func (a *Access) FirstAdministrator(ctx context.Context) (name, password string, err error) {
	accounts, err := a.Accounts(ctx)
	if err != nil || len(accounts) > 0 {
		return "", "", err
	}
	letters := rand.Text() // 130 random bits in 26 letters and digits
	password = letters[:5] + "-" + letters[5:10] + "-" + letters[10:15] + "-" + letters[15:20]
	c := Account{Name: "admin", Display: "Administrator", Role: Administrator}
	return c.Name, password, a.add(ctx, "system", From{}, c, password)
}

// Accounts lists every account by name.
func (a *Access) Accounts(ctx context.Context) ([]Account, error) {
	var out []Account
	err := a.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.People()
		now := a.now()
		for _, p := range rows {
			x := accountOf(p)
			failures, err := tx.SignInFailures(p.Name, lockAfter)
			if err != nil {
				return err
			}
			if until := lockedUntil(failures, lockAfter); now < until {
				x.Locked = until
			}
			out = append(out, x)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return out, nil
}

func accountOf(p store.Person) Account {
	return Account{Name: p.Name, Display: p.Display, Role: Role(p.Role), Wards: p.Wards, Disabled: p.DisabledAt != 0, Made: p.MadeAt}
}

// Account finds an account. It refuses with [Unknown].
func (a *Access) Account(ctx context.Context, name string) (Account, error) {
	name = normalName(name)
	var p store.Person
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		p, err = tx.Person(name)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Account{}, unknown(name)
	}
	if err != nil {
		return Account{}, fmt.Errorf("find account %s: %w", name, err)
	}
	return accountOf(p), nil
}

func unknown(name string) *Refusal {
	return &Refusal{Reason: Unknown, Text: fmt.Sprintf("There is no account %s.", name)}
}

// Disable keeps an account from signing in and ends its sessions at once. An
// account is never removed: the audit log speaks of it. It refuses with [LastOne]
// when no other administrator could sign in.
func (a *Access) Disable(ctx context.Context, by string, from From, name string) error {
	return a.change(ctx, by, from, name, "disable account", func(tx *store.Tx, name string, now int64) error {
		if last, err := lastAdministrator(tx, name); err != nil || last {
			return cmp.Or(err, error(&Refusal{Reason: LastOne, Text: fmt.Sprintf("%s is the only administrator who can sign in. "+
				"Make or enable another one first. Nothing was changed.", name)}))
		}
		return errors.Join(tx.DisablePerson(name, now), tx.EndSessions(name, now))
	})
}

// lastAdministrator reports whether name is the only administrator that is
// enabled.
func lastAdministrator(tx *store.Tx, name string) (bool, error) {
	people, err := tx.People()
	is, others := false, 0
	for _, p := range people {
		switch {
		case Role(p.Role) != Administrator || p.DisabledAt != 0:
		case p.Name == name:
			is = true
		default:
			others++
		}
	}
	return is && others == 0, err
}

// Enable lets a disabled account sign in again, lifts its lock and ends its
// sessions.
func (a *Access) Enable(ctx context.Context, by string, from From, name string) error {
	return a.change(ctx, by, from, name, "enable account", func(tx *store.Tx, name string, now int64) error {
		return errors.Join(tx.DisablePerson(name, 0), tx.EndSessions(name, now), tx.ForgetSignInFailures(name))
	})
}

// SetPassword gives an account a new password, lifts its lock and ends its
// sessions.
func (a *Access) SetPassword(ctx context.Context, by string, from From, name, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	var hash string
	if err := a.withSlot(ctx, func() { hash = hashPassword(password, a.cost) }); err != nil {
		return err
	}
	return a.change(ctx, by, from, name, "set password", func(tx *store.Tx, name string, now int64) error {
		return errors.Join(tx.SetPassword(name, hash, now), tx.EndSessions(name, now),
			tx.ForgetSignInFailures(name))
	})
}

// ChangePassword gives a person a new password of the person's own choice and ends
// the person's other sessions. A wrong old one is refused, counts and is audited
// as at [Access.SignIn].
func (a *Access) ChangePassword(ctx context.Context, p Person, old, password string, from From) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	address := Address(from.Address)
	if err := a.mayTry(ctx, p.Name, address); err != nil {
		return err
	}
	_, right, err := a.tryPassword(ctx, p.Name, old)
	if err != nil {
		return err
	}
	var hash string
	if err := a.withSlot(ctx, func() { hash = hashPassword(password, a.cost) }); err != nil {
		return err
	}
	var refusal *Refusal
	err = a.store.Do(ctx, store.High, func(tx *store.Tx) (err error) {
		now := a.now()
		if refusal, err = lockedNow(tx, p.Name, address, now); err != nil || refusal != nil {
			return err
		}
		if !right {
			refusal, err = a.wrong(tx, p.Name, address, now)
			return err
		}
		return errors.Join(tx.SetPassword(p.Name, hash, now), endOthers(tx, p, now),
			a.Audit(tx, Row{At: now, Who: p.Name, From: address, What: "set password", On: p.Name, Outcome: Done}))
	})
	if err != nil {
		return fmt.Errorf("change a password: %w", err)
	}
	if refusal != nil {
		return refusal
	}
	a.tellChanged()
	return nil
}

func endOthers(tx *store.Tx, p Person, now int64) error {
	sessions, err := tx.Sessions(p.Name)
	for _, s := range sessions {
		if s.ID != p.Session {
			err = errors.Join(err, tx.EndSession(s.ID, now))
		}
	}
	return err
}

func (a *Access) change(ctx context.Context, by string, from From, name, what string, f func(tx *store.Tx, name string, now int64) error) error {
	name = normalName(name)
	row := Row{Who: by, From: Address(from.Address), What: what, On: name, Outcome: Done}
	err := a.store.Do(ctx, store.High, func(tx *store.Tx) error {
		if _, err := tx.Person(name); err != nil {
			return err
		}
		row.At = a.now()
		return errors.Join(f(tx, name, row.At), a.Audit(tx, row))
	})
	if errors.Is(err, store.ErrNotFound) {
		return unknown(name)
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		row.Outcome, row.Why = Refused, string(r.Reason)
		return cmp.Or(a.Record(ctx, row), error(r))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	a.tellChanged()
	return nil
}
