package virtual

import (
	"fmt"
	"slices"
	"time"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/wfdb"
)

// source is what a sensor measures: a Patient or a Player.
type source interface {
	Step(d time.Duration) *pb.Frame // nil: nothing more
}

// sensor is one sensor's end of the relay, owned by the relay's one loop.
type sensor struct {
	source
	name   string
	topic  string
	key    []byte
	script script
	at     time.Duration // how far its clock is

	held   [][]byte // sealed frames, at seq modulo its length
	newest uint32   // seq
	unsent []uint32 // seqs that wait for the broker, oldest first
	asked  []uint32 // seqs to send again, oldest first
	off    []uint32 // leads whose waveform is stopped; 0: all
}

// newSensors makes the sensors of c, whose clocks are 0 at start.
func newSensors(c *Config, start func(i int) time.Time) ([]*sensor, error) {
	kind := frame.KindFrame
	if c.JSON {
		kind = frame.KindJSON
	}
	recordings, err := openRecords(c.Records)
	if err != nil {
		return nil, err
	}
	var out []*sensor
	for i, name := range c.SensorNames() {
		s := &sensor{name: name, script: of(c.Episodes, i), held: make([][]byte, c.Hold),
			topic: frame.Topic{Relay: c.Relay, Sensor: name, Kind: kind}.String()}
		if c.Key != nil {
			s.key = c.Key(name)
		}
		id := Identity{Sensor: name, Boot: c.Boot, Start: start(i)}
		if recordings == nil {
			s.source = NewPatient(PatientConfig{Identity: id, Seed: c.Seed + uint64(i)*0x9e3779b97f4a7c15,
				Leads: c.Leads, Episodes: s.script})
		} else {
			p, err := NewPlayer(id, recordings[i%len(recordings)], c.From)
			if err != nil {
				return nil, err
			}
			p.Loop, p.VitalsOnly = c.Loop, c.VitalsOnly || c.JSON
			s.source = p
		}
		out = append(out, s)
	}
	return out, nil
}

func openRecords(paths []string) ([]*wfdb.Record, error) {
	var out []*wfdb.Record
	for _, path := range paths {
		r, err := wfdb.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open record: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}

// take makes the next message and holds it; done means that there is none.
func (s *sensor) take(d time.Duration, json bool, stamp frame.Stamp) (wire []byte, done bool, err error) {
	f := s.Step(d)
	if f == nil {
		return nil, true, nil
	}
	if len(s.off) > 0 {
		f.Waveforms = slices.DeleteFunc(f.Waveforms, func(w *pb.Waveform) bool {
			return slices.Contains(s.off, 0) || slices.Contains(s.off, w.Lead)
		})
	}
	f.State.OldestSeq = new(s.oldestAfter(f.Seq))
	if json {
		wire = appendJSON(make([]byte, 0, 192), f)
	} else if wire, err = frame.Seal(make([]byte, 0, 256), f, s.key, stamp); err != nil {
		return nil, false, fmt.Errorf("seal frame %d of %s: %w", f.Seq, s.name, err)
	}
	s.at += d
	s.newest = f.Seq
	s.held[int(f.Seq)%len(s.held)] = wire
	return wire, false, nil
}

// oldestAfter is the oldest seq held once seq is.
func (s *sensor) oldestAfter(seq uint32) uint32 {
	if n := uint32(len(s.held)); seq > n {
		return seq - n + 1
	}
	return 1
}

// kept is the message of seq, nil when it is not held any more or not yet.
func (s *sensor) kept(seq uint32) []byte {
	if seq == 0 || seq > s.newest || seq < s.oldestAfter(s.newest) {
		return nil
	}
	return s.held[int(seq)%len(s.held)]
}

// wait notes that seq could not be sent; what is not held is not waited for.
func (s *sensor) wait(seq uint32) {
	if len(s.unsent) == len(s.held) {
		s.unsent = append(s.unsent[:0], s.unsent[1:]...)
	}
	s.unsent = append(s.unsent, seq)
}

// answer does what a request asks, or notes it for the loop.
func (s *sensor) answer(r *pb.Request) {
	switch ask := r.Ask.(type) {
	case *pb.Request_Backfill:
		if s.newest == 0 {
			return
		}
		s.asked = append(s.asked, ask.Backfill.Seqs...)
		first := max(ask.Backfill.FirstSeq, s.oldestAfter(s.newest))
		for seq := first; ask.Backfill.FirstSeq != 0 && seq <= min(ask.Backfill.LastSeq, s.newest); seq++ {
			s.asked = append(s.asked, seq)
		}
		s.asked = s.asked[max(len(s.asked)-frame.MaxRequestRange, 0):]
	case *pb.Request_Stream:
		switch {
		case ask.Stream.On && ask.Stream.Lead == 0:
			s.off = nil
		case ask.Stream.On:
			s.off = slices.DeleteFunc(s.off, func(lead uint32) bool { return lead == ask.Stream.Lead })
		case len(s.off) < frame.MaxWaveforms && !slices.Contains(s.off, ask.Stream.Lead):
			s.off = append(s.off, ask.Stream.Lead)
		}
	}
}

// next takes the next seq of a list that is still held, and its message.
func (s *sensor) next(list *[]uint32) []byte {
	for len(*list) > 0 {
		wire := s.kept((*list)[0])
		*list = (*list)[1:]
		if wire != nil {
			return wire
		}
	}
	return nil
}
