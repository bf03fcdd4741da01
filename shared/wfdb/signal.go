package wfdb

import (
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// openSignals reads every signal of h from the files in folder dir.
func openSignals(dir string, h *header) ([]Signal, error) {
	out := make([]Signal, 0, len(h.signals))
	for i := 0; i < len(h.signals); {
		n := i + 1 // signals of one file stand together
		for n < len(h.signals) && h.signals[n].file == h.signals[i].file {
			n++
		}
		group, err := openGroup(dir, h, h.signals[i:n])
		if err != nil {
			return nil, err
		}
		if i > 0 && len(group[0].Samples) != len(out[0].Samples) {
			return nil, fmt.Errorf("%s: %d samples a signal, %s has %d", filepath.Join(dir, h.signals[i].file),
				len(group[0].Samples), h.signals[0].file, len(out[0].Samples))
		}
		out = append(out, group...)
		i = n
	}
	return out, nil
}

// openGroup reads the signals that share one file, whose samples alternate.
func openGroup(dir string, h *header, specs []signalSpec) ([]Signal, error) {
	path := filepath.Join(dir, specs[0].file)
	for _, s := range specs {
		if s.format != specs[0].format || s.offset != specs[0].offset {
			return nil, fmt.Errorf("%s:%d: signals of %s differ in format", h.path, s.line, s.file)
		}
	}
	b, err := readData(path)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < specs[0].offset {
		return nil, fmt.Errorf("%s: %d bytes, want more than its offset %d", path, len(b), specs[0].offset)
	}
	b = b[specs[0].offset:]
	held := samplesIn(specs[0].format, len(b)) / len(specs)
	n := h.samples
	if n == 0 {
		n = held
	}
	if held < n {
		return nil, fmt.Errorf("%s: ends early: %d of %d samples a signal", path, held, n)
	}
	group := decode(specs, b, n)
	for i := range group {
		if err := verify(&group[i], &specs[i], path, h.path); err != nil {
			return nil, err
		}
	}
	return group, nil
}

// readData reads path, or path.bz2 where only that is there.
func readData(path string) ([]byte, error) {
	f, err := os.Open(path)
	compressed := errors.Is(err, fs.ErrNotExist)
	if compressed {
		path += ".bz2"
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open signals: %w", err)
	}
	defer f.Close()
	r := io.Reader(f)
	if compressed {
		r = bzip2.NewReader(f)
	}
	b, err := io.ReadAll(io.LimitReader(r, 2*maxSamples+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > 2*maxSamples {
		return nil, fmt.Errorf("%s: more than %d bytes", path, 2*maxSamples)
	}
	return b, nil
}

// samplesIn is how many samples fit n bytes.
func samplesIn(format, n int) int {
	if format == 16 {
		return n / 2
	}
	return n/3*2 + n%3/2 // two samples in three bytes; one in the last two
}

// decode takes n samples for each of the signals out of b.
func decode(specs []signalSpec, b []byte, n int) []Signal {
	group := make([]Signal, len(specs))
	missing := int32(-1 << 11)
	if specs[0].format == 16 {
		missing = -1 << 15
	}
	for i, s := range specs {
		group[i] = Signal{Name: s.name, Units: s.units, Gain: s.gain, Baseline: s.baseline,
			Missing: missing, Samples: make([]int32, n)}
	}
	for i := range n * len(specs) {
		group[i%len(specs)].Samples[i/len(specs)] = sample(specs[0].format, b, i)
	}
	return group
}

// sample is sample i of the file. In format 212 the first of a pair has the
// low half of the middle byte, the second the high half.
func sample(format int, b []byte, i int) int32 {
	if format == 16 {
		return int32(int16(binary.LittleEndian.Uint16(b[2*i:])))
	}
	at := i / 2 * 3
	var v int32
	if i%2 == 0 {
		v = int32(b[at]) | int32(b[at+1]&0x0f)<<8
	} else {
		v = int32(b[at+2]) | int32(b[at+1]&0xf0)<<4
	}
	return v << 20 >> 20 // the sign is in bit 11
}

// verify holds a signal against the first value and the checksum (the sum of
// its samples in 16 bits) that the header gives.
func verify(s *Signal, spec *signalSpec, path, header string) error {
	if len(s.Samples) == 0 {
		return nil
	}
	if spec.first != nil && int(s.Samples[0]) != *spec.first {
		return fmt.Errorf("%s: signal %q begins with %d, but %s:%d says %d",
			path, spec.name, s.Samples[0], header, spec.line, *spec.first)
	}
	var sum int32
	for _, v := range s.Samples {
		sum += v
	}
	if spec.checksum != nil && int16(sum) != int16(*spec.checksum) {
		return fmt.Errorf("%s: signal %q has checksum %d, but %s:%d says %d",
			path, spec.name, int16(sum), header, spec.line, *spec.checksum)
	}
	return nil
}
