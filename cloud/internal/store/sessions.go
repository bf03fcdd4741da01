package store

// Session is one signed-in session's row. The token itself is nowhere kept.
type Session struct {
	TokenHash []byte // SHA-256 of the token
	ID        string // names the session in lists
	Person    string
	MadeAt    int64
	UsedAt    int64
	EndsAt    int64  // whatever happens
	EndedAt   int64  // signed out or revoked; 0 while neither
	From      string // the network address that signed in
	Agent     string // the program that signed in, as it calls itself
}

const sessionColumns = `token_hash, id, person, made_at, used_at, ends_at, ended_at, "from", agent`

// AddSession makes a session.
func (tx *Tx) AddSession(s Session) error {
	_, err := tx.Exec(`INSERT INTO session (`+sessionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		s.TokenHash, s.ID, s.Person, s.MadeAt, s.UsedAt, s.EndsAt, s.EndedAt, s.From, s.Agent)
	return err
}

// Session finds a session by its token's hash, [ErrNotFound] when there is none.
func (tx *Tx) Session(tokenHash []byte) (Session, error) {
	return scanSession(tx.QueryRow(`SELECT `+sessionColumns+` FROM session WHERE token_hash = $1`, tokenHash))
}

// SessionByID finds a session by its id, [ErrNotFound] when there is none.
func (tx *Tx) SessionByID(id string) (Session, error) {
	return scanSession(tx.QueryRow(`SELECT `+sessionColumns+` FROM session WHERE id = $1`, id))
}

// Sessions lists a person's sessions that have not been ended, newest first.
func (tx *Tx) Sessions(person string) ([]Session, error) {
	var out []Session
	err := tx.each(func(row scanner) error {
		s, err := scanSession(row)
		out = append(out, s)
		return err
	}, `SELECT `+sessionColumns+` FROM session WHERE person = $1 AND ended_at = 0 ORDER BY made_at DESC, id`, person)
	return out, err
}

// SignedInFrom reports whether a person's session began at an address, as far back
// as sessions are kept.
func (tx *Tx) SignedInFrom(person, address string) (yes bool, err error) {
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM session WHERE person = $1 AND "from" = $2)`, person, address).Scan(&yes)
	return yes, err
}

// UseSession notes that a session was used.
func (tx *Tx) UseSession(id string, at int64) error {
	_, err := tx.Exec(`UPDATE session SET used_at = $1 WHERE id = $2 AND used_at < $1`, at, id)
	return err
}

// EndSession ends a session for good.
func (tx *Tx) EndSession(id string, at int64) error {
	_, err := tx.Exec(`UPDATE session SET ended_at = $1 WHERE id = $2 AND ended_at = 0`, at, id)
	return err
}

// EndSessions ends all of a person's sessions for good.
func (tx *Tx) EndSessions(person string, at int64) error {
	_, err := tx.Exec(`UPDATE session SET ended_at = $1 WHERE person = $2 AND ended_at = 0`, at, person)
	return err
}

// ForgetSessions removes what has been over since before an instant.
func (tx *Tx) ForgetSessions(before int64) error {
	_, err := tx.Exec(`DELETE FROM session WHERE ends_at < $1`, before)
	return err
}

func scanSession(row scanner) (Session, error) {
	var s Session
	err := row.Scan(&s.TokenHash, &s.ID, &s.Person, &s.MadeAt, &s.UsedAt, &s.EndsAt, &s.EndedAt, &s.From, &s.Agent)
	return s, err
}
