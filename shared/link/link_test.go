package link

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link/linkpb"
)

func records(first uint64, n, size int, observed int64) (list []Record) {
	for i := range n {
		list = append(list, Record{Seq: first + uint64(i), Kind: VitalsSummary, Observed: observed, Payload: make([]byte, size)})
	}
	return list
}

// noise is n records of 1,000 bytes that cannot be compressed.
func noise(n int) []Record {
	list := records(1, n, 1000, 1)
	random := rand.NewChaCha8([32]byte{})
	for _, r := range list {
		random.Read(r.Payload)
	}
	return list
}

// reader serves lanes that hold what a test says.
func reader(lanes map[Lane][]Record) func(Lane, uint64, int) ([]Record, error) {
	return func(l Lane, after uint64, maxBytes int) (list []Record, err error) {
		size := 0
		for _, r := range lanes[l] {
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
}

func sender(t *testing.T, lanes map[Lane][]Record) *Sender {
	t.Helper()
	var states []LaneState
	for _, l := range Lanes {
		states = append(states, LaneState{Lane: l, First: 1, Last: uint64(len(lanes[l]))})
	}
	s, err := NewSender(&linkpb.Welcome{}, states, func(Lane, uint64) (Hash, bool) { return Hash{}, false })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryMessageIsReadAsItWasWritten(t *testing.T) {
	batch, err := Pack(Vitals, records(5, 3, 10, 7), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []proto.Message{
		&linkpb.Hello{
			Version: 1, Epoch: make([]byte, 16), Lanes: []*linkpb.Lane{{Lane: 1, First: 1, Hash: make([]byte, 16)}},
			OpenKnown: true, OpenAlerts: []string{strings.Repeat("a", 32)},
		},
		&linkpb.Welcome{Lanes: Durable([5]Cursor{1: {Seq: 3}}), Now: 4},
		(&Refusal{Reason: Revoked, Text: "x", RetryAfter: 3, Technician: true}).Message(),
		batch, &linkpb.Ack{Lane: 3, Through: 9}, &linkpb.Live{At: 1}, &linkpb.Wave{IntervalNum: 4096, IntervalDen: 1, Samples: []int32{-1, 2}},
		&linkpb.Command{Id: "a", Body: &linkpb.Command_Wave{Wave: &linkpb.WaveOn{On: true}}},
		&linkpb.Result{Id: "a", Outcome: "done"}, &linkpb.Ping{At: 1}, &linkpb.Pong{At: 1, Now: 2},
	} {
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || !proto.Equal(got, m) {
			t.Errorf("%v came back as %v, %v", m, got, err)
		}
	}
}

func TestAMessageOfAnUnknownKindIsToldApart(t *testing.T) {
	if _, err := Decode([]byte{0xfa, 0x01, 0x00}); !errors.Is(err, ErrUnknownMessage) { // field 31
		t.Errorf("got %v", err)
	}
}

func TestWhatBreaksTheProtocolIsRefused(t *testing.T) {
	for what, m := range map[string]proto.Message{
		"an epoch of 15 bytes":   &linkpb.Hello{Epoch: make([]byte, 15)},
		"401 open alerts":        &linkpb.Hello{Epoch: make([]byte, 16), OpenAlerts: make([]string, MaxOpenAlerts+1)},
		"there is no lane 9":     &linkpb.Ack{Lane: 9},
		"a hash of 3 bytes":      &linkpb.Welcome{Lanes: []*linkpb.Durable{{Lane: 1, Hash: make([]byte, 3)}}},
		"a first seq of 0":       &linkpb.Batch{Lane: 1, Count: 1},
		"5000 records":           &linkpb.Batch{Lane: 1, First: 1, Count: 5000},
		"an interval of nothing": &linkpb.Wave{},
		"no id":                  &linkpb.Result{},
	} {
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: got %v, want %q", m, err, what)
		}
	}
	if _, err := Encode(&linkpb.Refuse{Text: strings.Repeat("x", MaxMessage)}); err == nil {
		t.Error("a message over the limit was written")
	}
}

func TestABatchThatWouldUnpackTooLargeIsRefusedBeforeItIsUnpacked(t *testing.T) {
	bomb := s2.Encode(nil, make([]byte, 64<<20))
	b := &linkpb.Batch{Lane: 3, First: 1, Count: 1, Packed: bomb[:min(len(bomb), 1000)]}
	allocated := testing.AllocsPerRun(10, func() {
		if _, err := Unpack(b); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Fatalf("got %v", err)
		}
	})
	if allocated > 20 {
		t.Errorf("%v allocations to refuse it", allocated)
	}
}

func TestABatchNeverMixesLateAndLiveRecords(t *testing.T) {
	const now = 1e9
	list := append(records(1, 3, 10, now-61e6), records(4, 2, 10, now)...)
	lanes := map[Lane][]Record{Vitals: list, Alerts: append(records(1, 1, 10, now-11e6), records(2, 1, 10, now-9e6)...)}
	s := sender(t, lanes)
	got := map[Lane][]int{}
	for {
		b, err := s.Next(now, 0, reader(lanes))
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			break
		}
		n := int(b.Count)
		if b.Late {
			n = -n
		}
		got[Lane(b.Lane)] = append(got[Lane(b.Lane)], n)
	}
	if v, a := got[Vitals], got[Alerts]; len(v) != 2 || v[0] != -3 || v[1] != 2 || len(a) != 2 || a[0] != -1 || a[1] != 1 {
		t.Errorf("batches %v, want vitals -3 2, alerts -1 1 (late is negative)", got)
	}
}

func TestNoLaneStarvesAndAlertsNeverWaitForTwo(t *testing.T) {
	lanes := map[Lane][]Record{}
	for _, l := range Lanes {
		lanes[l] = records(1, 4000, 1000, 1)
	}
	s := sender(t, lanes)
	sent := map[Lane]int{}
	previous := Alerts
	for range 100 { // fewer than there are batches of alerts
		b, err := s.Next(0, 0, reader(lanes))
		if err != nil || b == nil {
			t.Fatalf("got %v, %v", b, err)
		}
		lane := Lane(b.Lane)
		if previous != Alerts && lane != Alerts {
			t.Fatalf("%s follows %s while alerts wait", lane, previous)
		}
		previous = lane
		sent[lane] += int(b.Count)
		if _, err := s.Ack(1, &linkpb.Ack{Lane: b.Lane, Through: uint64(sent[lane])}); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range Lanes {
		if sent[l] < 200 {
			t.Errorf("%s got %d records: %v", l, sent[l], sent)
		}
	}
	if sent[Alerts] < sent[Status] || sent[Status] < sent[Vitals] || sent[Vitals] < sent[Waves] {
		t.Errorf("shares %v are not those of the weights", sent)
	}
}

func TestAFullWindowHoldsVitalsBackButNeverAnAlert(t *testing.T) {
	lanes := map[Lane][]Record{Vitals: noise(1000)}
	s := sender(t, lanes)
	bytes := 0
	for {
		b, err := s.Next(0, 0, reader(lanes))
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			break
		}
		bytes += len(b.Packed)
	}
	if bytes > firstWindow+MaxMessage {
		t.Fatalf("%d bytes out, the window is %d", bytes, firstWindow)
	}
	lanes[Alerts] = records(1, 1, 10, 1)
	s.Grow([]LaneState{{Lane: Alerts, First: 1, Last: 1}})
	b, err := s.Next(0, 0, reader(lanes))
	if err != nil || b == nil || Lane(b.Lane) != Alerts {
		t.Fatalf("got %v, %v, want the alert", b, err)
	}
}

func TestTheWindowGrowsOnAQuickLinkAndShrinksOnAFullOne(t *testing.T) {
	lanes := map[Lane][]Record{Vitals: noise(15_000)}
	s := sender(t, lanes)
	now := int64(0)
	turn := func(trip int64) {
		through := uint64(0)
		for {
			b, err := s.Next(0, now, reader(lanes))
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				break
			}
			through = b.First + uint64(b.Count) - 1
		}
		now += trip
		if _, err := s.Ack(now, &linkpb.Ack{Lane: uint32(Vitals), Through: through}); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		turn(20e3)
	}
	grown := s.Window()
	if grown < 4*firstWindow {
		t.Errorf("window %d after four quick round trips", grown)
	}
	for range 2 {
		turn(2e6)
	}
	if s.Window() >= grown {
		t.Errorf("window %d after slow round trips, was %d", s.Window(), grown)
	}
}

