package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Identity is a key and its certificate chain, as they stand on disk. When the
// files change, the next handshake uses the new ones; connections that are open
// stay open. While what is on disk cannot be used (half-written, gone, key and
// certificate not of one another) the last good pair stays in use and
// [Identity.Err] says why.
type Identity struct {
	certFile, keyFile string

	mu   sync.Mutex // guards what follows
	seen []stamp
	pair *tls.Certificate
	err  error
}

// A stamp tells one state of a file from another without reading it.
type stamp struct {
	size  int64
	mtime time.Time
	file  os.FileInfo
}

// SaveIdentity writes key and certificate chain into one file of mode 0600, so
// that a renewal is a single rename and can never leave a pair that does not
// match.
func SaveIdentity(file string, certPEM, keyPEM []byte) error {
	text := slices.Concat(bytes.TrimSpace(keyPEM), []byte("\n"), bytes.TrimSpace(certPEM), []byte("\n"))
	if _, err := tls.X509KeyPair(text, text); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	if err := WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	return nil
}

// OpenIdentity reads a certificate chain and its key, PEM, from two files or
// from one that holds both, as [SaveIdentity] writes it.
func OpenIdentity(certFile, keyFile string) (*Identity, error) {
	id := &Identity{certFile: certFile, keyFile: keyFile}
	id.current()
	if id.err != nil {
		return nil, fmt.Errorf("open identity: %w", id.err)
	}
	return id, nil
}

// Leaf is the certificate in use.
func (id *Identity) Leaf() *x509.Certificate { return id.current().Leaf }

// Err says why the files on disk are not in use; nil when they are.
func (id *Identity) Err() error {
	id.current()
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.err
}

// current is the pair to use now, nil only before the first good load.
func (id *Identity) current() *tls.Certificate {
	id.mu.Lock()
	defer id.mu.Unlock()
	seen, err := stamps(id.certFile, id.keyFile)
	if err != nil {
		id.err, id.seen = err, nil
		return id.pair
	}
	if slices.EqualFunc(seen, id.seen, stamp.equal) {
		return id.pair
	}
	id.seen = seen
	pair, err := tls.LoadX509KeyPair(id.certFile, id.keyFile)
	if id.err = err; err == nil {
		id.pair = &pair
	}
	return id.pair
}

func stamps(files ...string) ([]stamp, error) {
	var out []stamp
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		out = append(out, stamp{info.Size(), info.ModTime(), info})
	}
	return out, nil
}

func (s stamp) equal(o stamp) bool {
	return s.size == o.size && s.mtime.Equal(o.mtime) && os.SameFile(s.file, o.file)
}
