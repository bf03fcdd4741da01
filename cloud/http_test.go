package cloud

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wardline/cloud/internal/fleet"
)

// pipes is a listener of connections in memory, whose deadlines are a bubble's.
type pipes struct {
	conns chan net.Conn
	end   context.CancelFunc
	done  <-chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { p.end(); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serving is one connection to a server as both ports have it, in a bubble.
func serving(t *testing.T, h http.Handler, f func(conn net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		l := pipes{make(chan net.Conn), end, ctx.Done()}
		s := Config{Log: slog.New(slog.DiscardHandler)}.httpServer(h, nil)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		here, there := net.Pipe()
		l.conns <- there
		f(here)
		here.Close()
		s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended with %v", err)
		}
	})
}

func TestARequestWhoseBodyDoesNotComeIsGivenUp(t *testing.T) {
	f := fleet.New(fleet.Config{Log: slog.New(slog.DiscardHandler)})
	serving(t, f.Handler(), func(conn net.Conn) {
		begun := time.Now()
		fmt.Fprintf(conn, "POST /enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		said, err := io.ReadAll(conn)
		if took := time.Since(begun); took > readWithin+time.Second || err != nil {
			t.Errorf("given up after %s, %v", took, err)
		}
		if !strings.HasPrefix(string(said), "HTTP/1.1 408 ") {
			t.Errorf("answered %q", said)
		}
	})
}

func TestAnAnswerThatNobodyReadsIsGivenUp(t *testing.T) {
	var wrote chan error // of the bubble, in which it must be made
	serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, 1<<20))
		wrote <- err
	}), func(conn net.Conn) {
		wrote = make(chan error, 1)
		begun := time.Now()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := <-wrote; err == nil {
			t.Error("it was written to nobody")
		}
		if took := time.Since(begun); took > writeWithin+time.Second {
			t.Errorf("given up after %s", took)
		}
	})
}

func TestAConnectionThatWasTakenOverOutlastsTheBoundsOfARequest(t *testing.T) {
	serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack() // as a WebSocket's handshake does
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := buffered.ReadString('\n')
		fmt.Fprintf(conn, "heard %q, %v\n", line, err)
	}), func(conn net.Conn) {
		fmt.Fprintf(conn, "GET /link HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(time.Hour)
		fmt.Fprintf(conn, "hello\n")
		if said, err := bufio.NewReader(conn).ReadString('\n'); said != "heard \"hello\\n\", <nil>\n" {
			t.Errorf("got %q, %v", said, err)
		}
	})
}
