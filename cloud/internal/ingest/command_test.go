package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"wardline/cloud/internal/board"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// withBoard joins the rig to a real board, as the root does.
func (r *rig) withBoard() *board.Board {
	b := board.New(board.Config{Store: r.store, Wake: r.server.Wake, Log: slog.New(slog.DiscardHandler)})
	c := &r.server.c
	c.Alerts = func(tx *store.Tx, g Gateway, events []alert.Event, hold, late bool) error {
		return b.Take(tx, g.ID, g.Wards, events, hold, late)
	}
	c.Pending = func(ctx context.Context, gateway string) (out []*linkpb.Command, err error) {
		list, err := b.Pending(ctx, gateway)
		for _, x := range list {
			out = append(out, &linkpb.Command{Id: x.ID, Body: &linkpb.Command_AlertEvent{AlertEvent: x.Payload}})
		}
		return out, err
	}
	c.Result = func(ctx context.Context, gateway string, x *linkpb.Result) error {
		return b.Finish(ctx, gateway, x.Id, x.Outcome, x.Detail)
	}
	return b
}

// bedside is what an agent makes of commands: it folds each event once, by its
// number, and answers. It loses some commands and some answers.
type bedside struct {
	t *testing.T

	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	faults   bool
	seen     map[string]bool
	alerts   map[alert.ID]alert.Alert
	underWay map[string]bool // answered for, or still to be
	most     int
	lost     int
}

func (b *bedside) fold(e alert.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apply(e)
}

func (b *bedside) apply(e alert.Event) {
	a, err := alert.Apply(b.alerts[e.Alert], e)
	if err != nil {
		b.t.Error(err)
	}
	b.alerts[e.Alert] = a
}

// command carries out c; nil when the command or its answer was lost.
func (b *bedside) command(c *linkpb.Command) *linkpb.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	chance := func(n int) bool {
		hit := b.faults && b.random.IntN(n) == 0
		if hit {
			b.lost++
		}
		return hit
	}
	b.underWay[c.Id] = true
	b.most = max(b.most, len(b.underWay))
	if chance(3) {
		return nil
	}
	if chance(6) {
		delete(b.underWay, c.Id)
		return &linkpb.Result{Id: c.Id, Outcome: board.Failed}
	}
	if !b.seen[c.Id] {
		var e alert.Event
		if err := json.Unmarshal(c.GetAlertEvent(), &e); err != nil {
			b.t.Error(err)
		}
		b.apply(e)
		b.seen[c.Id] = true
	}
	if chance(3) {
		return nil
	}
	delete(b.underWay, c.Id)
	return &linkpb.Result{Id: c.Id, Outcome: board.Done}
}

// connect is a session of the bedside's, welcomed.
func (b *bedside) connect(dial func() *peer, last uint64) *peer {
	b.t.Helper()
	p := dial()
	p.send(hello(1, last, 0))
	if m, ok := (<-p.in).(*linkpb.Welcome); !ok {
		b.t.Fatalf("the first message is %v, want the welcome", m)
	}
	go func() {
		for m := range p.in {
			switch m := m.(type) {
			case *linkpb.Ping:
				p.send(&linkpb.Ping{At: 1})
			case *linkpb.Command:
				if x := b.command(m); x != nil {
					p.send(x)
				}
			}
		}
	}()
	return p
}

