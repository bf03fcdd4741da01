package wfdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestATinyRecordIsReadWhole(t *testing.T) {
	r, err := Open("testdata/tiny")
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "tiny" || r.Frequency != 360 || len(r.Signals) != 2 {
		t.Fatalf("got %q at %v Hz with %d signals", r.Name, r.Frequency, len(r.Signals))
	}
	if got, want := r.Signals[0].Samples, []int32{1000, -1, 2047, -2048, 5}; !slices.Equal(got, want) {
		t.Errorf("first signal: got %v, want %v", got, want)
	}
	if got, want := r.Signals[1].Samples, []int32{-5, 0, 1, 1024, 7}; !slices.Equal(got, want) {
		t.Errorf("second signal: got %v, want %v", got, want)
	}
	if s := r.Signals[0]; s.Name != "MLII" || s.Units != "mV" || s.Gain != 200 || s.Baseline != 1024 || s.Value(0) != -0.12 {
		t.Errorf("first signal: %q in %s, gain %v, baseline %d, begins at %v", s.Name, s.Units, s.Gain, s.Baseline, s.Value(0))
	}
	if s := r.Signals[1]; s.Name != "V 1" || s.Units != "uV" || s.Gain != 0.5 || s.Baseline != -3 {
		t.Errorf("second signal: %q in %s, gain %v, baseline %d", s.Name, s.Units, s.Gain, s.Baseline)
	}
}

func TestEveryKindOfAnnotationIsRead(t *testing.T) {
	r, err := Open("testdata/tiny")
	if err != nil {
		t.Fatal(err)
	}
	want := []Annotation{
		{Sample: 1, Code: CodeRhythm, Aux: "(AFIB"},
		{Sample: 2, Code: 1, Sub: -1, Chan: 1, Num: 2},
		{Sample: 100_002, Code: 5, Chan: 1, Num: 2}, // num and chan hold, sub does not
		{Sample: 100_003, Code: CodeNoise, Chan: 1, Num: 2},
	}
	if !slices.Equal(r.Annotations, want) {
		t.Errorf("got  %+v\nwant %+v", r.Annotations, want)
	}
	if got, want := r.Beats(), []int64{2, 100_002}; !slices.Equal(got, want) {
		t.Errorf("beats: got %v, want %v", got, want)
	}
	if got := r.Rhythms(); len(got) != 1 || got[0].Aux != "(AFIB" {
		t.Errorf("rhythms: got %+v", got)
	}
	for code, want := range map[uint8]string{1: "N", 5: "V", 14: "~", 28: "+", 31: "!", 33: "]", 41: "r", 15: "15", 50: "50"} {
		if got := (Annotation{Code: code}).Symbol(); got != want {
			t.Errorf("symbol of %d: got %q, want %q", code, got, want)
		}
	}
}

