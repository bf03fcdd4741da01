//go:build system || bench

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"
)

// An account that a test made.
type account struct{ name, password string }

// A client is a person's program: it speaks REST and the live socket with the
// session's cookie, and trusts the cloud's own CA alone.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

// in is the same client for a part of the test, which fails by itself.
func (c *client) in(t testing.TB) *client { out := *c; out.t = t; return &out }

func (s *site) base() string { return "https://" + at(s.peoplePort) }

// roots is the CA that the cloud made for itself.
func (s *site) roots() *x509.CertPool {
	s.t.Helper()
	pem, err := os.ReadFile(s.caFile())
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		s.t.Fatalf("no certificate in %s", s.caFile())
	}
	return pool
}

// stranger is a client that nobody signed in with.
func (s *site) stranger() *client {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots(), MinVersion: tls.VersionTLS13}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: s.t, base: s.base(), http: &http.Client{Jar: jar, Transport: transport, Timeout: 20 * time.Second}}
}

// signIn signs in, which must succeed.
func (s *site) signIn(a account) *client {
	s.t.Helper()
	c := s.stranger()
	if got := c.post("/api/v1/session", map[string]string{"name": a.name, "password": a.password}, nil); got.Status != http.StatusOK {
		s.t.Fatalf("sign in as %s: %v", a.name, got)
	}
	return c
}

// An answer is a status and, where it is a refusal, the RFC 9457 problem.
type answer struct {
	Status         int
	Reason, Detail string
}

func (a answer) String() string { return fmt.Sprintf("%d %s: %s", a.Status, a.Reason, a.Detail) }

func (c *client) get(path string, v any) answer      { c.t.Helper(); return c.do("GET", path, nil, v) }
func (c *client) post(path string, in, v any) answer { c.t.Helper(); return c.do("POST", path, in, v) }

func (c *client) do(method, path string, in, v any) answer {
	c.t.Helper()
	a, err := c.try(method, path, in, v)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// try is do for a cloud that may be gone.
func (c *client) try(method, path string, in, v any) (answer, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.base+path, body)
	if err != nil {
		return answer{}, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: resp.StatusCode}
	if resp.StatusCode >= 300 {
		json.Unmarshal(b, &a) // what is not a problem has none of its fields
		a.Status = resp.StatusCode
		return a, nil
	}
	if v != nil {
		if err := json.Unmarshal(b, v); err != nil {
			return a, fmt.Errorf("%s %s answered %.300s: %w", method, path, b, err)
		}
	}
	return a, nil
}

// An alert as the API and the live socket give it, as far as these tests read it.
type cloudAlert struct {
	ID, Ward, Bed, Kind, Priority, Text, Rule, Phase, Gateway, Sensor, Previous string

	Onset     int64
	RaisedAt  int64 `json:"raised_at"`
	EndedAt   int64 `json:"ended_at"`
	Open      bool
	Late      bool
	Page      bool
	AtGateway bool `json:"at_gateway"`
	Ack       *struct{ By, Via string }
	Events    []cloudEvent
}

type cloudEvent struct {
	Author, Type string
	N            uint32
	At           int64
	Condition    *struct{ Text string }
}

// alerts is every alert in the given state: open, ended or all.
func (c *client) alerts(state string) []cloudAlert {
	c.t.Helper()
	var all []cloudAlert
	for after := ""; ; {
		var page struct {
			Items []cloudAlert
			Next  string
		}
		q := url.Values{"state": {state}, "limit": {"200"}}
		if after != "" {
			q.Set("after", after)
		}
		if got := c.get("/api/v1/alerts?"+q.Encode(), &page); got.Status != http.StatusOK {
			c.t.Fatalf("alerts: %v", got)
		}
		all = append(all, page.Items...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// of is the alerts of a bed by a rule.
func of(all []cloudAlert, bed, rule string) []cloudAlert {
	return slices.DeleteFunc(slices.Clone(all), func(a cloudAlert) bool { return a.Bed != bed || a.Rule != rule })
}

func (c *client) alert(id string) cloudAlert {
	c.t.Helper()
	var a cloudAlert
	if got := c.get("/api/v1/alerts/"+id, &a); got.Status != http.StatusOK {
		c.t.Fatalf("alert %s: %v", id, got)
	}
	return a
}

// openAlert waits for an open alert of a bed by a rule.
func (c *client) openAlert(within time.Duration, bed, rule string) cloudAlert {
	c.t.Helper()
	var found cloudAlert
	until(c.t, within, fmt.Sprintf("%s of bed %s", rule, bed), func() error {
		all := c.alerts("open")
		if mine := of(all, bed, rule); len(mine) > 0 {
			found = mine[0]
			return nil
		}
		return fmt.Errorf("open are %v", brief(all))
	})
	return found
}

func brief(all []cloudAlert) []string {
	var out []string
	for _, a := range all {
		out = append(out, fmt.Sprintf("bed %s %s (%s)", a.Bed, a.Rule, a.Phase))
	}
	return out
}

// A course is a bed's trend.
type course struct {
	From, To, Step int64
	Vitals         map[string][][4]float64
	Holes          []struct {
		From, To int64
		Reason   string
	}
	Late []struct{ From, To int64 }
}

func (c *client) trend(bed string, from, to time.Time, points int) course {
	c.t.Helper()
	var x course
	q := fmt.Sprintf("?from=%d&to=%d&points=%d", from.UnixMicro(), to.UnixMicro(), points)
	if got := c.get("/api/v1/wards/"+wardID+"/beds/"+bed+"/trend"+q, &x); got.Status != http.StatusOK {
		c.t.Fatalf("trend of bed %s: %v", bed, got)
	}
	return x
}

// An auditRow is one row of the audit log.
type auditRow struct {
	Seq                               int64
	Who, What, On, Ward, Outcome, Why string
}

func (c *client) audit() []auditRow {
	c.t.Helper()
	var all []auditRow
	for after := int64(0); ; {
		var page struct {
			Items []auditRow
			Next  int64
		}
		if got := c.get(fmt.Sprintf("/api/v1/audit?limit=1000&after=%d", after), &page); got.Status != http.StatusOK {
			c.t.Fatalf("audit: %v", got)
		}
		all = append(all, page.Items...)
		if after = page.Next; after == 0 {
			return all
		}
	}
}
