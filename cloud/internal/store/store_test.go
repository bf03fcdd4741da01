package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"wardline/shared/sqlite"
)

func open(t *testing.T) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "cloud.db"), nil)
}

func openAt(t *testing.T, path string, now func() int64) *Store {
	t.Helper()
	s, err := OpenAt(path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func do(t *testing.T, s *Store, f func(tx *Tx) error) {
	t.Helper()
	if err := s.Do(t.Context(), Normal, f); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, s *Store, f func(tx *Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func feedOf(t *testing.T, s *Store, cursor uint64) (kinds []string) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		rows, err := tx.FeedAfter(cursor, 1000)
		for _, r := range rows {
			kinds = append(kinds, r.Kind)
		}
		return err
	})
	return kinds
}

func note(kind string) func(tx *Tx) error {
	return func(tx *Tx) error {
		tx.Feed(kind, "", []byte("{}"))
		return nil
	}
}

// block holds the writer until release is called, and returns once it is held.
func block(t *testing.T, s *Store) (release func()) {
	t.Helper()
	held, free := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		s.Do(context.Background(), Normal, func(tx *Tx) error {
			close(held)
			<-free
			return nil
		})
	})
	<-held
	return func() { close(free); done.Wait() }
}

// waitQueued waits until n functions wait for the writer.
func waitQueued(s *Store, n int) {
	for len(s.high)+len(s.normal) < n {
	}
}

func TestWhatADoWroteIsThereAfterOpeningAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.db")
	s := openAt(t, path, nil)
	do(t, s, note("a"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := feedOf(t, openAt(t, path, nil), 0); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after opening again the feed holds %v", got)
	}
}

func TestAnErrorRollsBackOnlyItsOwnFunction(t *testing.T) {
	s := open(t)
	release := block(t, s)
	var wait sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		wait.Go(func() {
			errs[i] = s.Do(t.Context(), Normal, func(tx *Tx) error {
				tx.Feed(fmt.Sprint(i), "", []byte("{}"))
				if _, err := tx.Exec(`INSERT INTO ward (id, name) VALUES ($1, '')`, fmt.Sprint(i)); err != nil {
					return err
				}
				if i == 2 {
					return errors.New("no")
				}
				return nil
			})
		})
	}
	waitQueued(s, 5)
	release()
	wait.Wait()
	for i, err := range errs {
		if (err != nil) != (i == 2) {
			t.Errorf("function %d: %v", i, err)
		}
	}
	var wards int
	view(t, s, func(tx *Tx) error { return tx.QueryRow(`SELECT count(*) FROM ward`).Scan(&wards) })
	if got := feedOf(t, s, 0); wards != 4 || len(got) != 4 || slices.Contains(got, "2") {
		t.Errorf("kept %d wards and the feed %v", wards, got)
	}
}

func TestAFunctionThatFailsAloneLeavesNothing(t *testing.T) {
	s := open(t)
	no := errors.New("no")
	err := s.Do(t.Context(), Normal, func(tx *Tx) error {
		if err := tx.PutVitals([]Summary{summaryAt("12", 10)}); err != nil {
			return err
		}
		return no
	})
	if !errors.Is(err, no) {
		t.Errorf("Do returned %v, want its function's error", err)
	}
	if got := vitalsOf(t, s, "12", 0, 100); len(got) != 0 {
		t.Errorf("it left %v", got)
	}
	do(t, s, func(tx *Tx) error { return tx.PutVitals([]Summary{summaryAt("12", 20)}) })
	if got := vitalsOf(t, s, "12", 0, 100); len(got) != 1 {
		t.Errorf("the next one left %d rows, want 1", len(got))
	}
}

func TestUrgentFunctionsGoFirst(t *testing.T) {
	s := open(t)
	release := block(t, s)
	var wait sync.WaitGroup
	for i, u := range []Urgency{Normal, Normal, High} {
		wait.Go(func() { s.Do(context.Background(), u, note(fmt.Sprint(u))) })
		waitQueued(s, i+1)
	}
	release()
	wait.Wait()
	if got := feedOf(t, s, 0); !slices.Equal(got, []string{"1", "0", "0"}) {
		t.Errorf("the order was %v, want the urgent one first", got)
	}
}

func TestACallerThatGoesAwayWhileItWaitsLeavesNothing(t *testing.T) {
	s := open(t)
	release := block(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { gone <- s.Do(ctx, Normal, note("gone")) }()
	waitQueued(s, 1)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	release()
	do(t, s, note("stayed"))
	if got := feedOf(t, s, 0); !slices.Equal(got, []string{"stayed"}) {
		t.Errorf("the feed holds %v", got)
	}
}

func TestAReaderCannotPassOverWhatCommitsLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.db")
	a, b := openAt(t, path, nil), openAt(t, path, nil) // two processes, as it were
	held, free := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		a.Do(context.Background(), Normal, func(tx *Tx) error {
			tx.Feed("began first", "", []byte("{}"))
			close(held)
			<-free
			return nil
		})
	})
	<-held
	late := make(chan error)
	go func() { late <- b.Do(context.Background(), Normal, note("began second")) }()
	if got := feedOf(t, b, 0); len(got) != 0 {
		t.Errorf("while the first is open a reader sees %v", got)
	}
	close(free)
	wait.Wait()
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	if got := feedOf(t, b, 0); !slices.Equal(got, []string{"began first", "began second"}) {
		t.Errorf("the feed holds %v", got)
	}
}

