package local

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Every is how often the heartbeat is published.
const Every = 5 * time.Second

// Config joins the package to its surroundings with plain functions.
type Config struct {
	Gateway string
	Wards   []string
	// Publish sends one retained message and does not wait; messages are sent in
	// order. An error means that it was not taken.
	Publish func(topic string, payload []byte) error
	// Link says whether the cloud is connected, and since when (µs UTC).
	Link func() (up bool, since int64)
	Now  func() int64 // µs UTC
}

// Station shows beds' alerts and the heartbeat on the ward's topics.
type Station struct {
	c Config

	mu    sync.Mutex // held while publishing, which does not block, so that the newest is last
	shown map[string][]byte
	owed  map[string]bool // topics whose newest payload was not taken
}

// New makes a Station that shows nothing yet.
func New(c Config) *Station {
	return &Station{c: c, shown: map[string][]byte{}, owed: map[string]bool{}}
}

// Show publishes a bed's payload, made by Alerts, and remembers it. At the start
// call it for every bed, so that nothing of an earlier life stays retained.
func (s *Station) Show(ward, bed string, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	topic := AlertsTopic(ward, bed)
	s.shown[topic] = payload
	s.publish(topic, payload)
}

// publish sends a bed's payload, or remembers that it is owed.
func (s *Station) publish(topic string, payload []byte) {
	if err := s.c.Publish(topic, payload); err != nil {
		s.owed[topic] = true
		return
	}
	delete(s.owed, topic)
}

// Connected publishes everything again. Call it after each connect: what was on
// its way when the connection broke may be lost.
func (s *Station) Connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beat()
	for _, topic := range slices.Sorted(maps.Keys(s.shown)) {
		s.publish(topic, s.shown[topic])
	}
}

// Run publishes the heartbeat, and what was owed, every 5 s until ctx ends. The
// last word to each ward is Will, which whoever owns the connection publishes then.
func (s *Station) Run(ctx context.Context) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		s.mu.Lock()
		s.beat()
		for topic := range s.owed {
			s.publish(topic, s.shown[topic])
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// beat publishes the heartbeat; one that is not taken is made up for by the next.
func (s *Station) beat() {
	up, since := s.c.Link()
	h := Heartbeat{At: s.c.Now(), Gateway: s.c.Gateway, Watching: true, Link: up, LinkSince: since, EveryS: int(Every.Seconds())}
	for _, w := range s.c.Wards {
		if err := s.c.Publish(AgentTopic(w), encode(h)); err != nil {
			return
		}
	}
}
