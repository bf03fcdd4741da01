package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"wardline/shared/vital"
)

// Summary is what one bed's sensor measured in one interval.
type Summary struct {
	Ward, Bed string
	Start     int64 // µs UTC, aligned to the interval
	End       int64
	Late      bool // it came from back-fill, or long after it happened
	Contact   bool // the sensor had skin contact throughout
	LeadOff   bool // a lead was off at some time
	Silent    bool // the sensor was silent at the end
	Sensor    string
	Patient   string // a pseudonym, never a name
	Vitals    []VitalSummary
}

// VitalSummary is one vital in one interval. Values are in the vital's unit and
// kept to a thousandth.
type VitalSummary struct {
	Vital                vital.Vital
	Quality              uint8 // 0 to 100, the mean
	N                    uint32
	Min, Mean, Max, Last float64
}

// PutVitals writes summaries; one of an interval that has some already is kept
// beside it. Ingest sees to it that the same record does not come twice.
//
// It puts list into the order of the table: a backlog comes by time, and so each
// row would be on another page than the one before.
func (tx *Tx) PutVitals(list []Summary) error {
	slices.SortStableFunc(list, func(a, b Summary) int {
		return cmp.Or(strings.Compare(a.Ward, b.Ward), strings.Compare(a.Bed, b.Bed), cmp.Compare(a.Start, b.Start))
	})
	for len(list) > 0 {
		n := min(len(list), vitalsRows)
		if err := tx.putVitals(list[:n]); err != nil {
			return fmt.Errorf("write vitals: %w", err)
		}
		list = list[n:]
	}
	return nil
}

// vitalsRows is how many rows one statement writes at most: the fixed cost of a
// statement is several times that of a row.
const vitalsRows = 32

const vitalsInsert = `INSERT INTO vitals (bed, start, part, payload) VALUES `

var vitalsInserts = func() (texts [vitalsRows + 1]string) {
	var rows []string
	for i := range vitalsRows {
		rows = append(rows, fmt.Sprintf("($%d, $%d, 0, $%d)", 3*i+1, 3*i+2, 3*i+3))
		texts[i+1] = vitalsInsert + strings.Join(rows, ", ") + ` ON CONFLICT (bed, start, part) DO NOTHING`
	}
	return texts
}()

func (tx *Tx) putVitals(list []Summary) error {
	args := make([]any, 0, 3*len(list))
	for i := range list {
		s := &list[i]
		bed, err := tx.bedNumber(s.Ward, s.Bed)
		if err != nil {
			return err
		}
		args = append(args, bed, s.Start, s.encode())
	}
	if _, err := tx.Exec(`SAVEPOINT vitals`); err != nil {
		return err
	}
	n, err := affected(tx.Exec(vitalsInserts[len(list)], args...))
	if err == nil && n == len(list) {
		_, err = tx.Exec(`RELEASE vitals`)
		return err
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`ROLLBACK TO vitals`); err != nil {
		return err
	}
	for i := range list {
		_, err := tx.Exec(`INSERT INTO vitals (bed, start, part, payload)
			SELECT $1, $2, coalesce(max(part) + 1, 0), $3 FROM vitals WHERE bed = $1 AND start = $2`, args[3*i:3*i+3]...)
		if err != nil {
			return err
		}
	}
	_, err = tx.Exec(`RELEASE vitals`)
	return err
}

