package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"wardline/agent/internal/control"
	"wardline/agent/internal/outbox"
	"wardline/shared/pki"
)

// Kept is what an erasure would destroy.
type Kept struct {
	Gateway string `json:"gateway"`
	Pending uint64 `json:"pending"`     // records that the cloud does not have
	Alerts  uint64 `json:"alerts"`      // of these, of alerts
	Open    int    `json:"open_alerts"` // alerts that are open in the ward
	Frames  int64  `json:"frames_from"` // the oldest frame, µs UTC; 0 = none
	Unread  string `json:"unread"`      // why it cannot be told; "" = it is told
	Key     string `json:"key"`         // what it is sealed with, in words
	KeyLeft bool   `json:"key_is_left"` // the key is not the agent's to destroy
	Erased  bool   `json:"erased"`

	socket net.Listener
	config Config
}

// ErrRunning means that an agent runs on the data folder.
var ErrRunning = errors.New("the agent runs")

// BeginErase looks at what the outbox of a stopped agent keeps, and keeps an agent
// from starting until Close.
func BeginErase(c Config) (*Kept, error) {
	c = c.withDefaults()
	if _, err := os.Stat(c.Data); err != nil {
		return nil, err
	}
	socket, err := control.Listen(c.Control, c.Listen)
	if err != nil {
		return nil, errors.Join(ErrRunning, err)
	}
	k := &Kept{Gateway: c.identity(), socket: socket, config: c}
	source := c.keySource()
	k.Key, k.KeyLeft = source.what, !source.own && c.Outbox.KeyFile == ""
	if err := k.look(source); err != nil {
		k.Unread = plain(err)
	}
	return k, nil
}

func (k *Kept) look(source keySource) error {
	key, err := readKey(source.path)
	if err != nil {
		return err
	}
	box, err := outbox.OpenSound(k.config.Data, outbox.Options{Key: key})
	if err != nil {
		return err
	}
	defer box.Close()
	for _, l := range box.Stats().Lanes {
		k.Pending += l.Pending()
		if l.Lane.String() == "alerts" {
			k.Alerts = l.Pending()
		}
	}
	k.Frames = box.Stats().FramesFrom
	_, _, open, err := box.Load()
	k.Open = len(open)
	return err
}

// Erase destroys the key first, so that what flash keeps of deleted files cannot
// be read, and then the files, also those that were put aside as damaged. The
// gateway's enrolment stays.
func (k *Kept) Erase() error {
	source := k.config.keySource()
	if !k.KeyLeft {
		if err := shred(source.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("destroy the key: %w", err)
		}
	}
	own := filepath.Join(k.config.Data, ownKeyFile) // of before another key was given
	if err := shred(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("destroy the key: %w", err)
	}
	if err := outbox.Remove(k.config.Data); err != nil {
		return fmt.Errorf("the key is destroyed, but files are left: %w", err)
	}
	k.Erased = true
	return nil
}

// Close lets an agent start again.
func (k *Kept) Close() error { return k.socket.Close() }

// shred overwrites a file and removes it.
func shred(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, info.Size()))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return pki.SyncDir(filepath.Dir(path))
}
