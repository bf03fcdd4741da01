package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wardline/agent/internal/outbox"
	"wardline/shared/link"
)

func TestAGatewayMakesAKeyOfItsOwnAndSealsWithIt(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir, begin())
	b.pass(20*time.Second, "S1", 140)
	info, err := os.Stat(filepath.Join(dir, ownKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key's file: %v, %v", info, err)
	}
	for _, name := range []string{"outbox.db", "outbox.db-wal"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("hr-high")) || bytes.Contains(text, []byte(`"hr":140`)) {
			t.Errorf("%s tells of the patient in clear", name)
		}
	}
	next := start(t, b.crash(), Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 3e6, Synchronised: true})
	if len(next.open("1")) == 0 || len(next.records(link.Alerts)) == 0 {
		t.Errorf("after a restart the ward has %+v", next.open("1"))
	}
}

func TestWithoutItsKeyNothingIsKeptTheWardIsWatchedAndNothingIsDestroyed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "key")
	give := func(digit string) {
		if err := os.WriteFile(file, []byte(strings.Repeat(digit, 64)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := testConfig(dir)
	c.Outbox.KeyFile = file
	c = c.withDefaults()
	for _, step := range []struct {
		digit string
		fails error
	}{{"a", nil}, {"b", outbox.ErrKey}, {"a", nil}, {"x", errKey}, {"a", nil}} {
		give(step.digit)
		d, err := openDisk(c)
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(d.lacks, step.fails) {
			t.Errorf("with key %s: %v, want %v", step.digit, d.lacks, step.fails)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "damaged-*")); err != nil || len(left) > 0 {
		t.Errorf("put aside: %v, %v", left, err)
	}
}

func TestAnOwnKeyThatIsLostBeginsAFreshOutboxAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir, begin())
	b.pass(20*time.Second, "S1", 140)
	crashed := b.crash()
	if err := os.WriteFile(filepath.Join(crashed, ownKeyFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next := start(t, crashed, Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 3e6, Synchronised: true})
	next.pass(12*time.Second, "S1", 140)
	if _, ok := next.about("storage-damaged"); !ok || len(next.open("1")) == 0 || next.disk.lacks != nil {
		t.Errorf("the ward has %+v and %+v; the outbox lacks %v", next.open(""), next.open("1"), next.disk.lacks)
	}
}

func TestAKeyIsTakenFromTheServiceManagersCredentials(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	c := testConfig(t.TempDir())
	if k := c.keySource(); !k.own {
		t.Errorf("without the credential the key is %s", k.what)
	}
	if err := os.WriteFile(filepath.Join(dir, keyCredential), bytes.Repeat([]byte{7}, outbox.KeySize), 0o400); err != nil {
		t.Fatal(err)
	}
	k := c.keySource()
	key, err := k.key()
	if err != nil || k.own || len(key) != outbox.KeySize || key[0] != 7 {
		t.Errorf("with it: %s, %x, %v", k.what, key, err)
	}
}

func TestAKeyFileThatOthersCanReadOrThatHoldsNoneIsRefused(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Outbox.KeyFile = filepath.Join(t.TempDir(), "key")
	if err := c.CheckKey(); err == nil || !strings.Contains(err.Error(), "outbox.key_file") {
		t.Errorf("one that is not there: %v", err)
	}
	for text, want := range map[string]string{"secret": "64 hexadecimal digits", strings.Repeat("0", 64): "chmod 600"} {
		if err := os.WriteFile(c.Outbox.KeyFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.CheckKey(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if err := os.WriteFile(c.Outbox.KeyFile, []byte(strings.Repeat("0", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Outbox.KeyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckKey(); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestAnOutboxThatIsGoneIsTold(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	crashed := b.crash()
	for _, name := range []string{"outbox.db", "outbox.db-wal", "outbox.db-shm"} {
		if err := os.Remove(filepath.Join(crashed, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	next := start(t, crashed, Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 3e6, Synchronised: true})
	next.pass(12*time.Second, "S1", 140)
	if _, ok := next.about("storage-damaged"); !ok {
		t.Errorf("the ward has %+v", next.open(""))
	}
	if first := start(t, t.TempDir(), begin()); first.disk.gone {
		t.Error("a first start thinks that something is gone")
	}
}
