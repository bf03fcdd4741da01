package cloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func loadText(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cloud.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestTheExampleConfigurationIsGood(t *testing.T) {
	if _, err := Load("../deploy/cloud/cloud.yaml"); err != nil {
		t.Error(err)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	c, err := loadText(t, "data: data\npeople: {cert_file: /etc/x.pem, key_file: key.pem}\n")
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.Data) || c.People.CertFile != "/etc/x.pem" || filepath.Dir(c.Data) != filepath.Dir(c.People.KeyFile) {
		t.Errorf("got %s, %s, %s", c.Data, c.People.CertFile, c.People.KeyFile)
	}
}

func TestAMistakeIsNamedWithItsPlaceAndWhatWasMeant(t *testing.T) {
	for text, want := range map[string]string{
		"dat: x\n":                              "line 1, column 1: there is no key \"dat\"; is data meant?",
		"data: x\npeople:\n  lissten: ':1'\n":   "line 3, column 3: there is no key \"lissten\"; is listen meant?",
		"data: x\nretention: {vitals_day: 3}\n": "is vitals_days meant?",
		"data: x\nzzzzzzzzzzzz: 1\n":            "there is no key \"zzzzzzzzzzzz\"",
		"data: [1]\n":                           "line 1",
		"":                                      "data: a folder is needed",
		"data: x\nsite: North\n":                "site: \"North\"",
		"data: x\npeople: {listen: '8443'}\n":   "people.listen: \"8443\" is not host:port",
		"data: x\npeople: {cert_file: a}\n":     "go together",
		"data: x\npeople: {listen: ':8444'}\n":  "people.listen and gateways.listen: :8444 and :8444 are the same port",
		"data: x\npeople: {listen: '10.0.0.1:9'}\ngateways: {listen: '0.0.0.0:9'}\n": "are the same port",
		"data: x\ngateways: {public_url: 'http://a:1'}\n":                            "is not like https://",
		"data: x\nlog_level: loud\n":                                                 "is not one of debug, info, warn, error",
		"data: x\nretention: {vitals_days: -1}\n":                                    "cannot be negative",
		"data: x\ngateways: {public_url: 'https://a/b'}\n":                           "is not like https://",
	} {
		_, err := loadText(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
	if _, err := loadText(t, "data: x\nzzzzzzzzzzzz: 1\n"); strings.Contains(err.Error(), "meant") {
		t.Errorf("a guess that is far off: %v", err)
	}
}

func TestOnePortOnTwoAddressesIsTwoPorts(t *testing.T) {
	for _, text := range []string{
		"data: x\npeople: {listen: '10.0.0.1:443'}\ngateways: {listen: '10.1.0.1:443'}\n",
		"data: x\npeople: {listen: '127.0.0.1:0'}\ngateways: {listen: '127.0.0.1:0'}\n",
	} {
		if _, err := loadText(t, text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAnUnknownVariableIsAnError(t *testing.T) {
	t.Setenv("WARDLINE_CONFG", "x")
	if _, err := loadText(t, "data: x\n"); err == nil || !strings.Contains(err.Error(), "WARDLINE_CONFG") {
		t.Errorf("got %v", err)
	}
}

func TestTheBuiltInCertificateIsGoodForEveryNameOfThisMachine(t *testing.T) {
	c := Config{Data: t.TempDir(), People: People{Hosts: []string{"wards.example.org"}}, Gateways: Gateways{PublicURL: "https://gw.example.org:8444"}}.withDefaults()
	ca, err := c.makeCA()
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.ensureServer(ca)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"wards.example.org", "gw.example.org", "localhost", "127.0.0.1"} {
		if err := id.Leaf().VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	again, err := c.ensureServer(ca)
	if err != nil || again.Leaf().SerialNumber.Cmp(id.Leaf().SerialNumber) != 0 {
		t.Errorf("a second start signed a new certificate (%v)", err)
	}
	c.People.Hosts = append(c.People.Hosts, "10.1.2.3")
	if more, err := c.ensureServer(ca); err != nil || more.Leaf().VerifyHostname("10.1.2.3") != nil {
		t.Errorf("a new name is not in the certificate: %v", err)
	}
	mode := func(name string) os.FileMode {
		stat, err := os.Stat(filepath.Join(c.Data, name))
		if err != nil {
			t.Fatal(err)
		}
		return stat.Mode().Perm()
	}
	if mode(caKeyFile) != 0o600 || mode(serverFile) != 0o600 {
		t.Errorf("keys have modes %o and %o", mode(caKeyFile), mode(serverFile))
	}
}
