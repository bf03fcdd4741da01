package store

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"wardline/shared/sqlite"
	"wardline/shared/vital"
)

func summaryAt(bed string, start int64) Summary {
	return Summary{
		Ward: "7w", Bed: bed, Start: start, End: start + 10e6, Contact: true, Sensor: "s017", Patient: "p-3fa9",
		Vitals: []VitalSummary{
			{Vital: vital.HeartRate, Quality: 93, N: 10, Min: 71, Mean: 73.4, Max: 80, Last: 74},
			{Vital: vital.SpO2, Quality: 99, N: 10, Min: 96, Mean: 96.9, Max: 98, Last: 97},
			{Vital: vital.RespRate, Quality: 80, N: 10, Min: 12, Mean: 14.25, Max: 17, Last: 15},
			{Vital: vital.Temperature, Quality: 100, N: 1, Min: 36.75, Mean: 36.75, Max: 36.75, Last: 36.75},
			{Vital: vital.Battery, Quality: 100, N: 10, Min: 0.81, Mean: 0.81, Max: 0.81, Last: 0.81},
		},
	}
}

func vitalsOf(t *testing.T, s *Store, bed string, from, to int64) (list []Summary) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		for v, err := range tx.Vitals("7w", bed, from, to) {
			if err != nil {
				return err
			}
			list = append(list, v)
		}
		return nil
	})
	return list
}

func TestASummaryComesBackAsItWas(t *testing.T) {
	s := open(t)
	want := summaryAt("12", 1_700_000_000_000_000)
	want.Late, want.LeadOff, want.Silent = true, true, true
	do(t, s, func(tx *Tx) error { return tx.PutVitals([]Summary{want}) })
	got := vitalsOf(t, s, "12", 0, math.MaxInt64)
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := vitalsOf(t, s, "13", 0, math.MaxInt64); got != nil {
		t.Errorf("a bed that nobody knows has %v", got)
	}
}

func TestATrendReadsFromInclusiveToExclusive(t *testing.T) {
	s := open(t)
	do(t, s, func(tx *Tx) error {
		return tx.PutVitals([]Summary{summaryAt("12", 30), summaryAt("12", 10), summaryAt("14", 20), summaryAt("12", 20)})
	})
	var starts []int64
	for _, v := range vitalsOf(t, s, "12", 10, 30) {
		starts = append(starts, v.Start)
	}
	if !slices.Equal(starts, []int64{10, 20}) {
		t.Errorf("got %v, want [10 20]", starts)
	}
}

func TestBackfillOfAnIntervalIsKeptBesideWhatIsThere(t *testing.T) {
	s := open(t)
	late := summaryAt("12", 10)
	late.Late = true
	for range 2 {
		do(t, s, func(tx *Tx) error { return tx.PutVitals([]Summary{summaryAt("12", 20), late, late}) })
	}
	if got := vitalsOf(t, s, "12", 0, 100); len(got) != 6 {
		t.Errorf("kept %d rows, want 6", len(got))
	}
}

func FuzzAPayloadIsReadOrRefused(f *testing.F) {
	full := summaryAt("12", 10)
	f.Add(full.encode())
	f.Add([]byte{vitalsVersion, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var s Summary
		if s.decode(payload) != nil {
			return
		}
		var again Summary
		if err := again.decode(s.encode()); err != nil {
			t.Errorf("what was read cannot be written and read again: %v", err)
		}
	})
}

// BenchmarkBareAppend is the floor: the same rows and durability, 256 a commit,
// by one writer that does nothing else.
func BenchmarkBareAppend(b *testing.B) {
	db, err := sqlite.Open(b.TempDir()+"/bare.db", sqlite.Options{CacheKiB: 16 << 10, WALLimit: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Write.Exec(`CREATE TABLE vitals (bed INTEGER NOT NULL, start INTEGER NOT NULL, payload BLOB NOT NULL) STRICT`); err != nil {
		b.Fatal(err)
	}
	const perCommit = 256
	full := summaryAt("12", 10)
	payload := full.encode()
	n := int64(0)
	for b.Loop() {
		err := db.Tx(b.Context(), func(tx *sql.Tx) error {
			st, err := tx.Prepare(`INSERT INTO vitals (bed, start, payload) VALUES ($1, $2, $3)`)
			if err != nil {
				return err
			}
			defer st.Close()
			for range perCommit {
				n++
				if _, err := st.Exec(n%8, n, payload); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkCommit is the writer's rate with batches as 200 sessions bring them.
func BenchmarkCommit(b *testing.B) {
	s, err := Open(b.TempDir() + "/cloud.db")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const perBatch = 64
	b.SetParallelism(100) // × 2 processors
	b.RunParallel(func(p *testing.PB) {
		ward, start := fmt.Sprint("w", rand.N(1_000_000)), int64(0)
		for p.Next() {
			batch := make([]Summary, perBatch)
			for i := range batch {
				batch[i] = summaryAt(fmt.Sprint(i%8), start)
				batch[i].Ward = ward
				if i%8 == 7 {
					start += 10e6
				}
			}
			if err := s.Do(b.Context(), Normal, func(tx *Tx) error { return tx.PutVitals(batch) }); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)*perBatch/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkBacklog is the writer's rate with what one gateway of 40 beds sends
// after a time without a cloud: long, by time, and nobody beside it.
func BenchmarkBacklog(b *testing.B) {
	s, err := Open(b.TempDir() + "/cloud.db")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const perBatch = 4000
	list, start := make([]Summary, perBatch), int64(0)
	for b.Loop() {
		for i := range list {
			list[i] = summaryAt(fmt.Sprint(i%40), start)
			if i%40 == 39 {
				start += 10e6
			}
		}
		if err := s.Do(b.Context(), Normal, func(tx *Tx) error { return tx.PutVitals(list) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*perBatch/b.Elapsed().Seconds(), "records/s")
}
