package link

import (
	"fmt"

	"wardline/shared/link/linkpb"
)

// Cursor is a place in a lane: everything up to Seq, and the running hash there.
type Cursor struct {
	Seq  uint64
	Hash Hash
}

// After takes those of consecutive records that follow c and tells the place
// after them. It fails with a [*GapError] when records between are missing.
func (c Cursor) After(records []Record) (fresh []Record, next Cursor, err error) {
	for len(records) > 0 && records[0].Seq <= c.Seq {
		records = records[1:]
	}
	for _, r := range records {
		if r.Kind != HoleKind {
			if r.Seq != c.Seq+1 {
				return nil, c, &GapError{Want: c.Seq + 1, Got: r.Seq}
			}
			c = Cursor{r.Seq, c.Hash.Next(r)}
			continue
		}
		h, err := ReadHole(r)
		if err != nil {
			return nil, c, err
		}
		if h.From > c.Seq+1 || h.To != r.Seq {
			return nil, c, &GapError{Want: c.Seq + 1, Got: h.From}
		}
		c = Cursor{r.Seq, Hash(h.Hash)}
	}
	return records, c, nil
}

// GapError means that records are missing which no hole declares.
type GapError struct {
	Lane      Lane
	Want, Got uint64 // the next seq, and the one that came
}

func (e *GapError) Error() string {
	return fmt.Sprintf("lane %s goes on at %d, want %d", e.Lane, e.Got, e.Want)
}

// Receiver is the cloud's half of a session: it passes over what is repeated,
// refuses what leaves a gap, and acknowledges what its owner says is durable.
// It is not safe for use by several goroutines.
type Receiver struct {
	lanes [len(Lanes) + 1]struct {
		taken   Cursor // handed to the owner up to here
		durable uint64
	}
}

// NewReceiver begins a session where durable, indexed by lane, says.
func NewReceiver(durable [len(Lanes) + 1]Cursor) *Receiver {
	r := new(Receiver)
	for lane, c := range durable {
		r.lanes[lane].taken, r.lanes[lane].durable = c, c.Seq
	}
	return r
}

// Taken is what a batch brings that was not there before.
type Taken struct {
	Lane    Lane
	Base    Cursor   // the place before Records: commit them only when the lane stands there
	Records []Record // empty when the batch only repeats
	Next    Cursor   // the place after them
	Late    bool
}

// Take reads a batch. Its records are to be committed in the order in which
// Take gave them, lane by lane. After an error the session is over.
func (r *Receiver) Take(b *linkpb.Batch) (Taken, error) {
	records, err := Unpack(b)
	if err != nil {
		return Taken{}, err
	}
	lane := &r.lanes[b.Lane]
	t := Taken{Lane: Lane(b.Lane), Base: lane.taken, Late: b.Late}
	t.Records, t.Next, err = lane.taken.After(records)
	if gap, ok := err.(*GapError); ok {
		gap.Lane = t.Lane
	}
	if err != nil {
		return Taken{}, err
	}
	lane.taken = t.Next
	return t, nil
}

// Commit tells that everything of a lane up to seq is durable, and is the Ack to
// send. Acks are cumulative: only the newest of a lane need reach the gateway.
func (r *Receiver) Commit(lane Lane, seq uint64) *linkpb.Ack {
	l := &r.lanes[lane]
	l.durable = max(l.durable, min(seq, l.taken.Seq))
	return &linkpb.Ack{Lane: uint32(lane), Through: l.durable}
}

// Durable is the Welcome's list of lanes.
func Durable(at [len(Lanes) + 1]Cursor) []*linkpb.Durable {
	var list []*linkpb.Durable
	for _, lane := range Lanes {
		c := at[lane]
		list = append(list, &linkpb.Durable{Lane: uint32(lane), Through: c.Seq, Hash: c.Hash[:]})
	}
	return list
}
