package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"wardline/cloud/internal/store"
)

// From says where a request comes from, for limits and the audit log.
type From struct {
	Address string // host, or host:port
	Agent   string // the program, as it calls itself
	Token   string // of the session that it carries, good or not; "" = none
}

// SignIn begins a session and returns its token, which is told this once. The
// session that the request carries, whosever it is, ends with that. It
// refuses with [WrongPassword], [Locked], [TooMany], [Disabled] or [Busy]; each is
// audited, those that repeat once a minute. It takes as long for a name without
// an account.
func (a *Access) SignIn(ctx context.Context, name, password string, from From) (token string, p Person, err error) {
	name = normalName(name)
	address := Address(from.Address)
	if err := a.mayTry(ctx, name, address); err != nil {
		return "", Person{}, err
	}
	account, right, err := a.tryPassword(ctx, name, password)
	if err != nil {
		return "", Person{}, err
	}
	token = newToken()
	hash, old := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(from.Token))
	var refusal *Refusal
	replaced := false
	err = a.store.Do(ctx, store.High, func(tx *store.Tx) error {
		now := a.now()
		// Others may have guessed meanwhile, so the lock is looked at again.
		if refusal, err = lockedNow(tx, name, address, now); err != nil || refusal != nil {
			return err
		}
		if !right {
			refusal, err = a.wrong(tx, name, address, now)
			return err
		}
		if account.DisabledAt != 0 {
			refusal = &Refusal{Reason: Disabled, Text: "This account has been disabled. Ask your administrator."}
			return a.Audit(tx, Row{At: now, Who: name, From: address, What: "sign in", Outcome: Refused, Why: string(Disabled)})
		}
		s := store.Session{TokenHash: hash[:], ID: rand.Text(), Person: name, MadeAt: now, UsedAt: now,
			EndsAt: now + absoluteEnd, From: address, Agent: clip(from.Agent, 200)}
		p = person(account, s)
		if replaced, err = a.endReplaced(tx, old[:], s); err != nil {
			return err
		}
		return a.begin(tx, s)
	})
	if err != nil {
		return "", Person{}, fmt.Errorf("sign in: %w", err)
	}
	if refusal != nil {
		return "", Person{}, refusal
	}
	if replaced {
		a.tellChanged()
	}
	return token, p, nil
}

// endReplaced ends the session in whose place s begins, if there is one: whoever
// signs in at a screen takes it over, and nobody could end what it held before.
func (a *Access) endReplaced(tx *store.Tx, tokenHash []byte, s store.Session) (bool, error) {
	old, err := tx.Session(tokenHash)
	if errors.Is(err, store.ErrNotFound) || err == nil && (old.EndedAt != 0 || s.MadeAt >= old.EndsAt) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(tx.EndSession(old.ID, s.MadeAt), a.Audit(tx, Row{At: s.MadeAt, Who: old.Person, From: s.From,
		What: "end session", On: old.ID, Outcome: Done, Why: s.Person + " signed in in its place"}))
}

func (a *Access) begin(tx *store.Tx, s store.Session) error {
	return errors.Join(
		tx.ForgetSignInFailures(s.Person),
		tx.ForgetSessions(s.MadeAt-30*24*hour),
		tx.AddSession(s),
		a.Audit(tx, Row{At: s.MadeAt, Who: s.Person, From: s.From, What: "sign in", On: s.ID, Outcome: Done}),
	)
}

