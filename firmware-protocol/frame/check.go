package frame

import (
	"fmt"

	"wardline/firmware-protocol/biosensorpb"
)

// Check holds f against every limit of §4 and §9. The error is an *Error.
func Check(f *biosensorpb.Frame) error {
	if err := checkHead(f); err != nil {
		return err
	}
	if err := checkCounts(f); err != nil {
		return err
	}
	samples := 0
	for i, w := range f.Waveforms {
		if err := checkWaveform(w); err != nil {
			return under(at("waveforms", i), err)
		}
		samples += 1 + len(w.Differences)
	}
	if samples > MaxFrameSamples {
		return limit("9.8", "waveforms", count(samples, "samples"), atMost(MaxFrameSamples))
	}
	for i, r := range f.Readings {
		if err := checkReading(r); err != nil {
			return under(at("readings", i), err)
		}
	}
	for i, e := range f.Events {
		if err := checkEvent(e); err != nil {
			return under(at("events", i), err)
		}
	}
	if f.State != nil {
		if err := checkState(f.State); err != nil {
			return under("state", err)
		}
	}
	return nil
}

func checkHead(f *biosensorpb.Frame) *Error {
	switch {
	case f.Major != Major:
		return version(f.Major)
	case !ValidID(f.Sensor):
		return limit("2.1", "sensor", fmt.Sprintf("%q", f.Sensor), "1 to 32 of A-Z a-z 0-9 . _ -, the first a letter or digit")
	case f.Boot == 0:
		return limit("9.15", "boot", "0", "at least 1")
	case f.Seq == 0:
		return limit("9.15", "seq", "0", "at least 1")
	case f.StartUs != 0 && (f.StartUs < MinStartUS || f.StartUs >= MaxStartUS):
		return limit("9.15", "start_us", fmt.Sprint(f.StartUs), "0, or a time from 1990 to 2099")
	case f.ClockUs > MaxClockUS:
		return limit("9.15", "clock_us", fmt.Sprint(f.ClockUs), atMost(uint64(MaxClockUS)))
	}
	return nil
}

func version(major uint32) *Error {
	e := &Error{Reason: ErrMalformed, Section: "10.1", Path: "major", Got: fmt.Sprint(major), Want: fmt.Sprint(Major)}
	if major > Major {
		e.Reason = ErrVersion
	}
	return e
}

func checkCounts(f *biosensorpb.Frame) *Error {
	switch {
	case len(f.Waveforms) > MaxWaveforms:
		return limit("9.3", "waveforms", fmt.Sprint(len(f.Waveforms)), atMost(MaxWaveforms))
	case len(f.Readings) > MaxReadings:
		return limit("9.4", "readings", fmt.Sprint(len(f.Readings)), atMost(MaxReadings))
	case len(f.Events) > MaxEvents:
		return limit("9.5", "events", fmt.Sprint(len(f.Events)), atMost(MaxEvents))
	case len(f.Waveforms)+len(f.Readings)+len(f.Events) == 0 && f.State == nil:
		return &Error{Reason: ErrEmpty, Section: "9.6", Path: "frame", Got: "nothing inside", Want: "a waveform, reading, event or state"}
	}
	return nil
}

func checkWaveform(w *biosensorpb.Waveform) *Error {
	n := 1 + len(w.Differences)
	num, den := uint64(w.IntervalNum), uint64(w.IntervalDen)
	switch {
	case w.Lead == 0:
		return limit("4.7", "lead", "0", "an MDC code")
	case n > MaxSamples:
		return limit("9.7", "differences", count(n-1, "differences"), atMost(MaxSamples-1))
	case den == 0 || den > MaxIntervalDen:
		return limit("9.10", "interval_den", fmt.Sprint(den), "1 to 1000000")
	case num < MinIntervalUS*den || num > MaxIntervalUS*den:
		return limit("9.10", "interval_num", fmt.Sprintf("%d/%d µs", num, den), "100 to 10000000 µs")
	case w.Scale == 0 || w.Scale > MaxScale:
		return limit("9.11", "scale", fmt.Sprint(w.Scale), "1 to 1000000000")
	}
	if end := uint64(w.OffsetUs) + uint64(n-1)*num/den; end > MaxSpanUS {
		return limit("9.12", "offset_us", fmt.Sprintf("a last sample at %d µs", end), atMost(MaxSpanUS))
	}
	return checkSamples(w)
}

func checkSamples(w *biosensorpb.Waveform) *Error {
	v := int64(w.First)
	if v < MinSample || v > MaxSample {
		return limit("9.9", "first", fmt.Sprint(v), "-8388608 to 8388607")
	}
	for i, d := range w.Differences {
		v += int64(d)
		if v < MinSample || v > MaxSample {
			return limit("9.9", at("differences", i), fmt.Sprintf("sample %d", v), "-8388608 to 8388607")
		}
	}
	return nil
}

