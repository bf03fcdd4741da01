package link

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"wardline/shared/link/linkpb"
)

// box is the simplest outbox: a list a lane.
type box struct {
	epoch   int
	lanes   map[Lane][]Record
	first   map[Lane]uint64
	hashes  map[Lane]map[uint64]Hash // after a seq
	renumed int
}

func newBox() *box {
	b := &box{epoch: 1, lanes: map[Lane][]Record{}, first: map[Lane]uint64{}, hashes: map[Lane]map[uint64]Hash{}}
	for _, l := range Lanes {
		b.first[l], b.hashes[l] = 1, map[uint64]Hash{0: {}}
	}
	return b
}

func (b *box) last(l Lane) uint64 {
	if n := len(b.lanes[l]); n > 0 {
		return b.lanes[l][n-1].Seq
	}
	return b.first[l] - 1
}

func (b *box) put(l Lane, name string, size int) {
	p := make([]byte, max(size, len(name)))
	copy(p, name)
	b.add(l, Record{Kind: AlertEvent, Observed: 1, Payload: p})
}

func (b *box) add(l Lane, r Record) {
	r.Seq = b.last(l) + 1
	b.hashes[l][r.Seq] = b.hashes[l][r.Seq-1].Next(r)
	b.lanes[l] = append(b.lanes[l], r)
}

func (b *box) state() []LaneState {
	var list []LaneState
	for _, l := range Lanes {
		h, _ := b.hashAt(l, b.last(l))
		list = append(list, LaneState{Lane: l, Kept: b.first[l], First: b.first[l], Last: b.last(l), Hash: h})
	}
	return list
}

func (b *box) hashAt(l Lane, seq uint64) (Hash, bool) {
	h, known := b.hashes[l][seq]
	return h, known && seq+1 >= b.first[l]
}

func (b *box) read(l Lane, after uint64, maxBytes int) ([]Record, error) {
	var list []Record
	size := 0
	if gone := b.first[l] - 1; after < gone && (len(b.lanes[l]) == 0 || b.lanes[l][0].Kind != HoleKind) {
		h := b.hashes[l][gone]
		hole, err := NewHole(&linkpb.Hole{From: after + 1, To: gone, Reason: "forgotten by the cloud", Hash: h[:]}, 1)
		return []Record{hole}, err
	}
	for _, r := range b.lanes[l] {
		if r.Seq <= after {
			continue
		}
		if size += r.Size(); len(list) > 0 && size > maxBytes {
			break
		}
		list = append(list, r)
	}
	return list, nil
}

func (b *box) forget(l Lane, through uint64) {
	for len(b.lanes[l]) > 0 && b.lanes[l][0].Seq <= through {
		r := b.lanes[l][0]
		b.first[l], b.lanes[l] = r.Seq+1, b.lanes[l][1:]
	}
}

// evict gives up the first n records of a lane that are not hidden in a hole
// already, and leaves one hole.
func (b *box) evict(l Lane, n int) []Record {
	if n = min(n, len(b.lanes[l])); n == 0 {
		return nil
	}
	gone := slices.Clone(b.lanes[l][:n])
	to := gone[n-1].Seq
	h := b.hashes[l][to]
	for seq := b.first[l]; seq < to; seq++ {
		delete(b.hashes[l], seq) // inside a hole it is not known
	}
	hole, err := NewHole(&linkpb.Hole{From: b.first[l], To: to, Reason: "quota", Hash: h[:]}, 1)
	if err != nil {
		panic(err)
	}
	b.lanes[l] = append([]Record{hole}, b.lanes[l][n:]...)
	return gone
}

// renumber begins a new epoch with what is held.
func (b *box) renumber() {
	b.epoch++
	b.renumed++
	for _, l := range Lanes {
		b.first[l], b.hashes[l] = 1, map[uint64]Hash{0: {}}
		held := b.lanes[l]
		b.lanes[l] = nil
		for _, r := range held {
			if r.Kind != HoleKind { // what a hole stood for is known to be gone
				b.add(l, r)
			}
		}
	}
}

