package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// readTopics reads the filters that were subscribed last; none when there is no file.
func readTopics(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var filters []string
	if err := json.Unmarshal(b, &filters); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return filters, nil
}

// writeTopics replaces the file as a whole.
func writeTopics(path string, filters []string) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(filters)
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