func checkReading(r *biosensorpb.Reading) *Error {
	switch has, wants := r.Milli != nil, r.Validity <= biosensorpb.Validity_VALIDITY_QUESTIONABLE; {
	case r.Vital == 0:
		return limit("4.7", "vital", "0", "an MDC code")
	case r.OffsetUs > MaxSpanUS:
		return limit("9.12", "offset_us", fmt.Sprint(r.OffsetUs), atMost(MaxSpanUS))
	case has && !wants:
		return limit("4.4", "milli", "a value", "none beside "+r.Validity.String())
	case !has && wants:
		return limit("4.4", "milli", "no value", "one beside "+r.Validity.String())
	case has && r.Unit == 0:
		return limit("4.7", "unit", "0", "an MDC code")
	case r.Quality != nil && *r.Quality > 100:
		return limit("9.13", "quality", fmt.Sprint(*r.Quality), atMost(100))
	}
	return nil
}

func checkEvent(e *biosensorpb.Event) *Error {
	switch {
	case e.Kind == biosensorpb.Event_KIND_UNSPECIFIED:
		return limit("4.5", "kind", "0", "a kind")
	case e.OffsetUs > MaxSpanUS:
		return limit("9.12", "offset_us", fmt.Sprint(e.OffsetUs), atMost(MaxSpanUS))
	case len(e.Note) > MaxNote:
		return limit("9.14", "note", count(len(e.Note), "bytes"), atMost(MaxNote))
	case !printable(e.Note):
		return limit("9.14", "note", fmt.Sprintf("%q", e.Note), "printable ASCII")
	}
	return nil
}

func checkState(s *biosensorpb.State) *Error {
	switch {
	case s.GetBatteryPercent() > 100:
		return limit("9.13", "battery_percent", fmt.Sprint(s.GetBatteryPercent()), atMost(100))
	case s.GetStoragePermille() > 1000:
		return limit("9.13", "storage_permille", fmt.Sprint(s.GetStoragePermille()), atMost(1000))
	case s.OldestSeq != nil && *s.OldestSeq == 0:
		return limit("9.15", "oldest_seq", "0", "at least 1")
	}
	return nil
}

// CheckRequest holds r against §6 and §9.16. The error is an *Error.
func CheckRequest(r *biosensorpb.Request) error {
	if r.Major != Major {
		return version(r.Major)
	}
	var err *Error
	switch ask := r.Ask.(type) {
	case *biosensorpb.Request_Backfill:
		err = checkBackfill(ask.Backfill)
	case *biosensorpb.Request_Stream:
	case *biosensorpb.Request_Identify:
		if n := ask.Identify.GetSeconds(); n < 1 || n > MaxIdentifySeconds {
			err = limit("9.16", "identify.seconds", fmt.Sprint(n), "1 to 60")
		}
	default:
		err = &Error{Reason: ErrEmpty, Section: "6", Path: "ask", Got: "nothing that this version knows", Want: "backfill, stream or identify"}
	}
	if err != nil {
		return err
	}
	return nil
}

func checkBackfill(b *biosensorpb.Backfill) *Error {
	ranged := b.FirstSeq != 0 || b.LastSeq != 0
	switch {
	case b.Boot == 0:
		return limit("9.15", "backfill.boot", "0", "at least 1")
	case ranged == (len(b.Seqs) > 0):
		return limit("6.1", "backfill", "both or neither", "a list or a range")
	case len(b.Seqs) > MaxRequestSeqs:
		return limit("9.16", "backfill.seqs", fmt.Sprint(len(b.Seqs)), atMost(MaxRequestSeqs))
	case ranged && (b.FirstSeq == 0 || b.LastSeq < b.FirstSeq):
		return limit("6.1", "backfill.first_seq", fmt.Sprintf("%d to %d", b.FirstSeq, b.LastSeq), "1 or more, first before last")
	case ranged && b.LastSeq-b.FirstSeq >= MaxRequestRange:
		return limit("9.16", "backfill.last_seq", fmt.Sprintf("%d to %d", b.FirstSeq, b.LastSeq), "at most 10000 frames")
	}
	for i, seq := range b.Seqs {
		if seq == 0 {
			return limit("9.15", at("backfill.seqs", i), "0", "at least 1")
		}
	}
	return nil
}

func checkKey(key []byte) error {
	if key != nil && (len(key) < MinKey || len(key) > MaxKey) {
		return fmt.Errorf("a sensor's key has %d bytes, want %d to %d (SPEC §9.18)", len(key), MinKey, MaxKey)
	}
	return nil
}

func limit(section, path, got, want string) *Error {
	return &Error{Reason: ErrLimit, Section: section, Path: path, Got: got, Want: want}
}

func under(path string, e *Error) *Error {
	e.Path = path + "." + e.Path
	return e
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
