package ward

import (
	"slices"

	"wardline/shared/vital"
)

// The bounds of repeat detection, for each sensor.
const (
	seqWindow = 1 << 15 // seqs below the highest: nine hours of a frame a second
	bootsKept = 3

	// Messages without a seq, of a sensor: as many as a broker may have given it
	// and not heard acknowledged.
	hashesKept = 1024
	// What a checkpoint has of them, in all beds together: twice what may wait for a
	// failing disk, all of which is acknowledged after the commit that the checkpoint
	// is in; and of each bed the least.
	hashesSaved = 16_384
	hashesLeast = 64
)

// repeats knows what a sensor has sent. A frame from below the window, or of a
// start of the sensor that is forgotten, is taken for new: to sum up history
// twice is better than to lose it, and history raises nothing.
type repeats struct {
	boots  []*seen  // newest last
	hashes []uint64 // at most hashesKept; then a ring that goes on at next
	next   int

	missing uint64 // frames that the seqs say were sent and that never came
}

// seen is the window of one start of a sensor: a ring of bits by seq. What is
// missing is counted from first on: nobody knows whether what was sent before the
// gateway first heard the sensor is missing. A jump by more than the window is
// somebody's mistake or a very long silence, which has its own alert: counting
// begins anew behind it.
type seen struct {
	boot, high, first uint32
	bits              [seqWindow / 64]uint64
}

// sequenced reports whether (boot, seq) was taken before, and takes it.
func (r *repeats) sequenced(boot, seq uint32) bool {
	known := uint32(0)
	for i := len(r.boots) - 1; i >= 0; i-- {
		if r.boots[i].boot == boot {
			repeat, holes := r.boots[i].take(seq)
			r.missing = uint64(max(0, int64(r.missing)+holes))
			return repeat
		}
		known = max(known, r.boots[i].boot)
	}
	s := &seen{boot: boot, high: seq, first: seq}
	if known != 0 && boot > known && seq < seqWindow { // a start that could be heard from its first frame on
		s.first = 1
		r.missing += uint64(seq - min(1, seq))
	}
	s.set(seq)
	if len(r.boots) == bootsKept {
		r.boots = slices.Delete(r.boots, 0, 1)
	}
	r.boots = append(r.boots, s)
	return false
}

// knows reports whether o was taken before, and does not take it.
func (r *repeats) knows(o *vital.Observation) bool {
	if !o.Sequenced {
		return slices.Contains(r.hashes, max(1, o.Hash))
	}
	for _, s := range r.boots {
		if s.boot == o.Boot && o.Seq <= s.high && s.high-o.Seq < seqWindow {
			word, bit := s.bit(o.Seq)
			return *word&bit != 0
		}
	}
	return false
}

func (s *seen) bit(seq uint32) (*uint64, uint64) {
	i := seq % seqWindow
	return &s.bits[i/64], 1 << (i % 64)
}

func (s *seen) set(seq uint32) {
	word, bit := s.bit(seq)
	*word |= bit
}

// take reports whether seq was taken before, and takes it. holes is by how much
// more is missing now, or less.
func (s *seen) take(seq uint32) (repeat bool, holes int64) {
	switch {
	case seq > s.high && seq-s.high >= seqWindow:
		clear(s.bits[:])
		s.high, s.first = seq, seq
	case seq > s.high:
		for x := s.high + 1; x != seq; x++ {
			word, bit := s.bit(x)
			*word &^= bit
		}
		holes = int64(seq - s.high - 1)
		s.high = seq
	case s.high-seq >= seqWindow:
		return false, 0
	default:
		if word, bit := s.bit(seq); *word&bit != 0 {
			return true, 0
		}
		if seq >= s.first {
			holes = -1
		}
	}
	s.set(seq)
	return false, holes
}

// hashed reports whether a message without a seq was taken before, and takes it.
func (r *repeats) hashed(h uint64) bool {
	if h == 0 {
		h = 1
	}
	if slices.Contains(r.hashes, h) {
		return true
	}
	if len(r.hashes) < hashesKept {
		r.hashes = append(r.hashes, h)
		return false
	}
	r.hashes[r.next] = h
	r.next = (r.next + 1) % hashesKept
	return false
}

// savedRepeats is the checkpoint's form: runs of seqs that were seen.
type savedRepeats struct {
	Boots   []savedSeen `json:",omitempty"`
	Hashes  []uint64    `json:",omitempty"` // oldest first
	Missing uint64      `json:",omitempty"` // frames, ever
}

type savedSeen struct {
	Boot, High, First uint32
	Runs              []uint32 // first seq and length, in turn
}

// save keeps at most so many of the newest hashes.
func (r *repeats) save(hashes int) (out savedRepeats) {
	for _, s := range r.boots {
		x := savedSeen{Boot: s.boot, High: s.high, First: s.first}
		first := uint32(0)
		if s.high >= seqWindow {
			first = s.high - seqWindow + 1
		}
		run := uint32(0)
		for seq := first; ; seq++ {
			if word, bit := s.bit(seq); *word&bit != 0 {
				run++
			} else if run > 0 {
				x.Runs, run = append(x.Runs, seq-run, run), 0
			}
			if seq == s.high {
				x.Runs = append(x.Runs, seq+1-run, run)
				break
			}
		}
		out.Boots = append(out.Boots, x)
	}
	for i := max(0, len(r.hashes)-hashes); i < len(r.hashes); i++ {
		out.Hashes = append(out.Hashes, r.hashes[(r.next+i)%len(r.hashes)])
	}
	out.Missing = r.missing
	return out
}

func (r *repeats) load(in savedRepeats) {
	r.missing = in.Missing
	for _, x := range in.Boots {
		s := &seen{boot: x.Boot, high: x.High, first: x.First}
		for i := 0; i+1 < len(x.Runs); i += 2 {
			for n := range min(x.Runs[i+1], seqWindow) {
				s.set(x.Runs[i] + n)
			}
		}
		r.boots = append(r.boots, s)
	}
	for _, h := range in.Hashes {
		r.hashed(h)
	}
}
