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
	until map[string]int64 // Mono, µs: when what happened is over
	queue []ward.Input
}

func newFacts() *facts { return &facts{known: map[string]bool{}, until: map[string]int64{}} }

func (f *facts) set(name string, on bool, text string) {
	f.put(name, on, ward.Input{Fact: &ward.Fact{Name: name, On: on, Text: text}})
}

// happened sets a fact that is over at an instant (Mono, µs), unless it happens
// again before.
func (f *facts) happened(name, text string, until int64) {
	f.set(name, true, text)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until[name] = until
}

// pass ends what is over now (Mono, µs).
func (f *facts) pass(now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, until := range f.until {
		if now >= until {
			delete(f.until, name)
			f.known[name] = false
			f.queue = append(f.queue, ward.Input{Fact: &ward.Fact{Name: name}})
		}
	}
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
