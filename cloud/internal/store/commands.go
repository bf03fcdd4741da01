package store

import "wardline/shared/alert"

// Command is what a gateway is asked to do, until it has answered.
type Command struct {
	ID       string
	Gateway  string
	Kind     string // alert_event
	Alert    alert.ID
	N        uint32 // of an alert event: the board's number
	Payload  []byte // of an alert event: its JSON
	MadeAt   int64
	Deadline int64 // 0 = none
	DoneAt   int64 // 0 until there is a result
	Outcome  string
	Detail   string
}

const commandColumns = `id, gateway, kind, alert, n, payload, made_at, deadline, done_at, outcome, detail`

// AddCommand makes a command; one of the same id is left as it is.
func (tx *Tx) AddCommand(c Command) error {
	_, err := tx.Exec(`INSERT INTO command (id, gateway, kind, alert, n, payload, made_at, deadline)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
		c.ID, c.Gateway, c.Kind, string(c.Alert), int64(c.N), c.Payload, c.MadeAt, c.Deadline)
	return err
}

// PendingCommands lists what a gateway may be asked now, oldest first: of each
// alert the command with the lowest n that has no result and whose deadline has
// not passed. The alert's next one is listed when that one has its result.
func (tx *Tx) PendingCommands(gateway string, now int64, limit int) ([]Command, error) {
	var out []Command
	err := tx.each(func(row scanner) error {
		c, err := scanCommand(row)
		out = append(out, c)
		return err
	}, `SELECT `+commandColumns+` FROM (SELECT `+commandColumns+`, row_number() OVER (PARTITION BY alert ORDER BY n, id) AS place
			FROM command WHERE gateway = $1 AND done_at = 0 AND (deadline = 0 OR deadline >= $2)) AS pending
		WHERE place = 1 ORDER BY made_at, id LIMIT $3`, gateway, now, limit)
	return out, err
}

// FinishCommand notes a command's result. fresh is false when the gateway has no
// such command, or it had a result before.
func (tx *Tx) FinishCommand(gateway, id, outcome, detail string, at int64) (c Command, fresh bool, err error) {
	n, err := affected(tx.Exec(`UPDATE command SET done_at = $1, outcome = $2, detail = $3
		WHERE id = $4 AND gateway = $5 AND done_at = 0`, at, outcome, detail, id, gateway))
	if err != nil || n == 0 {
		return c, false, err
	}
	c, err = scanCommand(tx.QueryRow(`SELECT `+commandColumns+` FROM command WHERE id = $1`, id))
	return c, true, err
}

func scanCommand(row scanner) (Command, error) {
	var c Command
	var a string
	err := row.Scan(&c.ID, &c.Gateway, &c.Kind, &a, &c.N, &c.Payload, &c.MadeAt, &c.Deadline, &c.DoneAt, &c.Outcome, &c.Detail)
	c.Alert = alert.ID(a)
	return c, err
}

// Timer is what must happen at an instant.
type Timer struct {
	Kind    string
	Subject string // an alert's or a gateway's id
	Due     int64
	Version uint64 // what it was set for; checked again when it is due
}

// SetTimer sets the one timer of a kind for a subject.
func (tx *Tx) SetTimer(t Timer) error {
	_, err := tx.Exec(`INSERT INTO timer (kind, subject, due, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (kind, subject) DO UPDATE SET due = $3, version = $4`, t.Kind, t.Subject, t.Due, int64(t.Version))
	return err
}

// Timer finds a timer, [ErrNotFound] when it is not set.
func (tx *Tx) Timer(kind, subject string) (Timer, error) {
	t := Timer{Kind: kind, Subject: subject}
	err := tx.QueryRow(`SELECT due, version FROM timer WHERE kind = $1 AND subject = $2`, kind, subject).Scan(&t.Due, &t.Version)
	return t, err
}

// StopTimer removes a timer, if there is one.
func (tx *Tx) StopTimer(kind, subject string) error {
	_, err := tx.Exec(`DELETE FROM timer WHERE kind = $1 AND subject = $2`, kind, subject)
	return err
}

// DueTimers lists the timers due at now, the longest due first.
func (tx *Tx) DueTimers(now int64, limit int) ([]Timer, error) {
	var out []Timer
	err := tx.each(func(row scanner) error {
		var t Timer
		err := row.Scan(&t.Kind, &t.Subject, &t.Due, &t.Version)
		out = append(out, t)
		return err
	}, `SELECT kind, subject, due, version FROM timer WHERE due <= $1 ORDER BY due, kind, subject LIMIT $2`, now, limit)
	return out, err
}

// NextTimer is when the next timer is due; 0 when there is none.
func (tx *Tx) NextTimer() (due int64, err error) {
	err = tx.QueryRow(`SELECT coalesce(min(due), 0) FROM timer`).Scan(&due)
	return due, err
}
