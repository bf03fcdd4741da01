package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Agent is what the socket offers.
type Agent struct {
	Status func(context.Context) (Status, error)
	// Tail yields one JSON object a thing that happens, until ctx ends. A reader
	// that is too slow loses the oldest of what waits for it, and is told how many.
	Tail func(context.Context, func(line []byte) error) error
}

// Listen opens the socket at path. A socket that a killed agent left behind is
// replaced; one that a live agent answers on is an error, so that no two agents
// share a data folder. on is net.Listen, or what stands in for it. Run closes it.
func Listen(path string, on func(network, address string) (net.Listener, error)) (net.Listener, error) {
	l, err := listen(path, on)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return l, nil
}

// Run serves the socket until ctx ends.
func Run(ctx context.Context, l net.Listener, a Agent) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := a.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s) // the reader is gone when this fails
	})
	mux.HandleFunc("GET /tail", func(w http.ResponseWriter, r *http.Request) {
		flush := http.NewResponseController(w).Flush
		w.Header().Set("Content-Type", "application/x-ndjson")
		flush()
		a.Tail(r.Context(), func(line []byte) error {
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			return flush()
		})
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

func listen(path string, on func(network, address string) (net.Listener, error)) (net.Listener, error) {
	l, err := on("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, dialErr := net.Dial("unix", path); dialErr == nil {
			c.Close()
			return nil, fmt.Errorf("%s: another agent runs on this data folder", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = on("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) { // on may keep it elsewhere
		l.Close()
		return nil, err
	}
	return l, nil
}

// ErrStopped means that the agent ended while it was listened to.
var ErrStopped = errors.New("the agent has stopped")

// ErrNotRunning means that no agent answers on the socket.
var ErrNotRunning = errors.New("no such socket")

// Client talks to the agent behind a control socket.
type Client struct {
	path string
	http http.Client
}

// Dial returns a client of the socket at path. It does not connect yet.
func Dial(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Status asks the agent how it is. It fails with ErrNotRunning when no agent
// answers, and with fs.ErrPermission when this account may not ask.
func (c *Client) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := c.get(ctx, "/status")
	if err != nil {
		return Status{}, err
	}
	defer body.Close()
	var s Status
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return Status{}, fmt.Errorf("read the agent's status: %w", err)
	}
	return s, nil
}

// Tail copies what happens at the agent to w, a JSON object a line, until ctx
// ends. It fails with ErrStopped when the agent stops.
func (c *Client) Tail(ctx context.Context, w io.Writer) error {
	body, err := c.get(ctx, "/tail")
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return ErrStopped
	}
	return fmt.Errorf("follow the agent: %w", err)
}

func (c *Client) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w", c.path, fs.ErrPermission)
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		defer resp.Body.Close()
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, fmt.Errorf("the agent answered %s: %s", resp.Status, why)
	}
	return resp.Body, nil
}
