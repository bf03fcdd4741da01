package access

import (
	"fmt"
	"strings"
	"testing"

	"wardline/cloud/internal/store"
)

func TestAChangeInTheMiddleOfTheLogShows(t *testing.T) {
	for name, tamper := range map[string]string{
		"a changed word":          `UPDATE audit SET outcome = 'done' WHERE seq = 5`,
		"a changed time":          `UPDATE audit SET at = at + 1 WHERE seq = 5`,
		"words moved over":        `UPDATE audit SET who = 'u', "from" = '5' || "from" WHERE seq = 5`,
		"a row taken out":         `DELETE FROM audit WHERE seq = 5`,
		"a row and its number":    `DELETE FROM audit WHERE seq IN (5, 6)`,
		"a changed hash":          `UPDATE audit SET hash = zeroblob(32) WHERE seq = 9`,
		"the newest row replaced": `UPDATE audit SET who = 'somebody' WHERE seq = 10`,
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			for i := range 10 {
				r := Row{Who: fmt.Sprintf("u%d", i+1), From: "192.0.2.7", What: "read alerts", Ward: "7w", Outcome: Refused, Why: "other_ward"}
				if err := w.Record(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			head, err := w.Verify(t.Context(), Head{}, 0)
			if err != nil || head.Rows != 10 || head.Seq != 10 || len(head.Hash) != 64 {
				t.Fatalf("before: %+v, %v", head, err)
			}
			if err := w.store.Do(t.Context(), store.Normal, func(tx *store.Tx) error { _, err := tx.Exec(tamper); return err }); err != nil {
				t.Fatal(err)
			}
			if head, err := w.Verify(t.Context(), Head{}, 0); err == nil || !strings.HasPrefix(err.Error(), "audit log:") {
				t.Errorf("after: %+v, %v", head, err)
			}
		})
	}
}

func TestTheLogIsStillWholeWhenRetentionTookItsBeginning(t *testing.T) {
	w := open(t)
	for range 6 {
		if err := w.Record(t.Context(), Row{Who: "a", What: "read alerts", Outcome: Done}); err != nil {
			t.Fatal(err)
		}
	}
	err := w.store.Do(t.Context(), store.Normal, func(tx *store.Tx) error { _, err := tx.Exec(`DELETE FROM audit WHERE seq < 4`); return err })
	if err != nil {
		t.Fatal(err)
	}
	if head, err := w.Verify(t.Context(), Head{}, 0); err != nil || head.Rows != 3 {
		t.Errorf("%+v, %v", head, err)
	}
}

func TestARowWhoseTransactionFailsIsNotInTheLog(t *testing.T) {
	w := open(t)
	failed := fmt.Errorf("no")
	err := w.store.Do(t.Context(), store.Normal, func(tx *store.Tx) error {
		if err := w.Audit(tx, Row{Who: "a", What: "acknowledge", Outcome: Done}); err != nil {
			return err
		}
		return failed
	})
	if err == nil {
		t.Fatal("it did not fail")
	}
	if err := w.Record(t.Context(), Row{Who: "b", What: "read alerts", Outcome: Done}); err != nil {
		t.Fatal(err)
	}
	if head, err := w.Verify(t.Context(), Head{}, 0); err != nil || head.Rows != 1 {
		t.Errorf("%+v, %v", head, err)
	}
}

func TestTheLogIsVerifiedInPagesFromAHeadThatIsHeld(t *testing.T) {
	w := open(t)
	for range 25 {
		if err := w.Record(t.Context(), Row{Who: "a", What: "read alerts", Outcome: Done}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := w.Verify(t.Context(), Head{}, 0)
	if err != nil || whole.Rows != 25 || whole.More {
		t.Fatalf("the whole: %+v, %v", whole, err)
	}
	var head Head
	for i, want := range []Head{{Rows: 10, Seq: 10, More: true}, {Rows: 10, Seq: 20, More: true}, {Rows: 5, Seq: 25}} {
		if head, err = w.Verify(t.Context(), head, 10); err != nil {
			t.Fatal(err)
		}
		want.Hash = head.Hash
		if head != want {
			t.Errorf("page %d is %+v, want %+v", i, head, want)
		}
	}
	if head.Hash != whole.Hash {
		t.Errorf("pages end with %s, the whole with %s", head.Hash, whole.Hash)
	}
	if at, err := w.Verify(t.Context(), head, 10); err != nil || at.Rows != 0 || at.Seq != 25 || at.More {
		t.Errorf("after the end: %+v, %v", at, err)
	}

	other := head
	other.Hash = strings.Repeat("0", 64)
	for name, held := range map[string]Head{"another hash": other, "a row that never was": {Seq: 26, Hash: head.Hash}} {
		if _, err := w.Verify(t.Context(), held, 10); err == nil || !strings.HasPrefix(err.Error(), "audit log:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What nobody sees who only walks the chain: the end is gone.
	err = w.store.Do(t.Context(), store.Normal, func(tx *store.Tx) error { _, err := tx.Exec(`DELETE FROM audit WHERE seq > 20`); return err })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Verify(t.Context(), head, 0); err == nil {
		t.Errorf("rows were taken from the end: %+v", got)
	}
}
