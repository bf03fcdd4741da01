// Package wfdb reads recordings in PhysioNet's WFDB format: a header, signals
// in formats 212 and 16, plain or compressed with bzip2, and annotations.
//
// What it returns has been held against the header's checksums and first
// values, so a damaged or truncated recording is an error and never a strange
// patient. It reads whole records of one segment whose signals share one
// sampling frequency; it refuses the rest by name, and writes nothing.
//
// The format is that of header(5), signal(5) and annot(5) of the WFDB
// Applications Guide.
package wfdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Record is one recording.
type Record struct {
	Name        string
	Frequency   float64 // samples a second of each signal
	Signals     []Signal
	Annotations []Annotation // in order of time; empty when there is no .atr file
}

// Signal is one channel.
type Signal struct {
	Name     string  // such as MLII; may be empty
	Units    string  // physical unit; mV when the header names none
	Gain     float64 // counts a unit
	Baseline int     // count at zero units
	Missing  int32   // the count that stands for no sample
	Samples  []int32 // counts
}

// Value is sample i in physical units.
func (s *Signal) Value(i int) float64 { return float64(int(s.Samples[i])-s.Baseline) / s.Gain }

// Open reads the record at path, which is that of its files without an
// extension, such as mitdb/208. Errors name the file and, in text, the line.
func Open(path string) (*Record, error) {
	h, err := openHeader(path + ".hea")
	if err != nil {
		return nil, err
	}
	r := &Record{Name: h.name, Frequency: h.frequency}
	if r.Signals, err = openSignals(filepath.Dir(path), h); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path + ".atr")
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read annotations: %w", err)
	}
	if r.Annotations, err = parseAnnotations(b); err != nil {
		return nil, fmt.Errorf("%s.atr: %w", path, err)
	}
	return r, nil
}

// Len is the number of samples of each signal.
func (r *Record) Len() int {
	if len(r.Signals) == 0 {
		return 0
	}
	return len(r.Signals[0].Samples)
}

// Beats returns the sample numbers of the beats, in order. Flutter waves are
// none: no pulse answers to each.
func (r *Record) Beats() []int64 {
	var out []int64
	for _, a := range r.Annotations {
		if a.IsBeat() {
			out = append(out, a.Sample)
		}
	}
	return out
}

// Rhythms returns the marks at which the rhythm changes, in order; each one's
// Aux names the rhythm that begins, such as (AFIB.
func (r *Record) Rhythms() []Annotation {
	var out []Annotation
	for _, a := range r.Annotations {
		if a.Code == CodeRhythm && len(a.Aux) > 1 && a.Aux[0] == '(' {
			out = append(out, a)
		}
	}
	return out
}