func TestAnAckOfWhatWasNeverSentIsAnError(t *testing.T) {
	s := sender(t, map[Lane][]Record{Vitals: records(1, 3, 1, 1)})
	if _, err := s.Ack(0, &linkpb.Ack{Lane: uint32(Vitals), Through: 1}); err == nil {
		t.Error("it was taken")
	}
}

func TestWhatDoesNotFollowIsAGapAndWhatIsRepeatedIsPassedOver(t *testing.T) {
	r := NewReceiver([5]Cursor{Vitals: {Seq: 4}})
	take := func(first uint64, n int) (Taken, error) {
		b, err := Pack(Vitals, records(first, n, 1, 1), false)
		if err != nil {
			t.Fatal(err)
		}
		return r.Take(b)
	}
	if got, err := take(3, 4); err != nil || len(got.Records) != 2 || got.Base.Seq != 4 || got.Next.Seq != 6 {
		t.Fatalf("3 to 6 after 4 gave %+v, %v", got, err)
	}
	if got, err := take(5, 2); err != nil || len(got.Records) != 0 {
		t.Fatalf("a repeat gave %+v, %v", got, err)
	}
	_, err := take(8, 1)
	if gap, ok := errors.AsType[*GapError](err); !ok || *gap != (GapError{Vitals, 7, 8}) {
		t.Fatalf("8 after 6 gave %v", err)
	}
	if a := r.Commit(Vitals, 99); a.Through != 6 {
		t.Errorf("acknowledged up to %d, taken up to 6", a.Through)
	}
}

