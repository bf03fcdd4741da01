//go:build system

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A browser is a headless Chromium, driven through browser.mjs.
type browser struct {
	node *proc

	mu      sync.Mutex // guards what follows
	next    int
	answers map[int]chan reply
}

type reply struct {
	ID    int
	Value json.RawMessage
	Error string
}

// newBrowser starts Chromium. make setup installs what it needs. With "hold-sound"
// it holds sound back as it does for people.
func newBrowser(t testing.TB, options ...string) *browser {
	t.Helper()
	if _, err := os.Stat("node_modules"); err != nil {
		t.Fatal("the browser's modules are missing: deploy/setup.sh installs them")
	}
	b := &browser{answers: map[int]chan reply{}}
	b.node = start(t, "chromium", "node", append([]string{"browser.mjs"}, options...)...)
	t.Cleanup(func() { b.node.in.Close(); b.node.wait(20 * time.Second) })
	go b.read()
	return b
}

// read hands answers out until the browser is gone.
func (b *browser) read() {
	lines := bufio.NewScanner(b.node.follow())
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r reply
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue
		}
		b.mu.Lock()
		if c, ok := b.answers[r.ID]; ok {
			c <- r
			delete(b.answers, r.ID)
		}
		b.mu.Unlock()
	}
}

// A screen is one page of the browser, with cookies of its own.
type screen struct {
	t    testing.TB
	b    *browser
	name string
}

// screen opens a page the size of a ward's wall.
func (b *browser) screen(t testing.TB, name string) *screen {
	t.Helper()
	s := &screen{t, b, name}
	s.do("open", nil, nil)
	return s
}

// in is the same screen for a part of the test, which fails by itself.
func (s *screen) in(t testing.TB) *screen { out := *s; out.t = t; return &out }

type args map[string]any

func (s *screen) do(what string, a args, v any) {
	s.t.Helper()
	if err := s.try(what, a, v); err != nil {
		s.shot("failed")
		s.t.Fatalf("the page of %s: %s %v: %v", s.name, what, a, err)
	}
}

func (s *screen) try(what string, a args, v any) error {
	c := make(chan reply, 1)
	s.b.mu.Lock()
	s.b.next++
	id := s.b.next
	s.b.answers[id] = c
	s.b.mu.Unlock()
	command := args{"id": id, "page": s.name, "do": what}
	for k, x := range a {
		command[k] = x
	}
	line, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := s.b.node.in.Write(append(line, '\n')); err != nil {
		return err
	}
	select {
	case r := <-c:
		if r.Error != "" {
			return fmt.Errorf("%s", r.Error)
		}
		if v != nil {
			return json.Unmarshal(r.Value, v)
		}
		return nil
	case <-s.b.node.gone:
		return fmt.Errorf("the browser is gone: %s", s.b.node.err.end())
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("no answer")
	}
}

func (s *screen) visit(url string) { s.t.Helper(); s.do("go", args{"url": url}, nil) }

// see waits until an element that matches the selector and holds the text shows.
func (s *screen) see(within time.Duration, selector, text string) {
	s.t.Helper()
	s.do("see", args{"at": selector, "text": text, "within": within.Milliseconds()}, nil)
}

func (s *screen) gone(within time.Duration, selector, text string) {
	s.t.Helper()
	s.do("gone", args{"at": selector, "text": text, "within": within.Milliseconds()}, nil)
}

func (s *screen) click(selector, text string) {
	s.t.Helper()
	s.do("click", args{"at": selector, "text": text}, nil)
}

func (s *screen) texts(selector string) (out []string) {
	s.t.Helper()
	s.do("texts", args{"at": selector}, &out)
	return out
}

// accessible fails the test for each serious or critical fault that axe finds.
func (s *screen) accessible(what string) {
	s.t.Helper()
	var found []string
	s.do("axe", nil, &found)
	for _, f := range found {
		s.t.Errorf("axe on %s: %s", what, f)
	}
}

// faultless fails the test when the page threw or logged an error.
func (s *screen) faultless() {
	s.t.Helper()
	var faults []string
	s.do("faults", nil, &faults)
	for _, f := range faults {
		s.t.Errorf("the page of %s: %s", s.name, f)
	}
}

// shots is where pictures of the page go: E2E_SHOTS, or a folder of their own
// that is left behind.
var shots = sync.OnceValues(func() (string, error) {
	if folder := os.Getenv("E2E_SHOTS"); folder != "" {
		return folder, os.MkdirAll(folder, 0o755)
	}
	return os.MkdirTemp("", "wardline-e2e-shots")
})

// shot takes a picture for people to look at.
func (s *screen) shot(what string) {
	s.t.Helper()
	folder, err := shots()
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(folder, s.name+"-"+what+".png")
	if err := s.try("shot", args{"file": file}, nil); err != nil {
		s.t.Logf("no picture of %s: %v", what, err)
		return
	}
	s.t.Logf("picture: %s", file)
}
