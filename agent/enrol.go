package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"wardline/shared/pki"
)

// The files of a gateway's identity in its data folder.
const (
	identityFile  = "identity.pem"   // key and certificate chain, mode 0600
	cloudCAFile   = "cloud-ca.pem"   // whom the gateway trusts to be its cloud
	enrolmentFile = "enrolment.json" // what the cloud said: Enrolment
)

// Enrolment is what a gateway was told when it enrolled. It holds no secret.
type Enrolment struct {
	Site    string `json:"site"`
	Gateway string `json:"gateway"`
	Link    string `json:"link"` // where the uplink connects: wss://host:port/link
	At      int64  `json:"at"`   // µs UTC by the gateway's clock
}

// ErrEnrolled means that the data folder holds an identity already.
var ErrEnrolled = errors.New("this gateway is enrolled already")

// ErrNotEnrolled means that the data folder holds no identity.
var ErrNotEnrolled = errors.New("this gateway is not enrolled")

// EnrolError is the cloud's refusal to enrol a gateway.
type EnrolError struct {
	Reason string // a stable word: expired, used, unknown_token …
	Detail string // a sentence
}

func (e *EnrolError) Error() string { return "the cloud refused: " + e.Detail }

const (
	enrolTimeout = 2 * time.Minute // all tries together
	enrolLimit   = 64 << 10        // bytes of an answer
)

