package cloud

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"wardline/cloud/internal/api"
	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

func TestWhatGaveWayIsToldByTheOperatorsCommandAndItsAge(t *testing.T) {
	now := time.Now().UnixMicro()
	c := Config{Data: t.TempDir(), Now: func() int64 { return now }, Log: slog.New(slog.DiscardHandler)}.withDefaults()
	a, err := OpenAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if _, _, err := a.Status(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("before a cloud has run: %v", err)
	}
	s, ca, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p := join(t.Context(), c, s, ca, "8444")
	err = s.Do(t.Context(), store.Normal, func(tx *store.Tx) error {
		tx.Feed("gateway", "", []byte("{}"))
		tx.Feed("gateway", "", []byte("{}"))
		odd := store.OddRecord{Gateway: "gw-1", Epoch: bytes.Repeat([]byte{1}, 16), Lane: link.Alerts, Record: link.Record{Seq: 1}}
		return errors.Join(
			tx.PutGateway(store.Gateway{ID: "gw-1", Link: store.LinkUp}),
			tx.PutGateway(store.Gateway{ID: "gw-2", Link: store.LinkDown}),
			tx.PutGateway(store.Gateway{ID: "gw-3", Link: store.LinkDown, RevokedAt: 1}),
			tx.PutOddRecord(odd))
	})
	if err != nil {
		t.Fatal(err)
	}
	p.hub.PutLive([]string{"7w"}, &linkpb.Live{Beds: []*linkpb.BedLive{{Ward: "8w", Bed: "1"}}}) // which is not the gateway's
	now += time.Minute.Microseconds()
	if err := p.noteStatus(t.Context()); err != nil {
		t.Fatal(err)
	}
	now += 7 * time.Second.Microseconds()

	got, age, err := a.Status(t.Context())
	if err != nil || age != 7*time.Second {
		t.Fatalf("%s ago, %v", age, err)
	}
	if got.Database == 0 || got.Log == 0 || got.At-got.Since != time.Minute.Microseconds() {
		t.Errorf("told %+v", got)
	}
	want := Status{
		At: got.At, Since: got.Since, Database: got.Database, Log: got.Log,
		Version: Version, Gateways: api.StatusGateways{Connected: 1, Known: 2}, Dropped: 1, Odd: 1, FeedRows: 2,
	}
	if got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
}