func TestTheGatewaysFoldEqualsTheCloudsThoughCommandsAndResultsAreLost(t *testing.T) {
	for seed := range uint64(3) {
		inBubble(t, func(t *testing.T, r *rig) {
			const alerts = commandBound + 8
			random := rand.New(rand.NewPCG(seed, 1))
			side := &bedside{
				t: t, random: rand.New(rand.NewPCG(seed, 2)), faults: true, seen: map[string]bool{}, alerts: map[alert.ID]alert.Alert{},
				underWay: map[string]bool{},
			}
			b := r.withBoard()
			act := func(a alert.ID) {
				x := board.Act{Alert: a, By: "anna", Type: alert.Commented, Text: fmt.Sprint("comment ", random.Int())}
				if random.IntN(2) == 0 {
					x.Type = alert.Acknowledged
				}
				if _, err := b.Act(context.Background(), x); err != nil {
					t.Error(err)
				}
			}
			var ids []alert.ID
			var records []link.Record
			for n := range uint64(alerts) {
				record := event(n+1, "raised")
				var e alert.Event
				must(t, json.Unmarshal(record.Payload, &e))
				side.fold(e)
				ids, records = append(ids, e.Alert), append(records, record)
			}
			// A person acts when the session has its seat and before it is welcomed.
			early := 0
			r.server.c.Session = func(_ Gateway, up bool, _ *linkpb.Hello, _ string) {
				if up && early > 0 {
					act(ids[0])
					act(ids[0])
					time.Sleep(20 * time.Millisecond)
				}
				early++
			}
			id := r.identity("gw-7w")
			dial := func() *peer { return r.dial(id) }
			p := side.connect(dial, 0)
			p.batch(link.Alerts, false, records...)
			time.Sleep(time.Second)
			for range 40 {
				switch random.IntN(8) {
				case 0:
					p.cut()
					time.Sleep(time.Second)
					for range 3 {
						act(ids[random.IntN(3)]) // while nobody is connected
					}
					p = side.connect(dial, alerts)
				case 1:
					for _, a := range ids {
						act(a) // more than may be under way
					}
				default:
					act(ids[random.IntN(3)])
				}
				time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			}
			side.mu.Lock()
			side.faults = false
			side.mu.Unlock()
			time.Sleep(5 * time.Minute)
			for _, a := range ids {
				var kept store.Alert
				must(t, r.store.View(context.Background(), func(tx *store.Tx) (err error) {
					kept, err = tx.Alert(a)
					return err
				}))
				side.mu.Lock()
				got := side.alerts[a]
				side.mu.Unlock()
				if !reflect.DeepEqual(got, kept.Alert) {
					t.Fatalf("seed %d: the gateway has\n%+v\nthe cloud\n%+v", seed, got, kept.Alert)
				}
				if !kept.AtGateway() {
					t.Errorf("seed %d: alert %s is not at the gateway", seed, a)
				}
			}
			if side.lost == 0 || side.most > commandBound {
				t.Errorf("seed %d: %d losses, %d commands under way at once", seed, side.lost, side.most)
			}
			p.cut()
		})
	}
}

func TestAWishIsWrittenOnceAndNotBeforeTheWelcome(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.server.c.Session = func(_ Gateway, up bool, _ *linkpb.Hello, _ string) {
			for n := range wishBound + 2 {
				if up && !r.server.Wish("gw-7w", &linkpb.Command{Id: fmt.Sprint("wish ", n)}) {
					t.Error("there is no session")
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		r.pending["asked"] = &linkpb.Command{Id: "asked"}
		p := r.dial(r.identity("gw-7w"))
		p.send(hello(1, 0, 0))
		var got []string
		want := []string{"welcome", "asked"}
		for n := range wishBound {
			want = append(want, fmt.Sprint("wish ", n+2)) // the oldest gave way
		}
		timeout := time.After(pingEvery / 2)
	read:
		for {
			select {
			case m := <-p.in:
				got = append(got, name(m))
			case <-timeout:
				break read
			}
		}
		slices.Sort(got[1:])
		slices.Sort(want[1:])
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(pingEvery)
		synctest.Wait()
		for len(p.in) > 0 {
			if m := <-p.in; name(m) != "asked" && name(m) != "" {
				t.Errorf("%s was written again", name(m))
			}
		}
		p.cut()
		time.Sleep(time.Second)
		if r.server.Wish("gw-7w", &linkpb.Command{Id: "late"}) {
			t.Error("a session that is over takes a wish")
		}
	})
}

func name(m proto.Message) string {
	switch m := m.(type) {
	case *linkpb.Welcome:
		return "welcome"
	case *linkpb.Command:
		return m.Id
	}
	return ""
}