// Enrol makes a key, has the cloud that the token names certify it and keeps
// the identity in the data folder. The key never leaves the gateway. It asks
// again for up to two minutes while the cloud cannot be reached; a token that
// was used by a try whose answer was lost is answered with the same identity,
// since the key of the first try is kept until it has succeeded.
//
// With replace an identity that is there is replaced once the new one is whole.
func Enrol(ctx context.Context, data, token string, replace bool) (Enrolment, error) {
	t, err := pki.ParseToken(token)
	if err != nil {
		return Enrolment{}, err
	}
	if _, err := ReadEnrolment(data); err == nil && !replace {
		return Enrolment{}, ErrEnrolled
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return Enrolment{}, unwritable(data, err)
	}
	key, csr, err := pendingKey(data, t.ID)
	if err != nil {
		return Enrolment{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	got, err := askToEnrol(ctx, t, token, csr)
	if _, refused := errors.AsType[*EnrolError](err); refused { // this key will never be certified
		return Enrolment{}, errors.Join(err, dropPending(data, t.ID))
	}
	if err != nil {
		return Enrolment{}, err
	}
	return keepIdentity(data, t.ID, key, got)
}

// ReadEnrolment reads what the gateway was told when it enrolled. It fails with
// ErrNotEnrolled when it has not, and when no site and gateway can be read.
func ReadEnrolment(data string) (Enrolment, error) {
	b, err := os.ReadFile(filepath.Join(data, enrolmentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Enrolment{}, ErrNotEnrolled
	}
	if err != nil {
		return Enrolment{}, fmt.Errorf("read the enrolment: %w", err)
	}
	var e Enrolment
	err = json.Unmarshal(b, &e)
	if err == nil {
		err = errors.Join(pki.CheckName(e.Site), pki.CheckName(e.Gateway))
	}
	if err != nil {
		return Enrolment{}, fmt.Errorf("%s cannot be read: put it back, or enrol again: %w", enrolmentFile, err)
	}
	return e, nil
}

// checkLink says whether the uplink can connect to an address.
func checkLink(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || !validPort(u.Port()) {
		return fmt.Errorf("%q is not like wss://cloud.example.org:8443/link", address)
	}
	return nil
}

// validPort says whether a URL's port can be connected to; "" is the scheme's.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

type enrolAnswer struct {
	Site        string `json:"site"`
	Gateway     string `json:"gateway"`
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
	Link        string `json:"link"`
}

// pendingKey is the key and request of the try under way with the token named id.
func pendingKey(data, id string) (key, csr []byte, err error) {
	keyFile, csrFile := pendingFile(data, id, "key"), pendingFile(data, id, "csr")
	key, keyErr := os.ReadFile(keyFile)
	csr, csrErr := os.ReadFile(csrFile)
	if keyErr == nil && csrErr == nil {
		return key, csr, nil
	}
	if key, csr, err = pki.NewKeyAndCSR(); err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if err = pki.WriteFile(keyFile, key, 0o600); err == nil {
		err = pki.WriteFile(csrFile, csr, 0o600)
	}
	if err != nil {
		return nil, nil, unwritable(data, err)
	}
	return key, csr, nil
}

// unwritable is why nothing can be written to the data folder, without the name of
// the file that was tried.
func unwritable(data string, err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err
	} else if at, ok := errors.AsType[*os.LinkError](err); ok {
		err = at.Err
	}
	return fmt.Errorf("the data folder %s cannot be written to: %w", data, err)
}

// TryData says why the data folder cannot be written to; nil when it can, or is to
// be made yet. Nothing is left in it.
func (c Config) TryData() error {
	f, err := os.CreateTemp(c.Data, ".try.*")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return unwritable(c.Data, err)
	}
	return nil
}

func pendingFile(data, id, what string) string {
	return filepath.Join(data, "enrolling-"+filepath.Base(id)+"."+what)
}

func askToEnrol(ctx context.Context, t pki.Token, token string, csr []byte) (enrolAnswer, error) {
	at, err := url.Parse(t.URL)
	if err != nil {
		return enrolAnswer{}, fmt.Errorf("read the token's address: %w", err)
	}
	transport := &http.Transport{TLSClientConfig: pki.FirstContactTLS(t.CAHash, at.Hostname(), nil), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = 8, time.Second, 15*time.Second
	client.Logger = slog.Default()
	client.CheckRetry = retryUnlessForged
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler

	body, err := json.Marshal(map[string]string{"token": token, "csr": string(csr)})
	if err != nil {
		return enrolAnswer{}, err
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, at.JoinPath("enrol").String(), body)
	if err != nil {
		return enrolAnswer{}, fmt.Errorf("ask %s to enrol: %w", at.Host, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", t.ID)
	resp, err := client.Do(req)
	if err != nil {
		return enrolAnswer{}, fmt.Errorf("ask %s to enrol: %w", at.Host, err)
	}
	defer resp.Body.Close()
	return readAnswer(resp)
}

// A server with the wrong CA will not have the right one in a second.
func retryUnlessForged(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if errors.Is(err, pki.ErrWrongCA) {
		return false, err
	}
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

func readAnswer(resp *http.Response) (enrolAnswer, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, enrolLimit))
	if err != nil {
		return enrolAnswer{}, fmt.Errorf("read the cloud's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		var p struct{ Reason, Detail, Title string }
		if json.Unmarshal(b, &p) != nil || p.Detail == "" {
			p.Detail = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(b[:min(len(b), 200)]))
		}
		return enrolAnswer{}, &EnrolError{Reason: p.Reason, Detail: p.Detail}
	}
	var a enrolAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		return enrolAnswer{}, fmt.Errorf("read the cloud's answer: %w", err)
	}
	return a, nil
}

// keepIdentity writes the enrolment last: without it there is no identity, so a
// plug pulled in between leaves the gateway as it was or enrolled.
func keepIdentity(data, id string, key []byte, a enrolAnswer) (Enrolment, error) {
	e := Enrolment{Site: a.Site, Gateway: a.Gateway, Link: a.Link, At: time.Now().UnixMicro()}
	if err := checkLink(a.Link); err != nil {
		return e, fmt.Errorf("the cloud gave an address that cannot be linked to: %w", err)
	}
	cert, err := pki.ParseCertificate([]byte(a.Certificate))
	if err != nil {
		return e, fmt.Errorf("read the certificate that the cloud gave: %w", err)
	}
	if site, gateway, err := pki.GatewayFrom(cert); err != nil || site != a.Site || gateway != a.Gateway {
		return e, fmt.Errorf("the cloud gave a certificate that does not name gateway %s of site %s", a.Gateway, a.Site)
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return e, err
	}
	err = pki.SaveIdentity(filepath.Join(data, identityFile), []byte(a.Certificate), key)
	if err == nil {
		err = pki.WriteFile(filepath.Join(data, cloudCAFile), []byte(a.CA), 0o644)
	}
	if err == nil {
		err = pki.WriteFile(filepath.Join(data, enrolmentFile), append(text, '\n'), 0o644)
	}
	if err != nil {
		return e, unwritable(data, err)
	}
	return e, dropPending(data, id)
}

func dropPending(data, id string) error {
	return errors.Join(os.Remove(pendingFile(data, id, "key")), os.Remove(pendingFile(data, id, "csr")))
}
