package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"wardline/agent/internal/outbox"
	"wardline/shared/pki"
)

// ownKeyFile is the key that a gateway makes for itself at its first start, when
// neither configuration nor service manager gives one. It lies beside what it
// seals: it makes erasing certain, and is no protection when the disk is stolen.
const ownKeyFile = "outbox.key"

// keyCredential is the name of a systemd credential with the key.
const keyCredential = "wardline-outbox-key"

// keySource is where the outbox's key comes from.
type keySource struct {
	path string
	own  bool   // the gateway's own
	what string // in words
}

func (c Config) keySource() keySource {
	if c.Outbox.KeyFile != "" {
		return keySource{c.Outbox.KeyFile, false, "the key file " + c.Outbox.KeyFile}
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, keyCredential)
		if _, err := os.Stat(path); err == nil {
			return keySource{path, false, "the credential " + keyCredential}
		}
	}
	return keySource{filepath.Join(c.Data, ownKeyFile), true, "a key of its own in the data folder"}
}

// errKey means that there is a key file and it holds no key.
var errKey = fmt.Errorf("want %d hexadecimal digits or %d bytes", 2*outbox.KeySize, outbox.KeySize)

func readKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) == outbox.KeySize {
		return b, nil
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != outbox.KeySize {
		return nil, fmt.Errorf("%s: %w", path, errKey)
	}
	return key, nil
}

// key reads the key; the gateway's own is made when there is none, or when what
// lies there cannot be one: what it sealed is lost then.
func (k keySource) key() ([]byte, error) {
	key, err := readKey(k.path)
	if err == nil || !k.own || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errKey) {
		return key, err
	}
	key = make([]byte, outbox.KeySize)
	rand.Read(key)
	return key, pki.WriteFile(k.path, []byte(hex.EncodeToString(key)+"\n"), 0o600)
}

// CheckKey says what is wrong with a key file that the configuration names. A ward
// is watched without: nothing is kept then.
func (c Config) CheckKey() error {
	if c.Outbox.KeyFile == "" {
		return nil
	}
	if _, err := readKey(c.Outbox.KeyFile); err != nil {
		return fmt.Errorf("outbox.key_file: %w", err)
	}
	info, err := os.Stat(c.Outbox.KeyFile)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("outbox.key_file: %s can be read by others than its owner: chmod 600 it", c.Outbox.KeyFile)
	}
	return err
}
