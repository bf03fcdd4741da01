package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/pki"
)

// The files of the cloud's identity in its data folder.
const (
	caFile     = "ca.pem"
	caKeyFile  = "ca-key.pem" // mode 0600
	serverFile = "server.pem" // key and chain, mode 0600
)

// Lives of what the built-in CA signs for the cloud itself.
const (
	caLife      = 10 * 365 * 24 * time.Hour
	serverLife  = 397 * 24 * time.Hour // the most that browsers take
	renewBefore = 30 * 24 * time.Hour
	renewEvery  = 12 * time.Hour
)

// ErrNoDatabase means that the data folder is empty yet.
var ErrNoDatabase = errors.New("there is no database")

// Found says what is wrong with a data folder that a cloud is to go on with: nil
// when it has a database, [ErrNoDatabase] when it has neither that nor a CA, and
// otherwise which of its files was lost. It looks at files and changes none.
func Found(c Config) error {
	has, err := c.hasCA()
	switch {
	case err != nil:
		return err
	case Exists(c):
		return nil
	case has:
		return c.lostDatabase()
	}
	return fmt.Errorf("%w in %s", ErrNoDatabase, c.Data)
}

func (c Config) lostDatabase() error {
	return fmt.Errorf("there is a CA in %s but no database cloud.db: restore a backup (wardline-cloud restore FILE), "+
		"or, for a new beginning, move ca.pem and ca-key.pem away. Nothing was changed", c.Data)
}

// hasCA reports whether both files of the CA are there. One without the other is
// an error: a new CA in its place would shut every gateway out.
func (c Config) hasCA() (bool, error) {
	var there [2]bool
	names := [2]string{caFile, caKeyFile}
	for i, name := range names {
		_, err := os.Lstat(filepath.Join(c.Data, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for the CA: %w", err)
		}
		there[i] = err == nil
	}
	if there[0] == there[1] {
		return there[0], nil
	}
	kept, lost, what := names[0], names[1], "key"
	if there[1] {
		kept, lost, what = names[1], names[0], "certificate"
	}
	return false, fmt.Errorf("%s is in %s but %s is not: put the %s back from where you keep it. Nothing was changed", kept, c.Data, lost, what)
}

// open opens the database and the CA, and makes both at the first start: the
// database first, so that a start that was cut off between them leaves what the
// next one goes on with, and a CA is never there before its database.
func (c Config) open() (*store.Store, *pki.CA, error) {
	if has, err := c.hasCA(); has && err == nil {
		return c.openFolder()
	}
	// Two that begin at once would make a CA each.
	unlock, err := lockFile(filepath.Join(c.Data, "ca.lock"))
	if err != nil {
		return nil, nil, err
	}
	s, ca, err := c.openFolder()
	return s, ca, errors.Join(err, unlock())
}

func (c Config) openFolder() (*store.Store, *pki.CA, error) {
	if err := c.finishCA(); err != nil {
		return nil, nil, err
	}
	has, err := c.hasCA()
	if err != nil {
		return nil, nil, err
	}
	if !has {
		return c.begin()
	}
	ca, err := pki.LoadCA(filepath.Join(c.Data, caFile), filepath.Join(c.Data, caKeyFile))
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ca.pem and ca-key.pem in %s do not belong together or are damaged: "+
			"put both back from where you keep them. Nothing was changed (%w)", c.Data, err)
	}
	s, err := store.OpenExisting(c.Database(), c.Now)
	if errors.Is(err, store.ErrNone) {
		return nil, nil, c.lostDatabase()
	}
	return s, ca, err
}

// begin makes a CA, and a database where there is none.
func (c Config) begin() (*store.Store, *pki.CA, error) {
	s, err := store.OpenAt(c.Database(), c.Now)
	if err != nil {
		return nil, nil, err
	}
	ca, err := c.newCA(s)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, ca, nil
}

// newCA makes a CA for a database whose gateways do not trust another already.
func (c Config) newCA(s *store.Store) (*pki.CA, error) {
	trusting := 0
	err := s.View(context.Background(), func(tx *store.Tx) error {
		list, err := tx.Gateways()
		for _, g := range list {
			if g.RevokedAt == 0 {
				trusting++
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if trusting > 0 {
		return nil, fmt.Errorf("the database in %s knows gateways (%d) but ca.pem and ca-key.pem, which they trust, are not there: "+
			"put both back from where you keep them, or, when they are lost for good, make a new CA (wardline-cloud new-ca) and enrol "+
			"every gateway again. No CA was made", c.Data, trusting)
	}
	return c.makeCA()
}

// caPending holds the certificate while the CA's two files are being written.
const caPending = "ca.pem.new"

func (c Config) makeCA() (*pki.CA, error) {
	ca, err := pki.NewCA("Wardline "+c.Site, c.time(), caLife)
	if err != nil {
		return nil, err
	}
	pending := filepath.Join(c.Data, caPending)
	if err := pki.WriteFile(pending, ca.PEM(), 0o644); err != nil {
		return nil, err
	}
	if err := ca.Save(filepath.Join(c.Data, caFile), filepath.Join(c.Data, caKeyFile)); err != nil {
		return nil, err
	}
	return ca, os.Remove(pending)
}

// finishCA ends what a start that was cut off in makeCA began: the key was
// written and its certificate not yet.
func (c Config) finishCA() error {
	pending, cert, key := filepath.Join(c.Data, caPending), filepath.Join(c.Data, caFile), filepath.Join(c.Data, caKeyFile)
	if _, err := os.Lstat(cert); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ca, err := pki.LoadCA(pending, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finish making the CA: %w", err)
	}
	if err := pki.WriteFile(cert, ca.PEM(), 0o644); err != nil {
		return fmt.Errorf("finish making the CA: %w", err)
	}
	return os.Remove(pending)
}

// ensureServer opens the built-in server certificate, and signs a new one when
// there is none, when it is not good for every host, or when it ends soon. The
// file is replaced at one instant; the next handshake uses it.
func (c Config) ensureServer(ca *pki.CA) (*pki.Identity, error) {
	file := filepath.Join(c.Data, serverFile)
	id, err := pki.OpenIdentity(file, file)
	if err == nil && c.stillGood(ca, id) {
		return id, nil
	}
	cert, key, err := ca.SignServer(c.hosts(), c.time(), serverLife)
	if err != nil {
		return nil, err
	}
	if err := pki.SaveIdentity(file, cert, key); err != nil {
		return nil, err
	}
	return pki.OpenIdentity(file, file)
}

func (c Config) stillGood(ca *pki.CA, id *pki.Identity) bool {
	leaf := id.Leaf()
	if leaf.CheckSignatureFrom(ca.Cert) != nil || leaf.NotAfter.Sub(c.time()) < renewBefore {
		return false
	}
	return !slices.ContainsFunc(c.hosts(), func(host string) bool { return leaf.VerifyHostname(host) != nil })
}

// keepServer renews the built-in server certificate in time, until ctx ends.
func (c Config) keepServer(ctx context.Context, ca *pki.CA) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := c.ensureServer(ca); err != nil {
			c.Log.Error("the server certificate could not be renewed, trying again", "error", err)
		}
	}
}

// peopleIdentity is what people's port shows: the configured files, or builtin.
func (c Config) peopleIdentity(builtin *pki.Identity) (*pki.Identity, error) {
	if c.People.CertFile == "" {
		return builtin, nil
	}
	id, err := pki.OpenIdentity(c.People.CertFile, c.People.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("people's certificate: %w", err)
	}
	return id, nil
}
