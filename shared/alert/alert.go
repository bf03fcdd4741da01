package alert

import (
	"cmp"
	"slices"
)

// Phase is where the condition stands.
type Phase string

// The phases. An alert of which only responses were heard so far has none yet.
const (
	Unknown Phase = ""
	Active  Phase = "active"  // the condition is true
	Latched Phase = "latched" // it ended, but the alert stays until it is resolved
	Over    Phase = "ended"   // it ended
)

// Alert is the fold of an episode's events. Its fields belong to Apply.
type Alert struct {
	ID        ID
	Condition Condition // the latest
	Phase     Phase
	RaisedAt  int64    // when the alert was decided, µs UTC
	EndedAt   int64    // 0 while the condition lasts
	EndText   string   // why it ended, in words
	Late      bool     // it was history when it was learnt of
	Worst     Priority // the highest priority that it had

	// What each author said of the response. Read them through the methods,
	// which join both.
	Ward, Board Response

	Comments []Comment // by time
}

// Response is one author's part of the response axis.
type Response struct {
	N              uint32 // the author's last number that was folded, of either axis
	Ack            Act
	Silence        Act
	Responsibility Act
	Resolution     Act
	Step           int
}

// Act is what a person or the board did last, of one sort.
type Act struct {
	Type     Type // "" for never, or what undid it
	By, Via  string
	At       int64
	Until    int64 // 0 = until the condition ends
	Priority Priority
	Text     string
	To       string
}

// Comment is a person's words on an alert.
type Comment struct {
	By     string
	At     int64
	Text   string
	Author Author
	N      uint32
}

// Apply folds e into a. Each author's events count in the order of its numbers:
// one that was folded before, or is older than what was folded, changes nothing.
// Events of different authors commute. Apply never writes to what a refers to,
// so a caller may keep the old value. It fails only on an event that Check refuses.
func Apply(a Alert, e Event) (Alert, error) {
	if err := e.Check(); err != nil {
		return a, err
	}
	a.ID = e.Alert
	r := a.response(e.Author)
	if e.N <= r.N {
		return a, nil
	}
	r.N = e.N
	act := Act{Type: e.Type, By: e.By, Via: e.Via, At: e.At, Until: e.Until, Priority: e.Priority, Text: e.Text, To: e.To}
	switch e.Type {
	case Raised:
		a.Condition, a.Phase, a.RaisedAt, a.Late = *e.Condition, Active, e.At, e.Late
		a.Worst = max(a.Worst, e.Condition.Priority)
	case Updated:
		a.Condition = *e.Condition
		a.Worst = max(a.Worst, e.Condition.Priority)
	case Ended:
		a.Phase, a.EndedAt, a.EndText = Over, e.At, e.Text
		if a.Condition.Latch {
			a.Phase = Latched
		}
	case Acknowledged, AckExpired:
		r.Ack = act
	case Silenced, Unsilenced:
		r.Silence = act
	case Accepted, Rejected, PassedOn:
		r.Responsibility = act
	case Escalated:
		r.Step = e.Step
	case Resolved:
		r.Resolution = act
	case Commented:
		c := Comment{By: e.By, At: e.At, Text: e.Text, Author: e.Author, N: e.N}
		i, _ := slices.BinarySearchFunc(a.Comments, c, compareComments)
		a.Comments = slices.Insert(slices.Clone(a.Comments), i, c)
	}
	return a, nil
}

func compareComments(x, y Comment) int {
	return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Author, y.Author), cmp.Compare(x.N, y.N))
}

func (a *Alert) response(w Author) *Response {
	if w == Board {
		return &a.Board
	}
	return &a.Ward
}

// N is the last number of an author's events that was folded; its next event takes N+1.
func (a Alert) N(w Author) uint32 { return a.response(w).N }

// Open reports whether the alert still wants somebody: its condition lasts or is
// latched, and nobody resolved it.
func (a Alert) Open() bool {
	return (a.Phase == Active || a.Phase == Latched) && a.Resolution().Type == ""
}

// Ack is the acknowledgement in force at now (µs UTC): by the ward or by the
// board, whichever came later. It does not hold past its end, past the end of
// the condition, nor for a priority higher than the person saw.
func (a Alert) Ack(now int64) (Act, bool) {
	x := later(a.Ward.Ack, a.Board.Ack)
	return x, x.Type == Acknowledged && a.Phase != Over && x.holds(now, a.Condition.Priority)
}

// Silence is the silence in force at now (µs UTC), by the same rules as Ack.
func (a Alert) Silence(now int64) (Act, bool) {
	x := later(a.Ward.Silence, a.Board.Silence)
	return x, x.Type == Silenced && a.Phase != Over && x.holds(now, a.Condition.Priority)
}

// Responsibility is who accepted, rejected or passed on the alert last; its Type
// is "" while that is undefined.
func (a Alert) Responsibility() Act { return later(a.Ward.Responsibility, a.Board.Responsibility) }

// Resolution is how the alert was resolved; its Type is "" while it was not.
func (a Alert) Resolution() Act {
	if a.Ward.Resolution.Type != "" && (a.Board.Resolution.Type == "" || a.Ward.Resolution.At <= a.Board.Resolution.At) {
		return a.Ward.Resolution
	}
	return a.Board.Resolution
}

func later(ward, board Act) Act {
	if ward.At > board.At {
		return ward
	}
	return board
}

func (x Act) holds(now int64, p Priority) bool {
	return (x.Until == 0 || now < x.Until) && (x.Priority == 0 || p <= x.Priority)
}

// Compare orders alerts for a person: priority first, then what is true before
// what is over and latched, then physiological before technical, then the older
// before the newer.
func Compare(a, b Alert) int {
	return cmp.Or(
		cmp.Compare(b.Condition.Priority, a.Condition.Priority),
		cmp.Compare(a.Phase, b.Phase), // "active" before "latched"
		cmp.Compare(a.Condition.Kind, b.Condition.Kind),
		cmp.Compare(a.Condition.Onset, b.Condition.Onset),
		cmp.Compare(a.ID, b.ID),
	)
}
