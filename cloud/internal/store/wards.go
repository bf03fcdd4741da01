package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// Ward is a ward and its beds.
type Ward struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Beds []Bed  `json:"beds"`
}

// Bed is a bed and what is bound to it.
type Bed struct {
	ID      string   `json:"id"`
	Ward    string   `json:"ward"`
	Gateway string   `json:"gateway"` // who watches it
	Sensor  string   `json:"sensor"`
	Patient string   `json:"patient"` // a pseudonym, never a name
	Limits  []Limit  `json:"limits"`
	Expect  []string `json:"expect"` // names of vitals
}

// Limit is a limit in force for a bed.
type Limit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Wards lists every ward that some gateway watches a bed of, with those beds, by id.
func (tx *Tx) Wards() ([]Ward, error) {
	return tx.wards(`SELECT ward.id, ward.name, bed, gateway, sensor, patient, limits, expect FROM ward
		JOIN bed ON bed.ward = ward.id WHERE bed.gateway <> '' ORDER BY ward.id, bed.number`)
}

// Ward is one ward as in [Tx.Wards]; [ErrNotFound] when nobody watches it.
func (tx *Tx) Ward(id string) (Ward, error) {
	list, err := tx.wards(`SELECT ward.id, ward.name, bed, gateway, sensor, patient, limits, expect FROM ward
		JOIN bed ON bed.ward = ward.id WHERE bed.gateway <> '' AND ward.id = $1 ORDER BY bed.number`, id)
	if err != nil {
		return Ward{}, err
	}
	if len(list) == 0 {
		return Ward{}, ErrNotFound
	}
	return list[0], nil
}

func (tx *Tx) wards(query string, args ...any) ([]Ward, error) {
	var out []Ward
	err := tx.each(func(row scanner) error {
		var w Ward
		var b Bed
		var limits, expect []byte
		if err := row.Scan(&w.ID, &w.Name, &b.ID, &b.Gateway, &b.Sensor, &b.Patient, &limits, &expect); err != nil {
			return err
		}
		if err := decode("bed "+b.ID, pair{limits, &b.Limits}, pair{expect, &b.Expect}); err != nil {
			return err
		}
		b.Ward = w.ID
		if len(out) == 0 || out[len(out)-1].ID != w.ID {
			out = append(out, w)
		}
		out[len(out)-1].Beds = append(out[len(out)-1].Beds, b)
		return nil
	}, query, args...)
	return out, err
}

// PutTopology makes wards what gateway watches, and nothing else: a bed that it
// no longer names keeps its history and loses its gateway. The latest to name a
// bed has it. It returns the wards that changed, those that lost a bed included.
func (tx *Tx) PutTopology(gateway string, wards []Ward) (changed []string, err error) {
	look := func() (map[string]string, error) {
		all, err := tx.Wards()
		if err != nil {
			return nil, err
		}
		seen := map[string]string{}
		for _, w := range all {
			text, err := json.Marshal(w)
			if err != nil {
				return nil, err
			}
			seen[w.ID] = string(text)
		}
		return seen, nil
	}
	before, err := look() // ward to what it looked like
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(`UPDATE bed SET gateway = '' WHERE gateway = $1`, gateway); err != nil {
		return nil, err
	}
	for _, w := range wards {
		if err := tx.putWard(gateway, w); err != nil {
			return nil, fmt.Errorf("ward %s: %w", w.ID, err)
		}
	}
	after, err := look()
	if err != nil {
		return nil, err
	}
	for id, text := range after {
		if before[id] != text {
			changed = append(changed, id)
		}
		delete(before, id)
	}
	for id := range before {
		changed = append(changed, id)
	}
	return changed, nil
}

func (tx *Tx) putWard(gateway string, w Ward) error {
	_, err := tx.Exec(`INSERT INTO ward (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = $2`, w.ID, w.Name)
	if err != nil {
		return err
	}
	for _, b := range w.Beds {
		limits, expect, err := encode(b.Limits, b.Expect)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO bed (ward, bed, gateway, sensor, patient, limits, expect) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (ward, bed) DO UPDATE SET gateway = $3, sensor = $4, patient = $5, limits = $6, expect = $7`,
			w.ID, b.ID, gateway, b.Sensor, b.Patient, limits, expect)
		if err != nil {
			return err
		}
	}
	return nil
}

// bedNumbers remembers the numbers of beds, which never change.
type bedNumbers struct {
	mu   sync.Mutex // guards what follows
	kept map[[2]string]int64
}

type bedNumber struct {
	key    [2]string // ward, bed
	number int64
}

func (b *bedNumbers) find(key [2]string) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.kept[key]
	return n, ok
}

// keep remembers numbers whose rows are durable.
func (b *bedNumbers) keep(list []bedNumber) {
	if len(list) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil {
		b.kept = map[[2]string]int64{}
	}
	for _, n := range list {
		b.kept[n.key] = n.number
	}
}

// bedNumber is the number of a bed, which gets one when it has none yet.
func (tx *Tx) bedNumber(ward, bed string) (int64, error) {
	key := [2]string{ward, bed}
	if n, ok := tx.store.beds.find(key); ok {
		return n, nil
	}
	n, err := tx.knownBed(ward, bed)
	if errors.Is(err, ErrNotFound) {
		err = tx.QueryRow(`INSERT INTO bed (ward, bed) VALUES ($1, $2) RETURNING number`, ward, bed).Scan(&n)
	}
	if err != nil {
		return 0, fmt.Errorf("number bed %s of %s: %w", bed, ward, err)
	}
	tx.newBeds = append(tx.newBeds, bedNumber{key, n})
	return n, nil
}

// knownBed is the number of a bed, [ErrNotFound] when nothing is known of it.
func (tx *Tx) knownBed(ward, bed string) (n int64, err error) {
	err = tx.QueryRow(`SELECT number FROM bed WHERE ward = $1 AND bed = $2`, ward, bed).Scan(&n)
	return n, err
}
