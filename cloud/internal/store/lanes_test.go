package store

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"wardline/shared/link"
)

func TestALaneMovesOnlyFromWhereItStands(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "cloud.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	epoch := bytes.Repeat([]byte{1}, 16)
	at := func(seq uint64) link.Cursor { return link.Cursor{Seq: seq, Hash: link.Hash{byte(seq)}} }
	move := func(base, next link.Cursor) error {
		return s.Do(t.Context(), High, func(tx *Tx) error { return tx.MoveLane("gw", epoch, link.Vitals, base, next) })
	}
	for _, x := range []struct {
		what       string
		base, next link.Cursor
		moved      bool
	}{
		{"one that is not there yet, from the middle", at(5), at(6), false},
		{"one that is not there yet, from the start", link.Cursor{}, at(3), true},
		{"once more from the start", link.Cursor{}, at(3), false},
		{"on", at(3), at(7), true},
		{"from where it stood before", at(3), at(8), false},
		{"from the same seq with another hash", link.Cursor{Seq: 7, Hash: link.Hash{9}}, at(8), false},
	} {
		err := move(x.base, x.next)
		if x.moved && err != nil || !x.moved && !errors.Is(err, ErrLaneMoved) {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	err = s.View(t.Context(), func(tx *Tx) error {
		got, err := tx.LaneCursors("gw", epoch)
		if err == nil && (got[link.Vitals] != at(7) || got[link.Alerts] != link.Cursor{}) {
			t.Errorf("the lanes stand at %v", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
