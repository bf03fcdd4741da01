package agent

import (
	"sync"

	"wardline/agent/internal/ward"
)

// facts are what the shell learns about the gateway and its relays, on their way
// to the ward. Any goroutine may set them; the loop takes them. A fact is passed
// on when it changes, not when it is said again.
type facts struct {
	mu    sync.Mutex // guards what follows
	known map[string]bool
	queue []ward.Input
}

func newFacts() *facts { return &facts{known: map[string]bool{}} }

func (f *facts) set(name string, on bool, text string) {
	f.put(name, on, ward.Input{Fact: &ward.Fact{Name: name, On: on, Text: text}})
}

func (f *facts) relay(relay string, offline bool) {
	f.put("relay "+relay, offline, ward.Input{Fact: &ward.Fact{Name: "relay_offline", Relay: relay, On: offline}})
}

func (f *facts) connected(yes bool) {
	f.put("connected", yes, ward.Input{Connected: yes, Disconnected: !yes})
}

func (f *facts) put(key string, on bool, in ward.Input) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, told := f.known[key]
	if told && was == on || !told && !on && in.Fact != nil && in.Fact.Relay == "" {
		return
	}
	f.known[key] = on
	f.queue = append(f.queue, in)
}

// changed takes what was learnt since the last call, in order.
func (f *facts) changed() []ward.Input {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queue
	f.queue = nil
	return q
}
