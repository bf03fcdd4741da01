package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"wardline/cloud/internal/store"
)

// Outcome is how what somebody tried went.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// Row is what the audit log says: who did what on what, from where, and how it
// went.
type Row struct {
	At      int64  // µs UTC; 0 means now
	Who     string // an account's name, "system" or "operator"
	From    string // a network address, "" for this machine
	What    string // sign in, read alerts, acknowledge …
	On      string // an alert's, bed's, gateway's, account's or session's id
	Ward    string
	Outcome Outcome
	Why     string // of a refusal: its reason
}

// Audit adds a row to the log in the transaction of what it is about.
func (a *Access) Audit(tx *store.Tx, r Row) error {
	if r.At == 0 {
		r.At = a.now()
	}
	head, err := tx.AuditHead()
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	row := store.AuditRow{Seq: head.Seq + 1, At: r.At, Who: clip(r.Who, 64), From: clip(r.From, 64), What: clip(r.What, 64),
		On: clip(r.On, 128), Ward: clip(r.Ward, 64), Outcome: string(r.Outcome), Why: clip(r.Why, 256)}
	row.Hash = chain(head.Hash, row)
	if err := tx.AddAudit(row); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// Record adds a row for what has no transaction of its own: a read, a refusal.
// It returns when the row is durable.
func (a *Access) Record(ctx context.Context, r Row) error {
	return a.store.Do(ctx, store.Normal, func(tx *store.Tx) error { return a.Audit(tx, r) })
}

// Entry is a row as it is kept.
type Entry struct {
	Seq int64
	Row
	Hash string // hexadecimal
}

// Log lists rows after seq, oldest first.
func (a *Access) Log(ctx context.Context, after int64, limit int) ([]Entry, error) {
	var out []Entry
	err := a.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.AuditAfter(after, limit)
		for _, r := range rows {
			out = append(out, Entry{Seq: r.Seq, Hash: hex.EncodeToString(r.Hash), Row: Row{At: r.At, Who: r.Who, From: r.From,
				What: r.What, On: r.On, Ward: r.Ward, Outcome: Outcome(r.Outcome), Why: r.Why}})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	return out, nil
}

// chain is the hash of a row: SHA-256 over the hash of the row before (nothing
// for the first) and each field in the table's order, as length:text and a comma.
func chain(previous []byte, r store.AuditRow) []byte {
	h := sha256.New()
	h.Write(previous)
	for _, field := range []string{strconv.FormatInt(r.Seq, 10), strconv.FormatInt(r.At, 10),
		r.Who, r.From, r.What, r.On, r.Ward, r.Outcome, r.Why} {
		fmt.Fprintf(h, "%d:%s,", len(field), field)
	}
	return h.Sum(nil)
}

// Head is the place to which a log was found whole. Written down outside of the
// database, it also shows rows that were taken from the end later on.
type Head struct {
	Rows int64 // that were looked at
	Seq  int64
	Hash string // hexadecimal
	More bool   // there may be rows after it
}

// Broken means that the log is not what was written.
type Broken struct{ text string }

func (e *Broken) Error() string { return "audit log: " + e.text }

// verifyStep is how many rows are read at a time, so that no reader holds the
// write-ahead log back for long.
const verifyStep = 1000

// Verify walks the log after from, whose Seq and Hash are of a head that was found
// before (zero = from the beginning), for at most limit rows (0 = to the end). It
// fails with [*Broken] at the first row that was changed, put in, taken out or
// moved, from's own among them; the head is then the row before. Rows before the
// first that is kept (retention takes them away in order) cannot be missed.
func (a *Access) Verify(ctx context.Context, from Head, limit int64) (Head, error) {
	head := Head{Seq: from.Seq, Hash: from.Hash}
	last, err := a.rowOf(ctx, from)
	if err != nil {
		return head, err
	}
	for {
		step := int64(verifyStep)
		if limit > 0 {
			step = min(step, limit-head.Rows)
		}
		if step == 0 {
			head.More = true
			return head, nil
		}
		rows, err := a.auditAfter(ctx, last.Seq, int(step))
		if err != nil {
			return head, err
		}
		if len(rows) == 0 {
			return head, nil
		}
		for _, r := range rows {
			if err := follows(last, r); err != nil {
				return head, err
			}
			last = r
			head = Head{Rows: head.Rows + 1, Seq: r.Seq, Hash: hex.EncodeToString(r.Hash)}
		}
	}
}

// rowOf finds the row of a head that was found before.
func (a *Access) rowOf(ctx context.Context, head Head) (store.AuditRow, error) {
	if head.Seq == 0 {
		return store.AuditRow{}, nil
	}
	rows, err := a.auditAfter(ctx, head.Seq-1, 1)
	switch {
	case err != nil:
		return store.AuditRow{}, err
	case len(rows) == 0 || rows[0].Seq != head.Seq:
		return store.AuditRow{}, &Broken{fmt.Sprintf("row %d, from which to go on, is not there", head.Seq)}
	case hex.EncodeToString(rows[0].Hash) != strings.ToLower(head.Hash):
		return store.AuditRow{}, &Broken{fmt.Sprintf("row %d, from which to go on, does not have that hash", head.Seq)}
	}
	return rows[0], nil
}

func (a *Access) auditAfter(ctx context.Context, seq int64, limit int) (rows []store.AuditRow, err error) {
	err = a.store.View(ctx, func(tx *store.Tx) error {
		rows, err = tx.AuditAfter(seq, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("verify the audit log: %w", err)
	}
	return rows, nil
}

func follows(last, r store.AuditRow) error {
	kept := last.Seq == 0 && r.Seq > 1 // the first that retention left
	switch {
	case !kept && r.Seq != last.Seq+1:
		return &Broken{fmt.Sprintf("after row %d comes row %d: rows were taken out", last.Seq, r.Seq)}
	case !kept && !bytes.Equal(r.Hash, chain(last.Hash, r)):
		return &Broken{fmt.Sprintf("row %d is not what was written, or the one before it is not", r.Seq)}
	}
	return nil
}
