package store

import (
	"encoding/json"
	"fmt"
)

// Person is one account's row.
type Person struct {
	Name         string // what they sign in with, lower case
	Display      string
	Role         string
	Wards        []string // ids, or "*" alone
	PasswordHash string   // PHC string
	MadeAt       int64
	ChangedAt    int64
	DisabledAt   int64 // 0 while the account may sign in
}

const personColumns = `name, display, role, wards, password_hash, made_at, changed_at, disabled_at`

// Person finds an account, [ErrNotFound] when there is none of that name.
func (tx *Tx) Person(name string) (Person, error) {
	return scanPerson(tx.QueryRow(`SELECT `+personColumns+` FROM person WHERE name = $1`, name))
}

// People lists every account by name.
func (tx *Tx) People() ([]Person, error) {
	var out []Person
	err := tx.each(func(row scanner) error {
		p, err := scanPerson(row)
		out = append(out, p)
		return err
	}, `SELECT `+personColumns+` FROM person ORDER BY name`)
	return out, err
}

// AddPerson makes an account; one that exists is an error of sqlite.Duplicate.
func (tx *Tx) AddPerson(p Person) error {
	wards, err := json.Marshal(p.Wards)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO person (`+personColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		p.Name, p.Display, p.Role, string(wards), p.PasswordHash, p.MadeAt, p.ChangedAt, p.DisabledAt)
	return err
}

// SetPassword replaces an account's password.
func (tx *Tx) SetPassword(name, hash string, at int64) error {
	_, err := tx.Exec(`UPDATE person SET password_hash = $1, changed_at = $2 WHERE name = $3`, hash, at, name)
	return err
}

// DisablePerson keeps an account from signing in; at 0 lets it again.
func (tx *Tx) DisablePerson(name string, at int64) error {
	_, err := tx.Exec(`UPDATE person SET disabled_at = $1 WHERE name = $2`, at, name)
	return err
}

type scanner interface{ Scan(dest ...any) error }

func scanPerson(row scanner) (Person, error) {
	var p Person
	var wards string
	err := row.Scan(&p.Name, &p.Display, &p.Role, &wards, &p.PasswordHash, &p.MadeAt, &p.ChangedAt, &p.DisabledAt)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(wards), &p.Wards); err != nil {
		return p, fmt.Errorf("wards of %s: %w", p.Name, err)
	}
	return p, nil
}

// AddSignInFailure remembers a wrong password for a name, of an account or not.
func (tx *Tx) AddSignInFailure(name, from string, at int64) error {
	_, err := tx.Exec(`INSERT INTO sign_in_failure (name, at, "from") VALUES ($1, $2, $3)`, name, at, from)
	return err
}

// SignInFailures lists when the newest failures of a name were, newest first.
func (tx *Tx) SignInFailures(name string, limit int) ([]int64, error) {
	return tx.times(`SELECT at FROM sign_in_failure WHERE name = $1 ORDER BY at DESC LIMIT $2`, name, limit)
}

// SignInFailuresFrom lists when the newest failures from an address were, newest first.
func (tx *Tx) SignInFailuresFrom(from string, limit int) ([]int64, error) {
	return tx.times(`SELECT at FROM sign_in_failure WHERE "from" = $1 ORDER BY at DESC LIMIT $2`, from, limit)
}

// ForgetSignInFailures forgets those of a name.
func (tx *Tx) ForgetSignInFailures(name string) error {
	_, err := tx.Exec(`DELETE FROM sign_in_failure WHERE name = $1`, name)
	return err
}

// PruneSignInFailures forgets everybody's before an instant.
func (tx *Tx) PruneSignInFailures(before int64) error {
	_, err := tx.Exec(`DELETE FROM sign_in_failure WHERE at < $1`, before)
	return err
}

func (tx *Tx) times(query string, args ...any) ([]int64, error) {
	var out []int64
	err := tx.each(func(row scanner) error {
		var at int64
		err := row.Scan(&at)
		out = append(out, at)
		return err
	}, query, args...)
	return out, err
}