func TestFormat16IsReadWithItsOffset(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "r.hea", "r 1 500 3\nr.dat 16+2 1000(12)/mV 16 0 -7 -3 0 II\n")
	b := binary.LittleEndian.AppendUint16(nil, 0xffff)
	for _, v := range []int16{-7, 4, 0} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	write(t, dir, "r.dat", string(b))
	r, err := Open(filepath.Join(dir, "r"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Signals[0].Samples, []int32{-7, 4, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatIsWrongIsNamedWithItsFileAndLine(t *testing.T) {
	good := "r 1 250 2\nr.dat 16 200 16 0 1 3 0 II\n"
	for _, c := range []struct{ name, hea, dat, want string }{
		{"no header", "", "", "r.hea"},
		{"nothing in the header", "# a remark\n", "", "no line names the record"},
		{"several segments", "r/3 1 250 2\n", "", "r.hea:1: record r/3 has several segments"},
		{"no frequency", "r 1 none 2\n", "", "r.hea:1: sampling frequency"},
		{"too many samples", "r 1 250 999999999999\n", "", "r.hea:1: number of samples"},
		{"a signal too few", "r 2 250 2\nr.dat 16 200\n", "", "1 of 2 signals"},
		{"a signal too many", good + "r.dat 16\n", "", "r.hea:3: more than the 1 signals"},
		{"another folder", "r 1 250 2\n../r.dat 16\n", "", `r.hea:2: signal file "../r.dat"`},
		{"another format", "r 1 250 2\nr.dat 8\n", "", `r.hea:2: format "8"`},
		{"a skew", "r 1 250 2\nr.dat 16:4\n", "", `r.hea:2: format "16:4"`},
		{"a gain in words", "r 1 250 2\nr.dat 16 big\n", "", `r.hea:2: gain "big"`},
		{"a checksum in words", "r 1 250 2\nr.dat 16 200 16 0 1 x\n", "", "r.hea:2: column 7"},
		{"no signals", good, "", "r.dat.bz2"},
		{"truncated", good, "\x01\x00", "r.dat: ends early: 1 of 2"},
		{"another first value", good, "\x02\x00\x01\x00", "begins with 2, but"},
		{"another checksum", good, "\x01\x00\x03\x00", "has checksum 4, but"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.hea != "" {
				write(t, dir, "r.hea", c.hea)
			}
			if c.dat != "" {
				write(t, dir, "r.dat", c.dat)
			}
			_, err := Open(filepath.Join(dir, "r"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestDamagedAnnotationsAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"no end mark":          {1, 4},
		"empty":                {},
		"skip ends early":      {0, 59 << 2, 0, 0},
		"text ends early":      {1, 4, 9, 63 << 2, 'a'},
		"sub of nothing":       {1, 61 << 2, 0, 0},
		"back before the last": {9, 4, 0, 59 << 2, 0xff, 0xff, 0, 0, 1, 4, 0, 0},
	} {
		if a, err := parseAnnotations(b); err == nil {
			t.Errorf("%s: got %v", name, a)
		}
	}
}

// Open itself holds each against the header's checksum and first value.
func TestRecordingsAreWhatTheirHeadersSay(t *testing.T) {
	for db, want := range map[string]struct {
		records, samples int
		frequency        float64
	}{"mitdb": {22, 650_000, 360}, "vfdb": {10, 525_000, 250}} {
		paths, _ := filepath.Glob("../../../shared/data/" + db + "/*.hea")
		if len(paths) == 0 {
			t.Skipf("SKIPPED for want of recordings: no %s in ../shared/data", db)
		}
		if len(paths) < want.records {
			t.Errorf("%s: %d records, want %d", db, len(paths), want.records)
		}
		if testing.Short() {
			paths = paths[:1]
		}
		for _, path := range paths {
			r, err := Open(strings.TrimSuffix(path, ".hea"))
			if err != nil {
				t.Error(err)
				continue
			}
			if r.Len() != want.samples || r.Frequency != want.frequency || len(r.Rhythms()) == 0 {
				t.Errorf("%s: %d samples at %v Hz, %d rhythms", path, r.Len(), r.Frequency, len(r.Rhythms()))
			}
			if beats := len(r.Beats()); (db == "mitdb") != (beats > 1000) {
				t.Errorf("%s: %d beats", path, beats)
			}
		}
	}
}

func FuzzAnnotations(f *testing.F) {
	b, err := os.ReadFile("testdata/tiny.atr")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		last := int64(0)
		a, _ := parseAnnotations(b)
		for _, a := range a {
			if a.Sample < last {
				t.Fatalf("sample %d after %d", a.Sample, last)
			}
			last = a.Sample
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("r 1 250 2\nr.dat 16+8 200(3)/mV 16 0 1 3 0 II\n")
	f.Add("208 2 360 650000\n208.dat 212 200 11 1024 1003 8074 0 MLII\n208.dat 212 200 11 1024 1062 20649 0 V1\n# 23 F\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHeader("r.hea", text)
		if err != nil {
			return
		}
		if !(h.frequency > 0) || math.IsInf(h.frequency, 0) {
			t.Fatal(fmt.Sprint("frequency ", h.frequency))
		}
		for _, s := range h.signals {
			if !(s.gain > 0) || strings.ContainsAny(s.file, "/") {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
