package uplink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"testing"
)

func TestWhyTheCloudIsNotReachedFitsAPhone(t *testing.T) {
	wrapped := func(err error) error {
		return fmt.Errorf("failed to WebSocket dial: %w", &url.Error{Op: "Get", URL: "https://cloud:8444/link", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}})
	}
	for want, err := range map[string]error{
		"nothing answers there (connection refused)":  wrapped(syscall.ECONNREFUSED),
		"the name cloud cannot be looked up":          wrapped(&net.DNSError{Name: "cloud", Err: "no such host"}),
		"its certificate is not taken: it is too old": wrapped(&tls.CertificateVerificationError{Err: errors.New("it is too old")}),
		"no route to host":                            wrapped(syscall.EHOSTUNREACH),
	} {
		if got := (unreached{"cloud:8444", err}).Error(); got != "connect to cloud:8444: "+want {
			t.Errorf("got %q, want that %s", got, want)
		}
	}
}
