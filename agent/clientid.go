package agent

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"wardline/shared/pki"
)

// clientIDFile keeps the MQTT client id in the data folder. The broker keeps
// what it has acknowledged to relays in the session of this id, so neither
// enrolment nor another name may change it.
const clientIDFile = "client-id"

// 23 characters are what every MQTT 3.1.1 server takes (section 3.1.3.1).
var clientID = regexp.MustCompile(`^wardline-agent-[a-z0-9]{8}$`)

// clientID is the configuration's, else the one that the data folder has had
// since its first start. It is random in part: two gateways of one broker must
// not share one.
func (c Config) clientID() string {
	if c.MQTT.ClientID != "" {
		return c.MQTT.ClientID
	}
	path := filepath.Join(c.Data, clientIDFile)
	text, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(text)); clientID.MatchString(id) {
		return id
	}
	if !errors.Is(err, fs.ErrNotExist) {
		c.Log.Error("the MQTT client id cannot be read: what the broker holds for the old one is not taken", "file", path, "error", err)
	}
	id := "wardline-agent-" + strings.ToLower(rand.Text()[:8])
	if err := pki.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		c.Log.Error("the MQTT client id cannot be kept: the next start takes another", "file", path, "error", err)
	}
	return id
}