func TestPackRefusesRecordsThatDoNotFollowEachOther(t *testing.T) {
	list := records(1, 3, 1, 1)
	list[2].Seq = 9
	if _, err := Pack(Vitals, list, false); err == nil {
		t.Error("a gap was packed")
	}
	if _, err := Pack(Vitals, records(1, 1, MaxPayload+1, 1), false); err == nil {
		t.Error("a payload over the limit was packed")
	}
}

func TestALargestRecordFitsAMessageEvenWhenNothingCompresses(t *testing.T) {
	p := make([]byte, MaxPayload)
	rand.NewChaCha8([32]byte{}).Read(p)
	b, err := Pack(Waves, []Record{{Seq: 1, Kind: 7, Observed: 1, Payload: p}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Encode(b); err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(b)
	if err != nil || len(got) != 1 || !bytes.Equal(got[0].Payload, p) {
		t.Errorf("it came back as %d records, %v", len(got), err)
	}
}

func FuzzDecode(f *testing.F) {
	batch, _ := Pack(Vitals, records(1, 5, 20, 1), false)
	hole, _ := NewHole(&linkpb.Hole{From: 1, To: 5, Hash: make([]byte, 16)}, 1)
	holes, _ := Pack(Vitals, append([]Record{hole}, records(6, 2, 3, 1)...), false)
	for _, m := range []proto.Message{
		batch, holes, &linkpb.Ack{Lane: 1, Through: 3}, &linkpb.Ping{At: 1},
		&linkpb.Hello{Epoch: make([]byte, 16), Lanes: []*linkpb.Lane{{Lane: 1, First: 1, Hash: make([]byte, 16)}}},
		&linkpb.Batch{Lane: 3, First: 1, Count: 1, Packed: s2.Encode(nil, make([]byte, 1<<20))},
	} {
		b, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Encode(m); err == nil {
			if _, err := Decode(again); err != nil {
				t.Fatalf("what was read cannot be read again: %v", err)
			}
		}
		batch, ok := m.(*linkpb.Batch)
		if !ok {
			return
		}
		list, err := Unpack(batch)
		if err != nil {
			return
		}
		size, next := 0, batch.First
		for _, r := range list {
			if r.Seq < next {
				t.Fatalf("seq %d where %d is next", r.Seq, next)
			}
			size, next = size+len(r.Payload), r.Seq+1
		}
		if len(list) != int(batch.Count) || size > MaxUnpacked {
			t.Fatalf("%d records of %d bytes from a batch of %d", len(list), size, batch.Count)
		}
		NewReceiver([5]Cursor{}).Take(batch)
	})
}
