package uplink

import (
	"context"
	"fmt"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// loop writes what there is to write and waits for more.
func (s *session) loop(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		if err := s.writeAll(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.in.signal:
		case <-s.waves.signal:
		case <-s.c.Wake:
			s.sender.Grow(s.c.Outbox.Lanes())
		case <-tick.C:
			if err := s.tick(); err != nil {
				return err
			}
		}
	}
}

// tick is what happens about once a second.
func (s *session) tick() error {
	now := s.mono()
	if at, out := s.sender.StallsAt(); out && now >= at {
		return errStalled
	}
	if now-s.pinged >= pingEvery.Microseconds() {
		s.ping, s.pinged = true, now
	}
	s.live = s.c.Live != nil
	s.sender.Grow(s.c.Outbox.Lanes())
	s.state.RTT = time.Duration(s.sender.RTT()) * time.Microsecond
	s.state.Window = s.sender.Window()
	s.report()
	return nil
}

// writeAll writes message after message until there is nothing to write, and
// looks before each of them at what came meanwhile.
func (s *session) writeAll(ctx context.Context) error {
	for {
		if err := s.takeMail(); err != nil {
			return err
		}
		select {
		case <-s.c.Wake:
			s.sender.Grow(s.c.Outbox.Lanes())
		default:
		}
		m, err := s.next()
		if err != nil || m == nil {
			return err
		}
		if err := s.write(ctx, m); err != nil {
			return err
		}
	}
}

// takeMail acts on what the reader and the commands left.
func (s *session) takeMail() error {
	m := s.in.take()
	if m.err != nil {
		return m.err
	}
	for _, a := range m.acks {
		if a == nil {
			continue
		}
		before := s.sender.Durable(link.Lane(a.Lane))
		news, err := s.sender.Ack(s.mono(), a)
		if err != nil {
			return err
		}
		if news {
			s.state.AckedRecords += a.Through - before
			if err := s.forget(link.Lane(a.Lane), a.Through); err != nil {
				return err
			}
		}
	}
	if m.ping != nil {
		s.pong = &linkpb.Pong{At: m.ping.At}
	}
	s.results = append(s.results, m.results...)
	return nil
}

func (r *runner) forget(lane link.Lane, through uint64) error {
	if through == 0 {
		return nil
	}
	if err := r.c.Outbox.Forget(lane, through); err != nil {
		return fmt.Errorf("forget %s up to %d: %w", lane, through, err)
	}
	return nil
}

// next is the message to write now, nil for none: an alert before all else,
// then the small ones, then live values; waves and the lanes take turns.
func (s *session) next() (proto.Message, error) {
	switch {
	case s.sender.Alert():
		return s.batch()
	case s.pong != nil:
		m := s.pong
		m.Now, s.pong = s.c.Now(), nil
		return m, nil
	case s.ping:
		s.ping = false
		return &linkpb.Ping{At: s.c.Now()}, nil
	case len(s.results) > 0:
		m := s.results[0]
		s.results = s.results[1:]
		return m, nil
	case s.live:
		s.live = false
		if m := s.c.Live(); m != nil {
			return m, nil
		}
	}
	if !s.waved || !s.sender.Ready() {
		if w := s.waves.take(); w != nil {
			s.waved = true
			return w, nil
		}
	}
	s.waved = false
	return s.batch()
}

func (s *session) batch() (proto.Message, error) {
	b, err := s.sender.Next(s.c.Now(), s.mono(), s.c.Outbox.After)
	if err != nil || b == nil {
		return nil, err
	}
	s.state.SentRecords += uint64(b.Count)
	return b, nil
}

// write writes one message. A live value or wave that does not fit a message is
// dropped; nothing else can be too long.
func (s *session) write(ctx context.Context, m proto.Message) error {
	b, err := link.Encode(m)
	if err != nil {
		switch m.(type) {
		case *linkpb.Live, *linkpb.Wave:
			return nil
		}
		return err
	}
	if err := s.conn.Write(ctx, websocket.MessageBinary, b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	s.state.SentBytes += uint64(len(b))
	return nil
}
