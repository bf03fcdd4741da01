package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/feed"
	"wardline/cloud/internal/fleet"
	"wardline/cloud/internal/store"
)

// socket is one screen. Its writing goroutine owns everything but the queues; it
// holds no changes: it is a cursor into the feed.
type socket struct {
	l    *live
	conn *websocket.Conn
	c    caller

	ups   chan Up         // from the reading goroutine
	waves chan *feed.Wave // from the goroutines of watched beds, which drop the oldest
	g     sync.WaitGroup

	on      bool // between hello and gap
	cursor  uint64
	wards   []string // nil = every ward that there is
	listed  []string // the wards by name
	watched map[[2]string]*feed.Viewer
	told    map[string]bool // what was audited for this connection
}

func newSocket(l *live, conn *websocket.Conn, c caller) *socket {
	return &socket{l: l, conn: conn, c: c, ups: make(chan Up, 8), waves: make(chan *feed.Wave),
		watched: map[[2]string]*feed.Viewer{}, told: map[string]bool{}}
}

// run serves the screen until it goes, its session ends, or the server closes.
func (x *socket) run() error {
	defer func() {
		for _, v := range x.watched {
			v.Close()
		}
		x.l.watch(x.listed, -1)
		x.conn.CloseNow()
		x.g.Wait()
	}()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	x.g.Go(func() { cancel(x.read(ctx)) })
	x.g.Go(func() { x.answers(ctx, cancel) })
	err := x.write(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// read passes on what the screen says. Its error is why the screen has gone.
func (x *socket) read(ctx context.Context) error {
	for {
		kind, b, err := x.conn.Read(ctx)
		if err != nil {
			return err
		}
		var m Up
		if kind != websocket.MessageText || json.Unmarshal(b, &m) != nil {
			m = Up{T: "?"}
		}
		select {
		case x.ups <- m:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// answers ends a connection whose other end has silently gone.
func (x *socket) answers(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(x.l.bounds.answer)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wait, done := context.WithTimeout(ctx, x.l.bounds.answer)
		err := x.conn.Ping(wait)
		done()
		if err != nil {
			cancel(fmt.Errorf("no answer: %w", err))
			return
		}
	}
}

func (x *socket) write(ctx context.Context) error {
	ping := time.NewTicker(x.l.bounds.ping)
	defer ping.Stop()
	hello := time.NewTimer(x.l.bounds.hello)
	defer hello.Stop()
	_, ticked := x.l.newest()
	ended := x.l.s.c.Access.Changed()
	changed := x.l.s.c.Feed.Changed() // always taken before the feed is read
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-x.l.closing:
			return x.conn.Close(websocket.StatusGoingAway, "the cloud is stopping")
		case m := <-x.ups:
			hello.Stop()
			if err = x.heard(ctx, m); err == nil && m.T == "hello" {
				err = x.follow(ctx)
			}
		case <-hello.C:
			return x.conn.Close(websocket.StatusPolicyViolation, "no hello")
		case <-changed:
			changed = x.l.s.c.Feed.Changed()
			err = x.follow(ctx)
		case <-ticked:
			var newest map[string][]byte
			newest, ticked = x.l.newest()
			err = x.showVitals(ctx, newest)
		case w := <-x.waves:
			err = x.send(ctx, websocket.MessageBinary, w.Encoded(encodeWave))
		case <-ended:
			ended = x.l.s.c.Access.Changed()
			err = x.check(ctx)
		case <-ping.C:
			if err = x.check(ctx); err == nil {
				err = x.tell(ctx, Ping{T: "ping", Now: x.l.s.c.Now()})
			}
		}
		if err != nil {
			return err
		}
	}
}

// check ends the socket when its session has ended. A screen that is looked at
// is in use, so it keeps its session from ending for want of use.
func (x *socket) check(ctx context.Context) error {
	_, err := x.l.s.c.Access.Authenticate(ctx, x.c.token)
	if err == nil {
		return nil
	}
	return x.fail(ctx, err, closeSignedOut)
}

// fail tells the screen why it is refused and closes.
func (x *socket) fail(ctx context.Context, err error, code websocket.StatusCode) error {
	if ctx.Err() != nil { // the screen has gone meanwhile
		return context.Cause(ctx)
	}
	p := x.l.s.problem(err)
	if !refused(err) {
		code = websocket.StatusInternalError
	}
	if told := x.tell(ctx, Failure{T: "error", Problem: *p}); told != nil {
		return told
	}
	x.conn.Close(code, p.Reason)
	return err
}

func (x *socket) heard(ctx context.Context, m Up) error {
	switch m.T {
	case "hello":
		return x.hello(ctx, m)
	case "wave":
		return x.wave(ctx, m)
	case "sound":
		x.l.s.c.Log.Info("a screen told of its sound", slog.String("person", x.c.Name), slog.Bool("on", m.On), slog.Any("wards", x.listed))
		return nil
	case "pong":
		return nil
	}
	p := newProblem(422, reasonInvalid, "The message is not one that the live socket knows.")
	return x.tell(ctx, Failure{T: "error", Problem: *p})
}

// hello begins, or begins anew: from a snapshot, or after a cursor.
func (x *socket) hello(ctx context.Context, m Up) error {
	wards, err := x.l.s.wardsFor(ctx, x.c, m.Wards)
	if err != nil {
		return x.fail(ctx, err, closeForbidden)
	}
	x.on, x.wards = false, wards
	if m.Cursor != "" {
		return x.resume(ctx, m.Cursor)
	}
	snapshot, cursor, err := x.l.s.snapshot(ctx, wards)
	if err != nil {
		return x.fail(ctx, err, websocket.StatusInternalError)
	}
	var listed []string
	for _, w := range snapshot.Wards {
		listed = append(listed, w.ID)
	}
	if err := x.list(ctx, listed); err != nil {
		return err
	}
	x.on, x.cursor = true, cursor
	return x.tell(ctx, snapshot)
}

// resume goes on after a cursor that the screen holds from before.
func (x *socket) resume(ctx context.Context, cursor string) error {
	n, err := strconv.ParseUint(cursor, 10, 63)
	if err == nil {
		_, _, err = x.l.s.c.Feed.After(ctx, n, x.wards)
	} else {
		err = feed.ErrGap
	}
	if errors.Is(err, feed.ErrGap) {
		return x.tell(ctx, Gap{T: "gap"})
	}
	if err != nil {
		return x.fail(ctx, err, websocket.StatusInternalError)
	}
	listed, err := x.l.s.wardNames(ctx, x.wards)
	if err != nil {
		return x.fail(ctx, err, websocket.StatusInternalError)
	}
	if err := x.list(ctx, listed); err != nil {
		return err
	}
	x.on, x.cursor = true, n
	return nil
}

// list notes which wards the screen sees, in the audit log once each.
func (x *socket) list(ctx context.Context, wards []string) error {
	for _, w := range wards {
		if err := x.audit(ctx, "live", "", w); err != nil {
			return x.fail(ctx, err, websocket.StatusInternalError)
		}
	}
	x.l.watch(wards, +1)
	x.l.watch(x.listed, -1)
	x.listed = wards
	return nil
}

func (x *socket) audit(ctx context.Context, what, on, ward string) error {
	key := what + " " + ward + " " + on
	if x.told[key] {
		return nil
	}
	if err := x.l.s.done(ctx, x.c, what, on, ward); err != nil {
		return err
	}
	x.told[key] = true
	return nil
}

// follow tells the screen everything that has changed after its cursor.
func (x *socket) follow(ctx context.Context) error {
	for x.on {
		rows, next, err := x.l.s.c.Feed.After(ctx, x.cursor, x.wards)
		if errors.Is(err, feed.ErrGap) {
			x.on = false
			return x.tell(ctx, Gap{T: "gap"})
		}
		if err != nil {
			return x.fail(ctx, err, websocket.StatusInternalError)
		}
		for _, row := range rows {
			if err := x.show(ctx, row); err != nil {
				return err
			}
			if !x.on {
				return nil
			}
		}
		if next == x.cursor {
			return nil
		}
		x.cursor = next
	}
	return nil
}

func (x *socket) show(ctx context.Context, row store.FeedRow) error {
	mine, err := concerns(row, x.wards)
	var b []byte
	if err == nil && mine {
		b, err = x.l.change(row)
	}
	if err != nil { // what it says is in the tables too, so a snapshot has it
		x.l.s.c.Log.Error("a change cannot be read, screens start over", slog.Uint64("seq", row.Seq), slog.Any("error", err))
		x.on = false
		return x.tell(ctx, Gap{T: "gap"})
	}
	if b == nil {
		return nil
	}
	if row.Kind == fleet.WardChange && !slices.Contains(x.listed, row.Ward) {
		if err := x.list(ctx, append(slices.Clone(x.listed), row.Ward)); err != nil {
			return err
		}
	}
	return x.send(ctx, websocket.MessageText, b)
}

func (x *socket) showVitals(ctx context.Context, newest map[string][]byte) error {
	if !x.on {
		return nil
	}
	for _, w := range x.listed {
		if b := newest[w]; b != nil {
			if err := x.send(ctx, websocket.MessageText, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// wave begins or ends to show a bed's waveforms.
func (x *socket) wave(ctx context.Context, m Up) error {
	key := [2]string{m.Ward, m.Bed}
	v := x.watched[key]
	if !m.On {
		if v != nil {
			v.Close()
			delete(x.watched, key)
		}
		return nil
	}
	if v != nil {
		return nil
	}
	if err := x.mayWatch(ctx, m); err != nil {
		return x.tell(ctx, Failure{T: "error", Problem: *x.l.s.problem(err)})
	}
	v = x.l.s.c.Hub.SubscribeWaves(m.Ward, m.Bed)
	x.watched[key] = v
	x.g.Go(func() { x.pass(v) })
	return nil
}

// pass hands a bed's waveforms to the writing goroutine while somebody looks.
// run closes every viewer before it waits.
func (x *socket) pass(v *feed.Viewer) {
	for {
		select {
		case <-v.Done:
			return
		case w := <-v.C:
			select {
			case x.waves <- w:
			case <-v.Done:
				return
			}
		}
	}
}

func (x *socket) mayWatch(ctx context.Context, m Up) error {
	if err := x.l.s.permit(ctx, x.c, access.PatientsRead, "watch", m.Bed, m.Ward); err != nil {
		return err
	}
	if len(x.watched) >= maxWatched {
		return newProblem(422, reasonInvalid, fmt.Sprintf("One screen shows the waveforms of at most %d beds.", maxWatched))
	}
	err := x.l.s.c.Store.View(ctx, func(tx *store.Tx) error {
		_, err := gatewayOf(tx, m.Ward, m.Bed)
		return err
	})
	if err != nil {
		return err
	}
	return x.audit(ctx, "watch", m.Bed, m.Ward)
}

func (x *socket) tell(ctx context.Context, m any) error {
	return x.send(ctx, websocket.MessageText, encode(m))
}

// send writes one message. A screen that does not take it in time is
// dropped: it comes back with its cursor.
func (x *socket) send(ctx context.Context, kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, x.l.bounds.write)
	defer cancel()
	return x.conn.Write(ctx, kind, b)
}
