package intake

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// pair is both ends of a TCP connection.
func pair(t *testing.T) (*wire, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return newWire(near, time.Second), far
}

func TestWhatWasWrittenIsSentInOrderBeforeClose(t *testing.T) {
	w, far := pair(t)
	var want []byte
	for i := range 5000 {
		p := bytes.Repeat([]byte{byte(i)}, i%40+1)
		want = append(want, p...)
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	go w.Close()
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, %v; want %d", len(got), err, len(want))
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("something was written after Close")
	}
}

func TestAWriteToAPeerThatTakesNothingFailsInTime(t *testing.T) {
	w, far := pair(t)
	w.timeout = 50 * time.Millisecond
	chunk := make([]byte, 64<<10)
	var err error
	for range 1000 { // more than the kernel and the wire hold
		if _, err = w.Write(chunk); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("64 MB went to a peer that takes nothing")
	}
	far.Close()
	w.Close()
}
