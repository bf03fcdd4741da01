package main

import (
	"context"
	"errors"
	"net"
	"sync"
)

// wire is the network between gateway and cloud, which the script can cut.
type wire struct {
	mu    sync.Mutex // guards what follows; never held across I/O
	isCut bool
	open  map[net.Conn]struct{}
}

var errCut = errors.New("the demonstration has cut the link")

// dial connects as the network does, while the wire is whole.
func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.broken() {
		return nil, errCut
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[net.Conn]struct{}{}
	}
	w.open[c] = struct{}{}
	return &strand{c, w}, nil
}

func (w *wire) broken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isCut
}

// cut breaks every connection and lets none be made, or ends that.
func (w *wire) cut(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = yes
	if yes {
		for c := range w.open {
			c.Close()
		}
		clear(w.open)
	}
}

// strand is one connection; it is forgotten when it is closed.
type strand struct {
	net.Conn
	wire *wire
}

func (s *strand) Close() error {
	s.wire.mu.Lock()
	delete(s.wire.open, s.Conn)
	s.wire.mu.Unlock()
	return s.Conn.Close()
}
