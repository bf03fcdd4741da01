package access

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wardline/cloud/internal/store"
)

// cheap keeps tests quick; what is tested does not depend on the cost.
var cheap = Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}

const (
	password = "correct horse battery"
	start    = int64(1772331300) * 1_000_000
)

// world is an Access on a real store, with a time that the test turns.
type world struct {
	*Access
	store *store.Store
	mu    sync.Mutex
	at    int64
}

func (w *world) turn(us int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at += us
}

func open(t *testing.T) *world {
	t.Helper()
	w := &world{at: start}
	now := func() int64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.at
	}
	var err error
	if w.store, err = store.OpenAt(filepath.Join(t.TempDir(), "cloud.db"), now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.Access = New(Config{Store: w.store, Now: now, Cost: cheap})
	return w
}

func (w *world) add(t *testing.T, name string, r Role, wards ...string) {
	t.Helper()
	if err := w.Add(t.Context(), "operator", From{}, Account{Name: name, Role: r, Wards: wards}, password); err != nil {
		t.Fatal(err)
	}
}

func (w *world) signIn(t *testing.T, name string) string {
	t.Helper()
	token, _, err := w.SignIn(t.Context(), name, password, From{Address: "192.0.2.7:5000", Agent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantReason(t *testing.T, err error, want Reason) *Refusal {
	t.Helper()
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("got %v, want a refusal of %s", err, want)
	}
	if r.Reason != want {
		t.Fatalf("refused with %s (%s), want %s", r.Reason, r.Text, want)
	}
	return r
}

// audited lists the log as "who what on outcome why".
func (w *world) audited(t *testing.T) []string {
	t.Helper()
	var out []string
	err := w.store.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.AuditAfter(0, 1000)
		for _, r := range rows {
			out = append(out, strings.Join([]string{r.Who, r.What, r.Outcome, r.Why}, "|"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func count(rows []string, want string) int {
	n := 0
	for _, r := range rows {
		if r == want {
			n++
		}
	}
	return n
}

func TestASessionIsKnownByItsTokenAndTheTokenIsNowhereKept(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	token := w.signIn(t, " A.Meyer ")
	p, err := w.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "a.meyer" || p.Role != Clinician || p.Until != start+absoluteEnd {
		t.Errorf("authenticated as %+v", p)
	}
	err = w.store.View(t.Context(), func(tx *store.Tx) error {
		var n int
		err := tx.QueryRow(`SELECT count(*) FROM session WHERE instr(CAST(token_hash AS TEXT), $1) > 0 OR id = $1`, token).Scan(&n)
		if n != 0 {
			t.Error("the token is in the table of sessions")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, second(w.Authenticate(t.Context(), token+"x")), NotSignedIn)
	wantReason(t, second(w.Authenticate(t.Context(), "")), NotSignedIn)
}

func second(_ Person, err error) error { return err }

func TestFiveWrongPasswordsLockTheAccountForAQuarterOfAnHour(t *testing.T) {
	for _, name := range []string{"a.meyer", "nobody.here"} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.add(t, "a.meyer", Clinician, "7w")
			for range 4 {
				_, _, err := w.SignIn(t.Context(), name, "wrong", From{Address: "192.0.2.7"})
				wantReason(t, err, WrongPassword)
			}
			_, _, err := w.SignIn(t.Context(), name, "wrong", From{Address: "192.0.2.7"})
			r := wantReason(t, err, Locked)
			if r.Until != start+lockFor {
				t.Errorf("locked until %d, want %d", r.Until, start+lockFor)
			}
			list, err := w.Accounts(t.Context())
			if want := map[bool]int64{true: start + lockFor}[name == "a.meyer"]; err != nil || len(list) != 1 || list[0].Locked != want {
				t.Errorf("the list says %+v, %v, want a lock until %d", list, err, want)
			}
			for range 3 { // the right password, and from elsewhere
				_, _, err = w.SignIn(t.Context(), name, password, From{Address: "198.51.100.1"})
				wantReason(t, err, Locked)
			}
			rows := w.audited(t)
			for row, want := range map[string]int{
				name + "|sign in|refused|wrong_password": 5,
				name + "|lock|refused|locked":            1,
				name + "|sign in|refused|locked":         1, // not one each time
			} {
				if got := count(rows, row); got != want {
					t.Errorf("%d rows %q, want %d in\n%s", got, row, want, strings.Join(rows, "\n"))
				}
			}
			w.turn(lockFor)
			_, _, err = w.SignIn(t.Context(), name, "wrong", From{Address: "198.51.100.1"})
			wantReason(t, err, WrongPassword)
			if name == "a.meyer" {
				w.signIn(t, name)
			}
		})
	}
}

func TestWrongPasswordsFarApartLockNothing(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	for range 12 {
		_, _, err := w.SignIn(t.Context(), "a.meyer", "wrong", From{Address: "192.0.2.7"})
		wantReason(t, err, WrongPassword)
		w.turn(4 * minute)
	}
}

func TestAnAddressThatTriesManyNamesIsSlowed(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	for i := range addressAfter {
		name := "guess" + strings.Repeat("x", i)
		_, _, err := w.SignIn(t.Context(), name, "wrong", From{Address: "[2001:db8::1]:99"})
		if i < addressAfter-1 {
			wantReason(t, err, WrongPassword)
		}
	}
	_, _, err := w.SignIn(t.Context(), "a.meyer", password, From{Address: "[2001:db8::2]:99"}) // the same /64
	wantReason(t, err, TooMany)
	w.signIn(t, "a.meyer") // from elsewhere
}

func TestThirtyWrongPasswordsDoNotKeepOutWhoWorksAtTheAddress(t *testing.T) {
	w := open(t)
	for _, name := range []string{"anna", "ben", "carl"} {
		w.add(t, name, Clinician, "7w")
	}
	house := From{Address: "192.0.2.7:5000"}
	w.signIn(t, "anna")
	w.signIn(t, "carl")
	w.turn(20 * hour)
	wrong := func(name string, from From) error {
		_, _, err := w.SignIn(t.Context(), name, "a wrong password", from)
		return err
	}
	for i := range addressAfter {
		wrong(fmt.Sprintf("guess-%d", i), house)
	}
	wantReason(t, wrong("guess", house), TooMany)
	w.signIn(t, "anna")
	// The lock holds up whoever was never here, and each account keeps its own.
	_, _, err := w.SignIn(t.Context(), "ben", password, house)
	wantReason(t, err, TooMany)
	for range lockAfter - 1 {
		wantReason(t, wrong("carl", house), WrongPassword)
	}
	wantReason(t, wrong("carl", house), Locked)
	// Having signed in elsewhere is nothing here.
	if _, _, err := w.SignIn(t.Context(), "ben", password, From{Address: "198.51.100.1"}); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.SignIn(t.Context(), "ben", password, house)
	wantReason(t, err, TooMany)
}

func TestSigningInInThePlaceOfASessionEndsIt(t *testing.T) {
	w := open(t)
	w.add(t, "anna", Clinician, "7w")
	w.add(t, "ben", Clinician, "7w")
	first, elsewhere := w.signIn(t, "anna"), w.signIn(t, "anna")
	changed := w.Changed()
	over := func(token string) From { return From{Address: "192.0.2.7", Token: token} }
	if _, _, err := w.SignIn(t.Context(), "ben", "a wrong password", over(first)); err == nil {
		t.Fatal("a wrong password signs in")
	}
	if _, err := w.Authenticate(t.Context(), first); err != nil {
		t.Errorf("a wrong password ended the session: %v", err)
	}
	second, _, err := w.SignIn(t.Context(), "ben", password, over(first))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(t.Context(), first)
	wantReason(t, err, SessionOver)
	select {
	case <-changed:
	default:
		t.Error("whoever acts for the session is not told")
	}
	for _, token := range []string{second, elsewhere} {
		if _, err := w.Authenticate(t.Context(), token); err != nil {
			t.Error(err)
		}
	}
	const row = "anna|end session|done|ben signed in in its place"
	if n := count(w.audited(t), row); n != 1 {
		t.Errorf("%d rows %q", n, row)
	}
	// What is over, or was never a session, is passed over.
	for _, token := range []string{first, "rubbish", ""} {
		if _, _, err := w.SignIn(t.Context(), "ben", password, over(token)); err != nil {
			t.Error(err)
		}
	}
	if n := count(w.audited(t), row); n != 1 {
		t.Errorf("%d rows %q", n, row)
	}
}

func TestGuessesMadeAtOnceDoNotSlipPastTheLock(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	var wrong, locked int
	var mu sync.Mutex
	var g sync.WaitGroup
	for range 20 {
		g.Go(func() {
			_, _, err := w.SignIn(context.Background(), "a.meyer", "wrong", From{Address: "192.0.2.7"})
			r, ok := errors.AsType[*Refusal](err)
			mu.Lock()
			defer mu.Unlock()
			if ok && r.Reason == WrongPassword {
				wrong++
			} else if ok && r.Reason == Locked {
				locked++
			}
		})
	}
	g.Wait()
	if wrong != lockAfter-1 || wrong+locked != 20 {
		t.Errorf("%d guesses were judged and %d met the lock, want %d and %d", wrong, locked, lockAfter-1, 20-lockAfter+1)
	}
}

func TestASessionEndsWhenUnusedAndAfterADay(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	idle := w.signIn(t, "a.meyer")
	w.turn(idleEnd)
	wantReason(t, second(w.Authenticate(t.Context(), idle)), SessionOver)

	used := w.signIn(t, "a.meyer")
	for range 23 {
		w.turn(hour)
		if _, err := w.Authenticate(t.Context(), used); err != nil {
			t.Fatal(err)
		}
	}
	w.turn(hour)
	wantReason(t, second(w.Authenticate(t.Context(), used)), SessionOver)
}

func TestASessionIsListedAndEndedByItsOwnerOrAnAdministratorOnly(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	w.add(t, "b.novak", Lead, "7w")
	w.add(t, "c.adm", Administrator)
	token := w.signIn(t, "a.meyer")
	sessions, err := w.Sessions(t.Context(), "a.meyer")
	if err != nil || len(sessions) != 1 || sessions[0].From != "192.0.2.7" || sessions[0].Agent != "test" {
		t.Fatalf("sessions %+v, %v", sessions, err)
	}
	other, _ := w.Authenticate(t.Context(), w.signIn(t, "b.novak"))
	wantReason(t, w.End(t.Context(), other, sessions[0].ID, From{}), Unknown)
	changed := w.Changed()
	admin, _ := w.Authenticate(t.Context(), w.signIn(t, "c.adm"))
	if err := w.End(t.Context(), admin, sessions[0].ID, From{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told that a session ended")
	}
	wantReason(t, second(w.Authenticate(t.Context(), token)), SessionOver)
}

func TestADisabledAccountIsOutAtOnceAndStaysOut(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	token := w.signIn(t, "a.meyer")
	if err := w.Disable(t.Context(), "operator", From{}, "a.meyer"); err != nil {
		t.Fatal(err)
	}
	wantReason(t, second(w.Check(t.Context(), token)), Disabled)
	_, _, err := w.SignIn(t.Context(), "a.meyer", password, From{})
	wantReason(t, err, Disabled)
	_, _, err = w.SignIn(t.Context(), "a.meyer", "wrong", From{})
	wantReason(t, err, WrongPassword) // a guesser does not learn that the account is disabled
	if err := w.Enable(t.Context(), "operator", From{}, "a.meyer"); err != nil {
		t.Fatal(err)
	}
	w.signIn(t, "a.meyer")
}

func TestANewPasswordLiftsTheLockAndEndsSessions(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	token := w.signIn(t, "a.meyer")
	for range 5 {
		w.SignIn(t.Context(), "a.meyer", "wrong", From{})
	}
	if err := w.SetPassword(t.Context(), "operator", From{}, "a.meyer", "another long password"); err != nil {
		t.Fatal(err)
	}
	wantReason(t, second(w.Check(t.Context(), token)), SessionOver)
	if _, _, err := w.SignIn(t.Context(), "a.meyer", "another long password", From{}); err != nil {
		t.Error(err)
	}
	_, _, err := w.SignIn(t.Context(), "a.meyer", password, From{})
	wantReason(t, err, WrongPassword)
}

func TestAPersonsOwnNewPasswordNeedsTheOldOneAndEndsTheOtherSessions(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	here, there := w.signIn(t, "a.meyer"), w.signIn(t, "a.meyer")
	p, _ := w.Check(t.Context(), here)
	const better = "a better long password"
	wantReason(t, w.ChangePassword(t.Context(), p, "wrong", better, From{}), WrongPassword)
	wantReason(t, w.ChangePassword(t.Context(), p, password, "short", From{}), BadAccount)
	if err := w.ChangePassword(t.Context(), p, password, better, From{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Check(t.Context(), here); err != nil {
		t.Error(err)
	}
	wantReason(t, second(w.Check(t.Context(), there)), SessionOver)
	if _, _, err := w.SignIn(t.Context(), "a.meyer", better, From{}); err != nil {
		t.Error(err)
	}
	for i := range lockAfter { // the success above has cleared the count
		err := w.ChangePassword(t.Context(), p, "wrong", better, From{})
		wantReason(t, err, map[bool]Reason{true: Locked, false: WrongPassword}[i == lockAfter-1])
	}
}

func TestTheFirstAdministratorIsMadeOnceAndSeesNoPatients(t *testing.T) {
	w := open(t)
	name, secret, err := w.FirstAdministrator(t.Context())
	if err != nil || name != "admin" || len(secret) < 20 {
		t.Fatalf("made %q with %q, %v", name, secret, err)
	}
	if _, again, err := w.FirstAdministrator(t.Context()); again != "" || err != nil {
		t.Errorf("made another one: %q, %v", again, err)
	}
	_, p, err := w.SignIn(t.Context(), name, secret, From{})
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, p.May(PatientsRead, "7w"), MayNot)
	for _, x := range []Permission{PeopleManage, AuditRead, GatewaysManage} {
		if err := p.May(x, ""); err != nil {
			t.Errorf("%s: %v", x, err)
		}
	}
}

func TestAnAccountThatCannotBeIsRefusedWithTheReason(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	for _, c := range []struct {
		account  Account
		password string
		want     Reason
	}{
		{Account{Name: "a.meyer", Role: Viewer, Wards: []string{"7w"}}, password, Exists},
		{Account{Name: "has space", Role: Viewer, Wards: []string{"7w"}}, password, BadAccount},
		{Account{Name: "b", Role: "chief", Wards: []string{"7w"}}, password, BadAccount},
		{Account{Name: "b", Role: Viewer}, password, BadAccount},
		{Account{Name: "b", Role: Viewer, Wards: []string{"*", "7w"}}, password, BadAccount},
		{Account{Name: "b", Role: Viewer, Wards: []string{"7 w"}}, password, BadAccount},
		{Account{Name: "b", Role: Viewer, Wards: []string{"7w"}}, "short", BadAccount},
	} {
		wantReason(t, w.Add(t.Context(), "operator", From{}, c.account, c.password), c.want)
	}
}

func TestNoMoreSignInsWaitThanAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Access{slots: make(chan struct{}, hashesAtOnce), now: func() int64 { return start }}
		release := make(chan struct{})
		var g sync.WaitGroup
		for range hashesQueued {
			g.Go(func() { a.withSlot(context.Background(), func() { <-release }) })
		}
		synctest.Wait()
		wantReason(t, a.withSlot(t.Context(), func() { t.Error("one too many ran") }), Busy)
		close(release)
		g.Wait()
		if err := a.withSlot(t.Context(), func() {}); err != nil {
			t.Error(err)
		}
	})
}

func TestANameWithoutAnAccountCostsTheSameWork(t *testing.T) {
	w := open(t)
	w.add(t, "a.meyer", Clinician, "7w")
	cost := func(phc string) Cost {
		c, _, _, err := parsePHC(phc)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var account store.Person
	err := w.store.View(t.Context(), func(tx *store.Tx) (err error) {
		account, err = tx.Person("a.meyer")
		return err
	})
	if err != nil || cost(account.PasswordHash) != cost(w.decoy) {
		t.Errorf("an account's hash costs %+v, the decoy %+v, %v", cost(account.PasswordHash), cost(w.decoy), err)
	}
	for range hashesAtOnce { // nobody is let through to work on a hash
		w.slots <- struct{}{}
	}
	for _, name := range []string{"a.meyer", "nobody.here"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, _, err := w.SignIn(ctx, name, "wrong", From{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s did not have to wait: %v", name, err)
		}
	}
}

func TestTheLastAdministratorWhoCanSignInIsNotDisabled(t *testing.T) {
	w := open(t)
	w.add(t, "admin", Administrator)
	w.add(t, "second", Administrator)
	w.add(t, "anna", Clinician, "7w")
	if err := w.Disable(t.Context(), "operator", From{}, "second"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := wantReason(t, w.Disable(t.Context(), "operator", From{}, "Admin"), LastOne)
		if !strings.Contains(r.Text, "only administrator") {
			t.Errorf("it says %q", r.Text)
		}
	}
	if n := count(w.audited(t), "operator|disable account|refused|last_one"); n != 2 {
		t.Errorf("audited %d refusals, want 2", n)
	}
	w.signIn(t, "admin")
	if err := w.Disable(t.Context(), "operator", From{}, "anna"); err != nil {
		t.Errorf("another role: %v", err)
	}
	if err := errors.Join(w.Enable(t.Context(), "operator", From{}, "second"), w.Disable(t.Context(), "operator", From{}, "admin")); err != nil {
		t.Errorf("with another one: %v", err)
	}
}

func TestANewPasswordOrEnablingEndsSessionsAndLiftsTheLock(t *testing.T) {
	for what, mend := range map[string]func(w *world) error{
		"set password": func(w *world) error { return w.SetPassword(t.Context(), "operator", From{}, "anna", password) },
		"enable":       func(w *world) error { return w.Enable(t.Context(), "operator", From{}, "anna") },
	} {
		t.Run(what, func(t *testing.T) {
			w := open(t)
			w.add(t, "anna", Clinician, "7w")
			token := w.signIn(t, "anna")
			for range lockAfter {
				w.SignIn(t.Context(), "anna", "wrong", From{Address: "192.0.2.9:1"})
			}
			_, _, err := w.SignIn(t.Context(), "anna", password, From{Address: "192.0.2.7:1"})
			wantReason(t, err, Locked)
			if err := mend(w); err != nil {
				t.Fatal(err)
			}
			_, err = w.Authenticate(t.Context(), token)
			wantReason(t, err, SessionOver)
			w.signIn(t, "anna")
		})
	}
}

func TestWhatAddWouldRefuseIsKnownBeforeThePassword(t *testing.T) {
	w := open(t)
	w.add(t, "anna", Clinician, "7w")
	wantReason(t, w.MayAdd(t.Context(), Account{Name: "Anna", Role: Viewer, Wards: []string{"7w"}}), Exists)
	wantReason(t, w.MayAdd(t.Context(), Account{Name: "ben", Role: Viewer}), BadAccount)
	if err := w.MayAdd(t.Context(), Account{Name: "ben", Role: Viewer, Wards: []string{"7w"}}); err != nil {
		t.Error(err)
	}
	_, err := w.Account(t.Context(), "ben")
	wantReason(t, err, Unknown)
}