// Vitals iterates over what a bed has from one instant (inclusive) to another
// (exclusive), by the start of the interval, what came first before what came
// later. It ends at the first error.
func (tx *Tx) Vitals(ward, bed string, from, to int64) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		number, err := tx.knownBed(ward, bed)
		if errors.Is(err, ErrNotFound) {
			return
		}
		if err != nil {
			yield(Summary{}, err)
			return
		}
		rows, err := tx.Query(`SELECT start, payload FROM vitals WHERE bed = $1 AND start >= $2 AND start < $3
			ORDER BY start, part`, number, from, to)
		if err != nil {
			yield(Summary{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			s := Summary{Ward: ward, Bed: bed}
			var payload []byte
			if err = rows.Scan(&s.Start, &payload); err == nil {
				err = s.decode(payload)
			}
			if err != nil {
				yield(s, fmt.Errorf("vitals of bed %s: %w", bed, err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Summary{}, err)
		}
	}
}

// The payload of a row of vitals: a version byte, flags, the interval's length,
// sensor and patient, and then vitals in thousandths, mean first and the others
// as differences from it. Numbers are varints; about 60 bytes for five vitals.
const vitalsVersion = 1

const (
	flagLate = 1 << iota
	flagContact
	flagLeadOff
	flagSilent
)

func (s *Summary) encode() []byte {
	b := make([]byte, 0, 24+len(s.Sensor)+len(s.Patient)+16*len(s.Vitals))
	b = append(b, vitalsVersion, s.flags())
	b = binary.AppendUvarint(b, uint64(max(s.End-s.Start, 0)))
	b = appendString(appendString(b, s.Sensor), s.Patient)
	for _, v := range s.Vitals {
		mean := thousandths(v.Mean)
		b = append(b, byte(v.Vital), v.Quality)
		b = binary.AppendUvarint(b, uint64(v.N))
		b = binary.AppendVarint(b, mean)
		b = binary.AppendVarint(b, mean-thousandths(v.Min))
		b = binary.AppendVarint(b, thousandths(v.Max)-mean)
		b = binary.AppendVarint(b, thousandths(v.Last)-mean)
	}
	return b
}

func (s *Summary) flags() byte {
	return bit(s.Late, flagLate) | bit(s.Contact, flagContact) | bit(s.LeadOff, flagLeadOff) | bit(s.Silent, flagSilent)
}

func bit(on bool, f byte) byte {
	if on {
		return f
	}
	return 0
}

func thousandths(x float64) int64 { return int64(math.Round(x * 1000)) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errPayload = errors.New("a row's payload cannot be read")

func (s *Summary) decode(b []byte) error {
	if len(b) < 2 || b[0] != vitalsVersion {
		return errPayload
	}
	f := b[1]
	s.Late, s.Contact, s.LeadOff, s.Silent = f&flagLate != 0, f&flagContact != 0, f&flagLeadOff != 0, f&flagSilent != 0
	r := reader{b: b[2:]}
	s.End = s.Start + int64(r.uvarint())
	s.Sensor, s.Patient = r.text(), r.text()
	for len(r.b) > 0 {
		v := VitalSummary{Vital: vital.Vital(r.byte()), Quality: r.byte(), N: uint32(r.uvarint())}
		mean := r.varint()
		v.Mean, v.Min = float64(mean)/1000, float64(mean-r.varint())/1000
		v.Max, v.Last = float64(mean+r.varint())/1000, float64(mean+r.varint())/1000
		s.Vitals = append(s.Vitals, v)
	}
	if r.bad {
		return errPayload
	}
	return nil
}

// A reader takes a payload apart; bad once there was not enough of it.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// Hole is a stretch that a gateway had to give up: it will not be filled.
type Hole struct {
	Gateway  string
	Lane     int
	From, To int64 // µs UTC, of what was given up
	Reason   string
}

// PutHole notes a hole.
func (tx *Tx) PutHole(h Hole) error {
	_, err := tx.Exec(`INSERT INTO hole (gateway, lane, from_at, to_at, reason) VALUES ($1, $2, $3, $4, $5)`,
		h.Gateway, h.Lane, h.From, h.To, h.Reason)
	return err
}

// Holes lists a gateway's holes in one lane that touch a stretch of time.
func (tx *Tx) Holes(gateway string, lane int, from, to int64) ([]Hole, error) {
	var out []Hole
	err := tx.each(func(row scanner) error {
		h := Hole{Gateway: gateway, Lane: lane}
		err := row.Scan(&h.From, &h.To, &h.Reason)
		out = append(out, h)
		return err
	}, `SELECT from_at, to_at, reason FROM hole WHERE gateway = $1 AND lane = $2 AND to_at >= $3 AND from_at < $4
		ORDER BY from_at, id`, gateway, lane, from, to)
	return out, err
}
