package virtual

import (
	"time"

	"google.golang.org/protobuf/proto"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
)

// SampleUS is the interval of ECG samples in µs, as in the patches that this
// relay stands for: 244.140625 Hz.
const SampleUS = 4096

// ECGScale is the ECG's resolution, nV a count (SPEC §14).
const ECGScale = 5000

// Identity is what a sensor says of itself in every frame.
type Identity struct {
	Sensor string
	Boot   uint32    // at least 1, and never used before by this sensor
	Start  time.Time // wall time of sensor clock 0; the zero time: the sensor does not know it
}

// head makes frames that follow one another without a hole in time or seq.
type head struct {
	id      Identity
	seq     uint32
	clockUS int64 // at which the next frame begins

	frame pb.Frame // given out; its parts below are used again
	waves [frame.MaxWaveforms]pb.Waveform
	reads [8]pb.Reading
	milli [8]int32
	event [8]pb.Event
	state pb.State
}

// samples is how many ECG samples d holds, at least one.
func samples(d time.Duration) int {
	return max(int((d.Microseconds()+SampleUS/2)/SampleUS), 1)
}

// begin empties the frame and gives it its place.
func (h *head) begin(d time.Duration) *pb.Frame {
	h.seq++
	f := &h.frame
	f.Major, f.Sensor, f.Boot, f.Seq = frame.Major, h.id.Sensor, h.id.Boot, h.seq
	f.StartUs = 0
	if !h.id.Start.IsZero() {
		f.StartUs = h.id.Start.UnixMicro()
	}
	f.ClockUs = uint64(h.clockUS)
	f.Waveforms, f.Readings, f.Events = f.Waveforms[:0], f.Readings[:0], f.Events[:0]
	f.State = &h.state
	h.clockUS += d.Microseconds()
	return f
}

// wave adds a waveform whose samples follow each other by interval µs.
func (h *head) wave(lead pb.Mdc, intervalUS, scale uint32, samples []int32) {
	w := &h.waves[len(h.frame.Waveforms)]
	w.Lead, w.OffsetUs, w.IntervalNum, w.IntervalDen, w.Scale = uint32(lead), 0, intervalUS, 1, scale
	frame.Pack(w, samples)
	h.frame.Waveforms = append(h.frame.Waveforms, w)
}

// reading adds a value, or the reason why there is none.
func (h *head) reading(vital, unit pb.Mdc, offsetUS int64, value float64, v pb.Validity) {
	i := len(h.frame.Readings)
	r := &h.reads[i]
	r.Vital, r.Unit, r.OffsetUs, r.Validity, r.Milli = uint32(vital), uint32(unit), uint32(offsetUS), v, nil
	if v <= pb.Validity_VALIDITY_QUESTIONABLE {
		h.milli[i] = int32(value*1000 + 0.5)
		r.Milli = &h.milli[i]
	}
	h.frame.Readings = append(h.frame.Readings, r)
}

// happened adds an event, as long as there is room for it.
func (h *head) happened(kind pb.Event_Kind, offsetUS int64, value int32, note string) {
	i := len(h.frame.Events)
	if i == len(h.event) {
		return
	}
	e := &h.event[i]
	e.Kind, e.OffsetUs, e.Value, e.Note = kind, uint32(offsetUS), value, note
	h.frame.Events = append(h.frame.Events, e)
}

// battery sets the state's charge, and the voltage that goes with it.
func (h *head) battery(percent uint32) {
	h.state.BatteryPercent = proto.Uint32(percent)
	h.state.BatteryMv = proto.Uint32(2700 + 3*percent)
}

// contact sets the state's contact and the electrodes that are off.
func (h *head) contact(c pb.Contact, leadsOff uint32) {
	h.state.Contact = c
	h.state.LeadsOff = proto.Uint32(leadsOff)
}
