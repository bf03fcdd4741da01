package wfdb

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The bounds of what is read.
const (
	maxSignals = 64
	maxSamples = 1 << 27 // of all signals together
)

type header struct {
	path      string
	name      string
	frequency float64
	samples   int // of each signal; 0: not said
	signals   []signalSpec
}

// signalSpec is one signal's line.
type signalSpec struct {
	line     int // of the header, from 1
	file     string
	format   int
	offset   int64 // bytes before the first sample
	gain     float64
	baseline int
	units    string
	first    *int
	checksum *int
	name     string
}

func openHeader(path string) (*header, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	return parseHeader(path, string(b))
}

func parseHeader(path, text string) (*header, error) {
	h := &header{path: path}
	want := -1 // signals, once the record's line is read
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var err error
		switch {
		case want < 0:
			want, err = h.parseRecord(strings.Fields(line))
		case len(h.signals) < want:
			err = h.parseSignal(i+1, line)
		default:
			err = fmt.Errorf("more than the %d signals that the first line says", want)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	if want < 0 {
		return nil, fmt.Errorf("%s: no line names the record", path)
	}
	if len(h.signals) < want {
		return nil, fmt.Errorf("%s: %d of %d signals are described", path, len(h.signals), want)
	}
	return h, nil
}

// parseRecord reads the record's line and returns how many signals follow.
func (h *header) parseRecord(f []string) (signals int, err error) {
	if len(f) < 2 {
		return 0, fmt.Errorf("a record's line needs a name and a number of signals")
	}
	if strings.Contains(f[0], "/") {
		return 0, fmt.Errorf("record %s has several segments, which are not read", f[0])
	}
	h.name, h.frequency = f[0], 250 // the format's default
	signals, err = strconv.Atoi(f[1])
	if err != nil || signals < 0 || signals > maxSignals {
		return 0, fmt.Errorf("number of signals %q, want 0 to %d", f[1], maxSignals)
	}
	if len(f) > 2 {
		text, _, _ := strings.Cut(f[2], "/")
		h.frequency, err = strconv.ParseFloat(text, 64)
		if err != nil || !(h.frequency > 0) || math.IsInf(h.frequency, 0) {
			return 0, fmt.Errorf("sampling frequency %q, want a number above 0", f[2])
		}
	}
	if len(f) > 3 {
		h.samples, err = strconv.Atoi(f[3])
		if err != nil || h.samples < 0 || h.samples > maxSamples/max(signals, 1) {
			return 0, fmt.Errorf("number of samples %q, want 0 to %d in all signals", f[3], maxSamples)
		}
	}
	return signals, nil
}

// parseSignal reads a signal's line: file, format and then what may be left
// out from the right: gain, resolution, zero, first value, checksum, block
// size, description.
func (h *header) parseSignal(line int, text string) error {
	f := strings.Fields(text)
	if len(f) < 2 {
		return fmt.Errorf("a signal's line needs a file and a format")
	}
	s := signalSpec{line: line, file: f[0], gain: 200, units: "mV"}
	if s.file != filepath.Base(s.file) || s.file == "." || s.file == ".." {
		return fmt.Errorf("signal file %q is not beside the header", s.file)
	}
	if err := s.parseFormat(f[1]); err != nil {
		return err
	}
	number := func(i int) (*int, error) {
		if len(f) <= i {
			return nil, nil
		}
		n, err := strconv.Atoi(f[i])
		if err != nil {
			return nil, fmt.Errorf("column %d is %q, want a number", i+1, f[i])
		}
		return &n, nil
	}
	zero, err := number(4)
	if err != nil {
		return err
	}
	if zero != nil {
		s.baseline = *zero
	}
	if len(f) > 2 {
		if err := s.parseGain(f[2]); err != nil {
			return err
		}
	}
	if s.first, err = number(5); err != nil {
		return err
	}
	if s.checksum, err = number(6); err != nil {
		return err
	}
	if len(f) > 8 {
		s.name = strings.Join(f[8:], " ")
	}
	h.signals = append(h.signals, s)
	return nil
}

func (s *signalSpec) parseFormat(text string) error {
	number, offset, hasOffset := strings.Cut(text, "+")
	var err error
	if hasOffset {
		if s.offset, err = strconv.ParseInt(offset, 10, 64); err != nil || s.offset < 0 {
			return fmt.Errorf("format %q has an unreadable byte offset", text)
		}
	}
	switch number {
	case "212":
		s.format = 212
	case "16":
		s.format = 16
	default:
		return fmt.Errorf("format %q is not read, only 212 and 16 with one sample a frame and no skew", text)
	}
	return nil
}

// parseGain reads gain[(baseline)][/units].
func (s *signalSpec) parseGain(text string) error {
	number, units, ok := strings.Cut(text, "/")
	if ok && units != "" {
		s.units = units
	}
	number, base, ok := strings.Cut(number, "(")
	if ok {
		n, err := strconv.Atoi(strings.TrimSuffix(base, ")"))
		if err != nil {
			return fmt.Errorf("gain %q has an unreadable baseline", text)
		}
		s.baseline = n
	}
	gain, err := strconv.ParseFloat(number, 64)
	if err != nil || gain < 0 || math.IsNaN(gain) || math.IsInf(gain, 0) {
		return fmt.Errorf("gain %q, want a number", text)
	}
	if gain != 0 { // 0: not calibrated, for which the format's default holds
		s.gain = gain
	}
	return nil
}
