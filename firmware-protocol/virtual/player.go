package virtual

import (
	"fmt"
	"math"
	"strings"
	"time"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/shared/wfdb"
)

// Player sends a recording as a sensor would have: its ECG resampled to
// SampleUS at ECGScale, the heart rate of its annotated beats where there are
// any, and each annotated change of rhythm as an event. It measures nothing
// itself: of a recording without beats it says nothing of contact either, since
// good contact without a heart rate is a patient in danger (SPEC §4.6). It is not
// for use by several goroutines.
type Player struct {
	Loop       bool // begin again at the end
	VitalsOnly bool // send no waveforms

	head
	leads  []lead
	marked marks // of the whole recording
	marks        // those ahead
	rate   rate
	hasHR  bool
	atUS   int64 // in the recording
	endUS  int64
	buf    []int32
}

type lead struct {
	code pb.Mdc
	in   *resampler // in counts of ECGScale
}

// marks are what is annotated, in order.
type marks struct {
	beats  []int64 // µs from the recording's begin
	rhythm []note
}

type note struct {
	at   int64 // µs
	text string
}

// NewPlayer makes a player that begins at from in the recording. A recording
// without an ECG in mV is an error.
func NewPlayer(id Identity, rec *wfdb.Record, from time.Duration) (*Player, error) {
	p := &Player{head: head{id: id}, atUS: from.Microseconds()}
	p.endUS = int64(float64(rec.Len()) / rec.Frequency * 1e6)
	if p.atUS < 0 || p.atUS >= p.endUS {
		return nil, fmt.Errorf("%w: record %s: no %v in it: it lasts %v", ErrUsage, rec.Name, from, time.Duration(p.endUS)*time.Microsecond)
	}
	used := map[pb.Mdc]bool{}
	for i := range rec.Signals {
		s := &rec.Signals[i]
		code := leadOf(s.Name, used)
		if s.Units != "mV" || code == 0 || len(s.Samples) == 0 {
			continue
		}
		used[code] = true
		p.leads = append(p.leads, lead{code, newResampler(counts(s), rec.Frequency, SampleUS)})
	}
	if len(p.leads) == 0 {
		return nil, fmt.Errorf("record %s: no ECG in it", rec.Name)
	}
	us := func(sample int64) int64 { return int64(float64(sample) / rec.Frequency * 1e6) }
	for _, b := range rec.Beats() {
		p.marked.beats = append(p.marked.beats, us(b))
	}
	p.hasHR = len(p.marked.beats) > 0
	for _, a := range rec.Rhythms() {
		p.marked.rhythm = append(p.marked.rhythm, note{us(a.Sample), noteText(a.Aux)})
	}
	p.seek()
	p.battery(90)
	if p.hasHR {
		p.contact(pb.Contact_CONTACT_GOOD, 0)
	}
	return p, nil
}

// seek takes the marks from atUS on, and the rhythm that holds there.
func (p *Player) seek() {
	p.marks = p.marked
	for len(p.beats) > 0 && p.beats[0] < p.atUS {
		p.beats = p.beats[1:]
	}
	for len(p.rhythm) > 1 && p.rhythm[1].at <= p.atUS {
		p.rhythm = p.rhythm[1:]
	}
}

// Step returns the frame of the next d, rounded to whole samples, or nil when
// the recording has no such piece left. The frame is valid until the next Step.
func (p *Player) Step(d time.Duration) *pb.Frame {
	n := samples(d)
	us := int64(n) * SampleUS
	if p.atUS+us > p.endUS {
		if !p.Loop || us > p.endUS {
			return nil
		}
		p.atUS = 0
		p.seek()
	}
	f := p.begin(time.Duration(us) * time.Microsecond)
	begin, end := p.atUS, p.atUS+us
	first := int(begin / SampleUS)
	for _, l := range p.leads {
		if p.VitalsOnly {
			break
		}
		p.buf = p.buf[:0]
		for i := range n {
			p.buf = append(p.buf, int32(math.Round(l.in.at(first+i))))
		}
		p.wave(l.code, SampleUS, ECGScale, p.buf)
	}
	p.mark(begin, end)
	p.atUS = end
	return f
}

// mark adds the heart rate at the end of [begin, end) and the changes of
// rhythm inside.
func (p *Player) mark(begin, end int64) {
	for len(p.beats) > 0 && p.beats[0] < end {
		p.rate.beat(p.beats[0] - begin + int64(p.frame.ClockUs))
		p.beats = p.beats[1:]
	}
	if p.hasHR {
		v, is := p.rate.value(p.clockUS)
		p.reading(pb.Mdc_MDC_ECG_HEART_RATE, pb.Mdc_MDC_DIM_BEAT_PER_MIN, end-begin, v, is)
	}
	for len(p.rhythm) > 0 && p.rhythm[0].at < end {
		p.happened(pb.Event_KIND_RHYTHM_NOTE, max(p.rhythm[0].at-begin, 0), 0, p.rhythm[0].text)
		p.rhythm = p.rhythm[1:]
	}
}

// counts are the samples of s in counts of ECGScale; a missing one repeats the
// one before.
func counts(s *wfdb.Signal) []float64 {
	out := make([]float64, len(s.Samples))
	held := 0.0
	for i, v := range s.Samples {
		if v != s.Missing {
			held = s.Value(i) * 1e6 / ECGScale
		}
		out[i] = held
	}
	return out
}

// leadOf names a signal's lead; one that is not known takes the first free
// code for such. 0: none is free, or the signal is no ECG.
func leadOf(name string, used map[pb.Mdc]bool) pb.Mdc {
	name = strings.ToUpper(strings.TrimPrefix(strings.TrimSpace(name), "ML"))
	var tries []pb.Mdc
	switch {
	case name == "I":
		tries = []pb.Mdc{pb.Mdc_MDC_ECG_ELEC_POTL_I}
	case name == "II":
		tries = []pb.Mdc{pb.Mdc_MDC_ECG_ELEC_POTL_II}
	case name == "III":
		tries = []pb.Mdc{pb.Mdc_MDC_ECG_ELEC_POTL_III}
	case strings.HasPrefix(name, "V"):
		tries = []pb.Mdc{pb.Mdc_MDC_ECG_ELEC_POTL_V}
	case strings.HasPrefix(name, "PLETH"), strings.HasPrefix(name, "RESP"), strings.HasPrefix(name, "ABP"):
		return 0
	}
	for _, code := range append(tries, pb.Mdc_MDC_ECG_ELEC_POTL, pb.Mdc_MDC_PRIVATE_ECG_2) {
		if !used[code] {
			return code
		}
	}
	return 0
}

// noteText cuts a rhythm's name to what an event may carry.
func noteText(s string) string {
	out := make([]byte, 0, 16)
	for i := 0; i < len(s) && len(out) < cap(out); i++ {
		if s[i] >= ' ' && s[i] <= '~' {
			out = append(out, s[i])
		}
	}
	return string(out)
}