func TestACommitTellsTheFeedsHead(t *testing.T) {
	s := open(t)
	var told []uint64
	s.OnCommit(func(last uint64) { told = append(told, last) })
	do(t, s, note("a"))
	do(t, s, func(tx *Tx) error { return errors.Join(note("b")(tx), note("c")(tx)) })
	do(t, s, func(*Tx) error { return nil })
	s.Close() // the hook runs after Do returns
	if !slices.Equal(told, []uint64{1, 3}) {
		t.Errorf("told %v, want [1 3]", told)
	}
}

func TestACursorThatIsTooOldOrFromElsewhereIsTold(t *testing.T) {
	s := open(t)
	for range 10 {
		do(t, s, note("x"))
	}
	do(t, s, func(tx *Tx) error { _, err := tx.TrimFeed(0, 4, 100); return err })
	for cursor, wantGap := range map[uint64]bool{0: true, 5: true, 6: false, 10: false, 11: true} {
		view(t, s, func(tx *Tx) error {
			rows, err := tx.FeedAfter(cursor, 100)
			if errors.Is(err, ErrGap) != wantGap {
				t.Errorf("after %d: %d rows, %v; want a gap: %v", cursor, len(rows), err, wantGap)
			}
			return nil
		})
	}
}

func TestAViewCannotWrite(t *testing.T) {
	s := open(t)
	err := s.View(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO ward (id, name) VALUES ('7w', '')`)
		return err
	})
	if err == nil {
		t.Error("a view wrote a row")
	}
	do(t, s, note("the connection is still of use"))
	view(t, s, func(tx *Tx) error { _, err := tx.Wards(); return err })
}

func TestDamageStopsTheStoreAloud(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.db")
	s := openAt(t, path, nil)
	for range 2000 {
		do(t, s, note("x"))
	}
	s.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	stat, _ := f.Stat()
	junk := make([]byte, 4096)
	for at := int64(8192); at < stat.Size(); at += 4096 { // all but the schema
		f.WriteAt(junk, at)
	}
	f.Close()
	s, err = Open(path)
	if err == nil {
		defer s.Close()
		err = s.View(t.Context(), func(tx *Tx) error { _, err := tx.FeedAfter(0, 5000); return err })
		select {
		case <-s.Damaged():
		default:
			t.Error("nobody was told of the damage")
		}
		if again := s.Do(t.Context(), Normal, note("y")); !errors.Is(again, ErrDamaged) {
			t.Errorf("the next write: %v, want ErrDamaged", again)
		}
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("reading a damaged database: %v, want ErrDamaged", err)
	}
}

func TestANewerDatabaseIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.db")
	s := openAt(t, path, nil)
	do(t, s, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO schema_migration (version, name, checksum) VALUES (9999, '9999_future.sql', '')`)
		return err
	})
	s.Close()
	if _, err := Open(path); !errors.Is(err, sqlite.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

func TestACloseRefusesWhatComesAfter(t *testing.T) {
	s := open(t)
	s.Close()
	if err := s.Do(t.Context(), High, note("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Do: %v", err)
	}
	if err := s.View(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View: %v", err)
	}
}

func TestABackupIsTakenWhileTheStoreRunsAndRestoredWhereNoneIs(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "cloud.db"), filepath.Join(dir, "copy.db")
	s := openAt(t, path, nil)
	do(t, s, note("kept"))
	if err := Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	do(t, s, note("after"))
	if err := Restore(t.Context(), copied, path); !errors.Is(err, ErrExists) {
		t.Errorf("restoring over a database: %v, want ErrExists", err)
	}
	other := filepath.Join(dir, "other.db")
	if err := Restore(t.Context(), copied, other); err != nil {
		t.Fatal(err)
	}
	if got := feedOf(t, openAt(t, other, nil), 0); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("restored %v", got)
	}
	junk := filepath.Join(dir, "junk")
	os.WriteFile(junk, []byte("this is no database, whatever its name says, and long enough to be one"), 0o600)
	if err := Restore(t.Context(), junk, filepath.Join(dir, "third.db")); err == nil {
		t.Error("junk was restored")
	}
	if _, err := os.Stat(filepath.Join(dir, "third.db")); err == nil {
		t.Error("junk left a database")
	}
}