func (b *box) clone() *box {
	c := *b
	c.lanes, c.first, c.hashes = map[Lane][]Record{}, map[Lane]uint64{}, map[Lane]map[uint64]Hash{}
	for _, l := range Lanes {
		c.lanes[l], c.first[l], c.hashes[l] = slices.Clone(b.lanes[l]), b.first[l], maps.Clone(b.hashes[l])
	}
	return &c
}

// cloud is what the other end has durably.
type cloud struct {
	cursors map[int][5]Cursor         // by epoch
	effects map[int]map[Lane][]string // by epoch, in order
	covered map[int]map[Lane]uint64   // how many seqs records and holes account for
}

func newCloud() *cloud {
	return &cloud{map[int][5]Cursor{}, map[int]map[Lane][]string{}, map[int]map[Lane]uint64{}}
}

func label(r Record) string {
	name, _, _ := cutZero(r.Payload)
	return name
}

func cutZero(b []byte) (string, []byte, bool) {
	if i := slices.Index(b, 0); i >= 0 {
		return string(b[:i]), b[i:], true
	}
	return string(b), nil, false
}

func (c *cloud) commit(epoch int, t Taken) error {
	at := c.cursors[epoch]
	if at[t.Lane] != t.Base {
		return fmt.Errorf("%s stands at %v, the batch follows %v", t.Lane, at[t.Lane].Seq, t.Base.Seq)
	}
	if c.effects[epoch] == nil {
		c.effects[epoch], c.covered[epoch] = map[Lane][]string{}, map[Lane]uint64{}
	}
	for _, r := range t.Records {
		if r.Kind == HoleKind {
			h, err := ReadHole(r)
			if err != nil {
				return err
			}
			c.covered[epoch][t.Lane] += h.To - max(h.From-1, c.covered[epoch][t.Lane])
			continue
		}
		c.covered[epoch][t.Lane]++
		c.effects[epoch][t.Lane] = append(c.effects[epoch][t.Lane], label(r))
	}
	at[t.Lane] = t.Next
	c.cursors[epoch] = at
	return nil
}

// world joins a Sender and a Receiver by two wires that may be cut at any
// message, and holds what must be true after each step.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	box     *box
	cloud   *cloud
	now     int64
	made    map[Lane][]string // names in order of making
	gone    map[string]bool   // declared by a hole
	sender  *Sender
	recv    *Receiver
	epoch   int
	up      [][]byte // gateway to cloud, on the wire
	down    [][]byte
	waiting []Taken // taken, not yet committed
	dropAck func(*linkpb.Ack) bool
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), box: newBox(), cloud: newCloud(), now: 1e9,
		made: map[Lane][]string{}, gone: map[string]bool{}, dropAck: func(*linkpb.Ack) bool { return false },
	}
}