// mayTry refuses before any work is done for a name or address that is locked.
func (a *Access) mayTry(ctx context.Context, name, address string) error {
	now := a.now()
	var refusal *Refusal
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		refusal, err = lockedNow(tx, name, address, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	if refusal == nil {
		return nil
	}
	whom := name
	if refusal.Reason == TooMany {
		whom = address
	}
	if a.firstInAMinute(string(refusal.Reason)+" "+whom, now) {
		row := Row{At: now, Who: name, From: address, What: "sign in", Outcome: Refused, Why: string(refusal.Reason)}
		if err := a.Record(ctx, row); err != nil {
			return err
		}
	}
	return refusal
}

// tryPassword does the same work whether or not there is such an account.
func (a *Access) tryPassword(ctx context.Context, name, password string) (account store.Person, right bool, err error) {
	err = a.store.View(ctx, func(tx *store.Tx) (err error) {
		account, err = tx.Person(name)
		return err
	})
	there := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return account, false, fmt.Errorf("sign in: %w", err)
	}
	hash := a.decoy
	if there {
		hash = account.PasswordHash
	}
	var bad error
	if err := a.withSlot(ctx, func() { right, bad = verifyPassword(hash, clip(password, MaxPassword+1)) }); err != nil {
		return account, false, err
	}
	if bad != nil {
		return account, false, fmt.Errorf("sign in %s: %w", name, bad)
	}
	return account, right && there, nil
}

// wrong notes a wrong password and says what is left.
func (a *Access) wrong(tx *store.Tx, name, address string, now int64) (*Refusal, error) {
	row := Row{At: now, Who: name, From: address, What: "sign in", Outcome: Refused, Why: string(WrongPassword)}
	err := errors.Join(tx.PruneSignInFailures(now-failureWindow-lockFor), tx.AddSignInFailure(name, address, now), a.Audit(tx, row))
	if err != nil {
		return nil, err
	}
	locked, err := lockedNow(tx, name, address, now)
	if err != nil || locked == nil {
		return &Refusal{Reason: WrongPassword,
			Text: fmt.Sprintf("The name or the password is wrong. After %d wrong passwords the account is locked for 15 minutes.", lockAfter)}, err
	}
	row.What, row.Why = "lock", string(locked.Reason)
	return locked, a.Audit(tx, row)
}

// lockedNow looks whether the name or the address has failed too often. An address
// may be a whole house behind one router, so its lock does not hold up a name that
// has signed in from there: others' mistakes must not keep its people out.
func lockedNow(tx *store.Tx, name, address string, now int64) (*Refusal, error) {
	byName, err := tx.SignInFailures(name, lockAfter)
	if err != nil {
		return nil, err
	}
	if until := lockedUntil(byName, lockAfter); now < until {
		return &Refusal{Reason: Locked, Until: until, Text: fmt.Sprintf("Five wrong passwords: this account is locked for %s. "+
			"Screens that are signed in go on. Your administrator can set a new password sooner.", wait(until-now))}, nil
	}
	byAddress, err := tx.SignInFailuresFrom(address, addressAfter)
	if err != nil {
		return nil, err
	}
	if until := lockedUntil(byAddress, addressAfter); now < until {
		if known, err := tx.SignedInFrom(name, address); err != nil || known {
			return nil, err
		}
		return &Refusal{Reason: TooMany, Until: until, Text: fmt.Sprintf("Too many wrong passwords from this computer or network. "+
			"Try again in %s, or from another place.", wait(until-now))}, nil
	}
	return nil, nil
}

// lockedUntil is the end of the lock that failures (newest first) bring about
// when n of them lie within failureWindow; 0 when they do not.
func lockedUntil(failures []int64, n int) int64 {
	if len(failures) < n || failures[0]-failures[n-1] >= failureWindow {
		return 0
	}
	return failures[0] + lockFor
}

func wait(us int64) string {
	if m := (us + minute - 1) / minute; m > 1 {
		return fmt.Sprintf("%d minutes", m)
	}
	return "a minute"
}

// firstInAMinute keeps a refusal that is provoked again and again from filling
// the log.
func (a *Access) firstInAMinute(key string, now int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.told[key]; ok && now-last < minute {
		return false
	}
	if len(a.told) >= 4096 {
		clear(a.told)
	}
	a.told[key] = now
	return true
}

// SameName reports whether two ways of writing an account's name mean the same.
func SameName(a, b string) bool { return normalName(a) == normalName(b) }

func normalName(s string) string { return clip(strings.ToLower(strings.TrimSpace(s)), 64) }

// Address is how limits and the audit log name an address, given with a port or
// without: the host alone; of IPv6 the /64 that one customer is given.
func Address(s string) string {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		s = ap.Addr().String()
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return clip(s, 64)
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
