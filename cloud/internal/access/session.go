package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"wardline/cloud/internal/store"
)

// Session is one place where somebody is signed in.
type Session struct {
	ID     string
	Person string
	Made   int64 // µs UTC, as the others
	Used   int64 // to a minute
	Ends   int64
	From   string
	Agent  string
}

// Authenticate finds whose session a token is, and notes that it was used. It
// refuses with [NotSignedIn], [SessionOver] or [Disabled].
func (a *Access) Authenticate(ctx context.Context, token string) (Person, error) {
	p, used, err := a.check(ctx, token)
	if err != nil {
		return p, err
	}
	if now := a.now(); now-used > noteUse {
		err = a.store.Do(ctx, store.Normal, func(tx *store.Tx) error { return tx.UseSession(p.Session, now) })
	}
	if err != nil {
		return p, fmt.Errorf("note the use of a session: %w", err)
	}
	return p, nil
}

// Check is like [Access.Authenticate] for somebody who is being served already:
// it is no new use of the session.
func (a *Access) Check(ctx context.Context, token string) (Person, error) {
	p, _, err := a.check(ctx, token)
	return p, err
}

func (a *Access) check(ctx context.Context, token string) (Person, int64, error) {
	if token == "" {
		return Person{}, 0, &Refusal{Reason: NotSignedIn, Text: "You are not signed in. Sign in to go on."}
	}
	hash := sha256.Sum256([]byte(token))
	var s store.Session
	var account store.Person
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if s, err = tx.Session(hash[:]); err == nil {
			account, err = tx.Person(s.Person)
		}
		return err
	})
	now := a.now()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Person{}, 0, &Refusal{Reason: NotSignedIn, Text: "You are not signed in. Sign in to go on."}
	case err != nil:
		return Person{}, 0, fmt.Errorf("find a session: %w", err)
	case account.DisabledAt != 0:
		return Person{}, 0, &Refusal{Reason: Disabled, Text: "This account has been disabled. Ask your administrator."}
	case s.EndedAt != 0:
		return Person{}, 0, over("You were signed out. Sign in again to go on.")
	case now >= s.EndsAt:
		return Person{}, 0, over("You have been signed in for a day. Sign in again to go on.")
	case now-s.UsedAt >= idleEnd:
		return Person{}, 0, over("Nobody has used this session for 12 hours. Sign in again to go on.")
	}
	return person(account, s), s.UsedAt, nil
}

func over(text string) *Refusal { return &Refusal{Reason: SessionOver, Text: text} }

func person(account store.Person, s store.Session) Person {
	return Person{Name: account.Name, Display: account.Display, Role: Role(account.Role), Wards: account.Wards,
		Session: s.ID, Until: s.EndsAt}
}

// Sessions lists where a person is signed in, the newest first.
func (a *Access) Sessions(ctx context.Context, name string) ([]Session, error) {
	var out []Session
	now := a.now()
	err := a.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Sessions(normalName(name))
		for _, s := range rows {
			if now < s.EndsAt && now-s.UsedAt < idleEnd {
				out = append(out, Session{ID: s.ID, Person: s.Person, Made: s.MadeAt, Used: s.UsedAt, Ends: s.EndsAt, From: s.From, Agent: s.Agent})
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return out, nil
}

// End ends a session at once: the person's own, or anybody's for a person who
// manages people. It refuses with [Unknown], also where the person may not.
func (a *Access) End(ctx context.Context, by Person, id string, from From) error {
	var refusal *Refusal
	err := a.store.Do(ctx, store.High, func(tx *store.Tx) error {
		now := a.now()
		s, err := tx.SessionByID(id)
		mine := err == nil && (s.Person == by.Name || by.May(PeopleManage, "") == nil)
		row := Row{At: now, Who: by.Name, From: Address(from.Address), What: "end session", On: clip(id, 64)}
		if err == nil && !mine || errors.Is(err, store.ErrNotFound) {
			refusal = &Refusal{Reason: Unknown, Text: "There is no such session. It may have ended already."}
			row.Outcome, row.Why = Refused, string(Unknown)
			return a.Audit(tx, row)
		}
		if err != nil {
			return err
		}
		row.Outcome = Done
		return errors.Join(tx.EndSession(id, now), a.Audit(tx, row))
	})
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	if refusal != nil {
		return refusal
	}
	a.tellChanged()
	return nil
}
