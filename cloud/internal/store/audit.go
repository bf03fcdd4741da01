package store

import "errors"

// AuditRow is one row of the audit log. What its hash covers is access's.
type AuditRow struct {
	Seq     int64
	At      int64
	Who     string
	From    string
	What    string
	On      string
	Ward    string
	Outcome string
	Why     string
	Hash    []byte
}

const auditColumns = `seq, at, who, "from", what, "on", ward, outcome, why, hash`

// AuditHead is the newest row; the zero row when there is none.
func (tx *Tx) AuditHead() (AuditRow, error) {
	r, err := scanAudit(tx.QueryRow(`SELECT ` + auditColumns + ` FROM audit ORDER BY seq DESC LIMIT 1`))
	if errors.Is(err, ErrNotFound) {
		return AuditRow{}, nil
	}
	return r, err
}

// AddAudit writes a row as it is.
func (tx *Tx) AddAudit(r AuditRow) error {
	_, err := tx.Exec(`INSERT INTO audit (`+auditColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		r.Seq, r.At, r.Who, r.From, r.What, r.On, r.Ward, r.Outcome, r.Why, r.Hash)
	return err
}

// AuditAfter lists rows after seq, oldest first.
func (tx *Tx) AuditAfter(seq int64, limit int) ([]AuditRow, error) {
	var out []AuditRow
	err := tx.each(func(row scanner) error {
		r, err := scanAudit(row)
		out = append(out, r)
		return err
	}, `SELECT `+auditColumns+` FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`, seq, limit)
	return out, err
}

func scanAudit(row scanner) (AuditRow, error) {
	var r AuditRow
	err := row.Scan(&r.Seq, &r.At, &r.Who, &r.From, &r.What, &r.On, &r.Ward, &r.Outcome, &r.Why, &r.Hash)
	return r, err
}
