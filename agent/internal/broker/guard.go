package broker

import (
	"bytes"
	"crypto/subtle"
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// guard decides who may connect and on which topics.
type guard struct {
	mqtt.HookBase
	c Config
}

func (g *guard) ID() string { return "guard" }

func (g *guard) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck}, b) >= 0
}

func (g *guard) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	if len(g.c.Users) == 0 {
		host, _, err := net.SplitHostPort(cl.Net.Remote)
		return err == nil && loopback(host)
	}
	u, ok := g.user(string(pk.Connect.Username))
	if !ok || subtle.ConstantTimeCompare(pk.Connect.Password, []byte(u.Password)) != 1 {
		return false
	}
	return u.Agent == (g.c.Agent != "" && cl.ID == g.c.Agent) || g.c.Agent == ""
}

func (g *guard) user(name string) (User, bool) {
	for _, u := range g.c.Users {
		if u.Name == name {
			return u, true
		}
	}
	return User{}, false
}

func (g *guard) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	if len(g.c.Users) == 0 || cl.Net.Inline {
		return true
	}
	u, ok := g.user(string(cl.Properties.Username))
	if !ok {
		return false
	}
	if u.Agent {
		return true
	}
	filters := u.Read
	if write {
		filters = u.Write
	}
	if len(u.Read)+len(u.Write) == 0 {
		filters = relayFilters(u.Name, write)
	}
	for _, f := range filters {
		if matches(f, topic) {
			return true
		}
	}
	return false
}

// relayFilters are a relay's topics (SPEC §1.3).
func relayFilters(name string, write bool) []string {
	if write {
		return []string{"wl/1/" + name + "/#"}
	}
	return []string{"wl/1/" + name + "/+/request"}
}
