package cloud

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wardline/cloud/internal/store"
	"wardline/shared/pki"
)

// used is the data folder of a cloud that has run, with a gateway.
func used(t *testing.T) Config {
	t.Helper()
	c := Config{Data: t.TempDir()}
	a, err := OpenAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	err = a.store.Do(t.Context(), store.High, func(tx *store.Tx) error {
		return tx.PutGateway(store.Gateway{ID: "gw-7w", Site: "main", Wards: []string{"7w"}, Link: store.LinkNever})
	})
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c Config) path(name string) string { return filepath.Join(c.Data, name) }

// contents reads what must not change.
func contents(t *testing.T, c Config) string {
	t.Helper()
	var out bytes.Buffer
	for _, name := range []string{caFile, caKeyFile} {
		text, err := os.ReadFile(c.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		out.WriteString(name + ":")
		out.Write(text)
	}
	return out.String()
}

// wantStop has every way into the folder fail with words, and change nothing.
func wantStop(t *testing.T, c Config, words string) {
	t.Helper()
	before := contents(t, c)
	_, opened := OpenAdmin(c)
	_, _, migrated := Migrate(c)
	ways := map[string]error{"serve": Run(t.Context(), c), "a command": opened}
	if !strings.Contains(words, "knows gateways") { // which only the open database tells
		ways["migrate"] = migrated
	}
	for way, err := range ways {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %q", way, err, words)
		}
	}
	if contents(t, c) != before {
		t.Error("the CA was changed")
	}
}

func remove(t *testing.T, c Config, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(c.path(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALostKeyOfTheCAStopsEverythingAndNoCAIsMade(t *testing.T) {
	c := used(t)
	remove(t, c, caKeyFile)
	wantStop(t, c, "ca.pem is in "+c.Data+" but ca-key.pem is not: put the key back from where you keep it. Nothing was changed")
}

func TestALostCertificateOfTheCAStopsEverything(t *testing.T) {
	c := used(t)
	remove(t, c, caFile)
	wantStop(t, c, "ca-key.pem is in "+c.Data+" but ca.pem is not: put the certificate back")
}

func TestACAWhoseFilesDoNotMatchStopsServing(t *testing.T) {
	c, other := used(t), used(t)
	if err := os.Rename(other.path(caFile), c.path(caFile)); err != nil {
		t.Fatal(err)
	}
	before := contents(t, c)
	_, err := OpenAdmin(c)
	if err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("got %v", err)
	}
	if contents(t, c) != before {
		t.Error("a file was changed")
	}
}

func TestADatabaseWithGatewaysIsNotServedWithANewCA(t *testing.T) {
	c := used(t)
	remove(t, c, caFile, caKeyFile)
	wantStop(t, c, "knows gateways (1) but ca.pem and ca-key.pem, which they trust, are not there")
}

func TestACAThatWasLostForGoodIsReplacedOnlyWhenAskedFor(t *testing.T) {
	c := used(t)
	before := contents(t, c)
	if err := NewCA(t.Context(), c); err == nil || !strings.Contains(err.Error(), "there is a CA in") || contents(t, c) != before {
		t.Errorf("over a CA: %v", err)
	}
	remove(t, c, caFile)
	if err := NewCA(t.Context(), c); err == nil || !strings.Contains(err.Error(), "ca.pem is not") {
		t.Errorf("over half a CA: %v", err)
	}
	remove(t, c, caKeyFile)
	if err := NewCA(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a, err := OpenAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if list, err := a.Gateways(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("gateways %v, %v", list, err)
	}
	err = a.store.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.AuditAfter(0, 100)
		if len(rows) != 1 || rows[0].What != "make CA" || rows[0].Who != Operator {
			t.Errorf("audited %+v", rows)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := NewCA(t.Context(), Config{Data: t.TempDir()}); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("in an empty folder: %v", err)
	}
}

func TestALostDatabaseStopsUntilABackupIsRestored(t *testing.T) {
	c := used(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := store.Backup(t.Context(), c.Database(), backup); err != nil {
		t.Fatal(err)
	}
	remove(t, c, "cloud.db")
	const words = "but no database cloud.db: restore a backup (wardline-cloud restore FILE), or, for a new beginning, move ca.pem and ca-key.pem away"
	wantStop(t, c, words)
	// A copy without its write-ahead log is as good as none.
	if err := os.WriteFile(c.Database(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAdmin(c); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("an empty file: %v", err)
	}
	if _, _, err := Migrate(c); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("migrating an empty file: %v", err)
	}
	remove(t, c, "cloud.db")
	if err := Restore(t.Context(), c, backup); err != nil {
		t.Fatal(err)
	}
	if err := start(t, c.Data).stop(); err != nil {
		t.Error(err)
	}
}

func TestABackupIsRestoredAlsoBeforeTheCAIsPutBack(t *testing.T) {
	c := used(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := store.Backup(t.Context(), c.Database(), backup); err != nil {
		t.Fatal(err)
	}
	fresh := Config{Data: filepath.Join(t.TempDir(), "data")}
	if err := Restore(t.Context(), fresh, backup); err != nil {
		t.Fatal(err)
	}
	wantStop(t, fresh, "knows gateways (1)")
	for _, name := range []string{caFile, caKeyFile} {
		if err := os.Rename(c.path(name), fresh.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := start(t, fresh.Data).stop(); err != nil {
		t.Error(err)
	}
}

// A first start that was cut off at any point is gone on with by the next.
func TestPromise13AFirstStartThatWasCutOffLocksNobodyOut(t *testing.T) {
	for point, cut := range map[string]func(t *testing.T, c Config){
		"an empty database file": func(t *testing.T, c Config) {
			if err := os.WriteFile(c.Database(), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a database and no CA": func(t *testing.T, c Config) {
			s, err := store.Open(c.Database())
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"the CA's certificate set aside":                func(t *testing.T, c Config) { halfMade(t, c, caFile, caKeyFile) },
		"the CA's key without its certificate":          func(t *testing.T, c Config) { halfMade(t, c, caFile) },
		"the CA whole, the certificate still set aside": func(t *testing.T, c Config) { halfMade(t, c) },
	} {
		t.Run(point, func(t *testing.T) {
			c := Config{Data: t.TempDir()}
			cut(t, c)
			if err := start(t, c.Data).stop(); err != nil {
				t.Fatal(err)
			}
			if _, err := pki.LoadCA(c.path(caFile), c.path(caKeyFile)); err != nil {
				t.Error(err)
			}
		})
	}
}

// halfMade leaves what makeCA has made up to a point: all but the missing files.
func halfMade(t *testing.T, c Config, missing ...string) {
	t.Helper()
	s, err := store.Open(c.Database())
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	ca, err := c.withDefaults().makeCA()
	if err == nil {
		err = pki.WriteFile(c.path(caPending), ca.PEM(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	remove(t, c, missing...)
}

func TestStartsAndCommandsThatBeginAtOnceMakeOneCA(t *testing.T) {
	c := Config{Data: t.TempDir()}
	const n = 4
	made := make(chan []byte, n)
	for range n {
		go func() {
			s, ca, err := c.withDefaults().open()
			if err != nil {
				t.Error(err)
				made <- nil
				return
			}
			made <- ca.PEM()
			s.Close()
		}()
	}
	first := <-made
	for range n - 1 {
		if again := <-made; !bytes.Equal(again, first) {
			t.Error("there were two CAs")
		}
	}
}
