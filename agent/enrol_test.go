package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wardline/shared/pki"
)

func TestADataFolderThatTakesNothingIsSaidInOneLineWithoutTheFilesThatWereTried(t *testing.T) {
	token, err := pki.Token{ID: "t1", Secret: strings.Repeat("s", 32), URL: "https://127.0.0.1:1", CAHash: strings.Repeat("0", 64)}.Line()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(dir, "blocked") // a folder stands where the key is to be
	if err := os.MkdirAll(filepath.Join(pendingFile(blocked, "t1", "key"), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for data, why := range map[string]string{file: "not a directory", blocked: "file exists"} {
		_, err := Enrol(t.Context(), data, token, false)
		if want := "the data folder " + data + " cannot be written to: " + why; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := (Config{Data: file}).TryData(); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file for a folder: %v", err)
	}
	if err := (Config{Data: dir}).TryData(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("trying left %v, %v", left, err)
	}
	if err := (Config{Data: filepath.Join(dir, "later")}).TryData(); err != nil {
		t.Errorf("one that is to be made: %v", err)
	}
}