func (w *world) wire(m proto.Message) []byte {
	b, err := Encode(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) unwire(b []byte) proto.Message {
	m, err := Decode(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) cut() { w.sender, w.recv, w.up, w.down, w.waiting = nil, nil, nil, nil, nil }

func (w *world) connect() {
	w.cut()
	w.epoch = w.box.epoch
	at := w.cloud.cursors[w.epoch]
	welcome := w.unwire(w.wire(&linkpb.Welcome{Lanes: Durable(at)})).(*linkpb.Welcome)
	s, err := NewSender(welcome, w.box.state(), w.box.hashAt)
	if errors.Is(err, ErrDiverged) {
		w.box.renumber()
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.sender, w.recv = s, NewReceiver(at)
	for _, l := range Lanes {
		w.box.forget(l, s.Durable(l))
	}
}

func (w *world) make(l Lane) {
	name := fmt.Sprintf("%s-%d", l, len(w.made[l]))
	w.made[l] = append(w.made[l], name)
	size := w.rng.IntN(200)
	if w.rng.IntN(40) == 0 {
		size = w.rng.IntN(MaxPayload)
	}
	w.box.put(l, name, size)
	if w.sender != nil {
		w.sender.Grow(w.box.state())
	}
}

func (w *world) send() {
	b, err := w.sender.Next(w.now, w.now, w.box.read)
	if err != nil {
		w.t.Fatal(err)
	}
	if b != nil {
		w.up = append(w.up, w.wire(b))
		if w.rng.IntN(10) == 0 { // the same message once more
			w.up = append(w.up, w.wire(b))
		}
	}
}

func (w *world) arriveUp() {
	if len(w.up) == 0 {
		return
	}
	b := w.unwire(w.up[0]).(*linkpb.Batch)
	w.up = w.up[1:]
	t, err := w.recv.Take(b)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(t.Records) > 0 {
		w.waiting = append(w.waiting, t)
		return
	}
	w.down = append(w.down, w.wire(w.recv.Commit(t.Lane, 0)))
}

func (w *world) commitOne() {
	if len(w.waiting) == 0 {
		return
	}
	t := w.waiting[0]
	w.waiting = w.waiting[1:]
	if err := w.cloud.commit(w.epoch, t); err != nil {
		w.t.Fatal(err)
	}
	w.down = append(w.down, w.wire(w.recv.Commit(t.Lane, t.Next.Seq)))
}

func (w *world) arriveDown() {
	if len(w.down) == 0 {
		return
	}
	a := w.unwire(w.down[0]).(*linkpb.Ack)
	w.down = w.down[1:]
	if w.dropAck(a) {
		return
	}
	if _, err := w.sender.Ack(w.now, a); err != nil {
		w.t.Fatal(err)
	}
	w.box.forget(Lane(a.Lane), a.Through)
}

func (w *world) evict() {
	for _, r := range w.box.evict(Vitals, 1+w.rng.IntN(5)) {
		if r.Kind != HoleKind {
			w.gone[label(r)] = true
		}
	}
}

// check is the invariant: in each epoch every lane's effects are in order and
// once; nothing is in neither place; the cloud's hash is that of its records.
func (w *world) check() {
	w.t.Helper()
	for _, l := range Lanes {
		have := map[string]bool{}
		for e := 1; e <= w.box.epoch; e++ {
			last := -1
			for _, name := range w.cloud.effects[e][l] {
				lane, number, _ := strings.Cut(name, "-")
				n, err := strconv.Atoi(number)
				if err != nil || lane != l.String() {
					w.t.Fatalf("%q in lane %s", name, l)
				}
				if n <= last {
					w.t.Fatalf("epoch %d: %s after number %d", e, name, last)
				}
				last = n
				have[name] = true
			}
		}
		for _, r := range w.box.lanes[l] {
			if r.Kind != HoleKind {
				have[label(r)] = true
			}
		}
		for _, name := range w.made[l] {
			if !have[name] && !w.gone[name] {
				w.t.Fatalf("%s is lost", name)
			}
		}
		at := w.cloud.cursors[w.box.epoch][l]
		if n := w.cloud.covered[w.box.epoch][l]; n != at.Seq {
			w.t.Fatalf("%s: %d seqs are accounted for up to %d", l, n, at.Seq)
		}
		if h, known := w.box.hashAt(l, at.Seq); w.sender != nil && known && h != at.Hash {
			w.t.Fatalf("hashes of %s differ at %d", l, at.Seq)
		}
	}
}

func (w *world) step() {
	w.now += int64(w.rng.IntN(20000))
	if w.sender == nil {
		if w.rng.IntN(3) == 0 {
			w.connect()
		} else {
			w.make(Lanes[w.rng.IntN(4)])
		}
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 25:
		w.make(Lanes[w.rng.IntN(4)])
	case n < 50:
		w.send()
	case n < 70:
		w.arriveUp()
	case n < 85:
		w.commitOne()
	case n < 97:
		w.arriveDown()
	case n < 98:
		w.evict()
	default:
		w.cut()
	}
}

// settle turns faults off and gives the session time to carry everything over.
func (w *world) settle() {
	w.t.Helper()
	w.dropAck = func(*linkpb.Ack) bool { return false }
	for range 3 {
		if w.connect(); w.sender != nil {
			break
		}
	}
	for range 100_000 {
		w.now += 1000
		w.send()
		w.arriveUp()
		w.commitOne()
		w.arriveDown()
		if len(w.up)+len(w.down)+len(w.waiting) == 0 && !w.sender.Ready() {
			break
		}
	}
	w.check()
	for _, l := range Lanes {
		if n := len(w.box.lanes[l]); n > 0 {
			w.t.Fatalf("%d records of %s were not carried over", n, l)
		}
	}
}

func TestNothingIsLostNorTakenTwiceWhereverTheConnectionBreaks(t *testing.T) {
	for seed := range uint64(40) {
		w := newWorld(t, seed)
		for range 300 {
			w.step()
			w.check()
		}
		w.settle()
		if w.box.renumed > 0 {
			t.Fatalf("seed %d: a new epoch was begun though nothing went back in time", seed)
		}
		for _, l := range Lanes {
			if got, want := len(w.cloud.effects[1][l])+countGone(w, l), len(w.made[l]); got < want {
				t.Fatalf("seed %d: %s has %d of %d", seed, l, got, want)
			}
		}
	}
}

func countGone(w *world, l Lane) int {
	n := 0
	for _, name := range w.made[l] {
		if w.gone[name] {
			n++
		}
	}
	return n
}

func TestEveryAckDroppedOnceLosesNothing(t *testing.T) {
	for seed := range uint64(15) {
		w := newWorld(t, seed)
		dropped := map[string]bool{}
		w.dropAck = func(a *linkpb.Ack) bool {
			key := fmt.Sprint(w.epoch, a.Lane, a.Through)
			first := !dropped[key]
			dropped[key] = true
			return first
		}
		for range 400 {
			w.step()
			w.check()
		}
		if len(dropped) == 0 {
			t.Fatal("no Ack was ever dropped")
		}
		w.settle()
	}
}

func TestADiskThatWentBackInTimeBeginsANewEpochAndLosesNothing(t *testing.T) {
	fired := 0
	for seed := range uint64(25) {
		w := newWorld(t, seed)
		for range 150 {
			w.step()
		}
		old := w.box.clone()
		for range 150 {
			w.step()
		}
		w.cut()
		// The card is restored. What it held is made again, and what it never
		// held is no longer the outbox's to send.
		for _, l := range Lanes {
			kept := map[string]bool{}
			for e := range w.cloud.effects {
				for _, name := range w.cloud.effects[e][l] {
					kept[name] = true
				}
			}
			for _, r := range old.lanes[l] {
				kept[label(r)] = true
			}
			for _, name := range w.made[l] {
				if !kept[name] {
					w.gone[name] = true
				}
			}
		}
		w.box = old
		for _, l := range Lanes { // for every second seed, past what the cloud has: only hashes tell then
			past := w.cloud.cursors[old.epoch][l].Seq + 3
			for w.make(l); seed%2 == 0 && old.last(l) < past; {
				w.make(l)
			}
		}
		for range 200 {
			w.step()
			w.check()
		}
		w.settle()
		fired += w.box.renumed
	}
	if fired == 0 {
		t.Fatal("no run began a new epoch")
	}
}

func TestACloudRestoredFromABackupIsToldEverythingThatIsStillHeld(t *testing.T) {
	w := newWorld(t, 7)
	w.connect()
	for range 20 {
		w.make(Vitals)
	}
	w.settle()
	w.cut()
	w.cloud = newCloud() // restored to before
	for _, name := range w.made[Vitals] {
		w.gone[name] = true
	}
	w.make(Vitals)
	w.settle()
	if got := w.cloud.effects[1][Vitals]; w.box.epoch != 1 || len(got) != 1 || got[0] != "vitals-20" || w.cloud.covered[1][Vitals] != 21 {
		t.Fatalf("epoch %d has %v, want the last record after a hole", w.box.epoch, w.cloud.effects)
	}
}
