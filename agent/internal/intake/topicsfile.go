package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// memory is what is known of the session with the broker across restarts. Who
// changes broker has no session there yet, and has lost nothing with it.
type memory struct {
	Broker string   `json:"broker"` // its URL
	Topics []string `json:"topics"` // the filters that were subscribed last
	Gap    *Gap     `json:"gap,omitempty"`
}

// readMemory reads what was written last; nothing when there is no file.
func readMemory(path string) (m memory, err error) {
	if path == "" {
		return m, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return memory{}, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return m, nil
}

// write replaces the file as a whole.
func (m *memory) write(path string) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename, nothing
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
