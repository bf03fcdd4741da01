package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"wardline/shared/link"
	"wardline/shared/pki"
)

// When the gateway's certificate is renewed: it is looked at every renewEvery,
// and a renewal that failed is tried again after renewAgain and half as much more
// by chance. A certificate that has ended is all there is left to do, so it is
// tried every renewEvery.
const (
	renewEvery = 5 * time.Second
	renewAgain = 10 * time.Minute
	renewTime  = 30 * time.Second // of one try
)

// renewal is what is known of the renewing; the linker's mu guards it.
type renewal struct {
	failed string // why the last try did; "" = it did not
	at     int64  // when the certificate was last renewed, µs UTC; 0 = never since the start
}

// keepCertificate renews the gateway's certificate at two thirds of its life until
// ctx ends. The session that is open goes on: the next one shows the new one.
func (l *linker) keepCertificate(ctx context.Context) error {
	next := l.cfg.Clock().Mono
	for ctx.Err() == nil {
		pause(ctx, renewEvery)
		now := l.cfg.Clock()
		due, ended := l.renewalDue(time.UnixMicro(now.Wall))
		if !due || now.Mono < next && !ended {
			continue
		}
		err := l.renewCertificate(ctx)
		if ctx.Err() != nil {
			return nil
		}
		next = now.Mono + int64(float64(renewAgain.Microseconds())*(1+rand.Float64()/2))
		l.renewed(now.Wall, err)
	}
	return nil
}

// renewalDue says whether it is time for another certificate, and whether this one
// has ended. There is nothing to renew without an enrolment that can be used.
func (l *linker) renewalDue(now time.Time) (due, ended bool) {
	if l.cfg.Cloud.Off {
		return false, false
	}
	if _, err := l.enrolment(); err != nil {
		return false, false
	}
	file := filepath.Join(l.cfg.Data, identityFile)
	id, err := pki.OpenIdentity(file, file)
	if err != nil {
		return false, false // the link says so
	}
	leaf := id.Leaf()
	l.mu.Lock()
	l.ends = leaf.NotAfter.UnixMicro()
	l.mu.Unlock()
	if s, _ := l.now(); s.Refused == link.Expired { // the cloud's word, which knows the time
		return true, true
	}
	return l.time.known() && !now.Before(pki.RenewAt(leaf)), l.time.known() && !now.Before(leaf.NotAfter)
}

func (l *linker) renewed(now int64, err error) {
	l.mu.Lock()
	was := l.renewal.failed
	l.renewal.failed = ""
	if err != nil {
		l.renewal.failed = err.Error()
	} else {
		l.renewal.at = now
	}
	l.mu.Unlock()
	switch {
	case err == nil:
		l.cfg.Log.Info("certificate renewed")
		if connected, _ := l.up(); !connected {
			l.disk.tellChanged() // no need to wait for the next attempt
		}
	case err.Error() != was:
		l.cfg.Log.Warn("the certificate could not be renewed as yet", "error", err)
	}
}

// renewCertificate has the cloud certify a new key, and puts both in the place of
// the old ones in one step: killed at any instant, there is the one or the other.
func (l *linker) renewCertificate(ctx context.Context) error {
	e, err := l.enrolment()
	if err != nil {
		return err
	}
	key, csr, err := pki.NewKeyAndCSR()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	got, err := l.askToRenew(ctx, l.address(e), csr)
	if err != nil {
		return err
	}
	cert, err := pki.ParseCertificate([]byte(got.Certificate))
	if err != nil {
		return fmt.Errorf("read the certificate that the cloud gave: %w", err)
	}
	if site, gateway, err := pki.GatewayFrom(cert); err != nil || site != e.Site || gateway != e.Gateway {
		return errors.New("the cloud gave a certificate that names another gateway")
	}
	if now, err := l.enrolment(); err != nil || now != e {
		return errors.New("the gateway was enrolled anew meanwhile")
	}
	file := filepath.Join(l.cfg.Data, identityFile)
	if err := pki.SaveIdentity(file, []byte(got.Certificate), key); err != nil {
		return unwritable(l.cfg.Data, err)
	}
	return nil
}

// askToRenew asks over a connection of its own, which shows the certificate of now.
func (l *linker) askToRenew(ctx context.Context, address string, csr []byte) (enrolAnswer, error) {
	settings, err := l.tls(address)
	if err != nil {
		return enrolAnswer{}, err
	}
	at, err := url.Parse(address)
	if err != nil {
		return enrolAnswer{}, err
	}
	at.Scheme, at.Path = "https", "/renew"
	transport := &http.Transport{TLSClientConfig: settings, DialContext: l.cfg.Dial, DisableKeepAlives: true}
	if l.cfg.Dial == nil {
		transport.Proxy = http.ProxyFromEnvironment
	}
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport}
	client.RetryMax, client.Logger = 1, slog.New(slog.DiscardHandler)
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	body, err := json.Marshal(map[string]string{"csr": string(csr)})
	if err != nil {
		return enrolAnswer{}, err
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, at.String(), body)
	if err != nil {
		return enrolAnswer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return enrolAnswer{}, fmt.Errorf("ask %s to renew the certificate: %w", at.Host, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	return readAnswer(resp)
}
