//go:build bench

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// The floors run as processes of their own, as the agent does: this test binary
// started again with the floor's name.
const (
	bareSubscriber = "bare-subscriber"
	bareChain      = "bare-chain"
)

func init() {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "bare-") {
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if err := beBare(os.Args[1:], stop); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func beBare(args []string, stop <-chan os.Signal) error {
	switch {
	case args[0] == bareSubscriber && len(args) == 2:
		return runBareSubscriber(args[1], stop)
	case args[0] == bareChain && len(args) == 3:
		return runBareChain(args[1], args[2], stop)
	case (args[0] == profiledAgent || args[0] == profiledCloud) && len(args) == 3:
		return runProfiled(args[0], args[1], args[2], stop)
	}
	return fmt.Errorf("no floor is called %q", args)
}

// startBareSubscriber is the least that a gateway could do: it takes every
// message and acknowledges it, and nothing else. What would raise an alert it
// answers on the ward's topic, where the agent would. That the last alert came
// shows that everything before it was taken.
func startBareSubscriber(t testing.TB, broker string) (p *proc, taken func(messages int)) {
	t.Helper()
	return start(t, "bare subscriber", os.Args[0], bareSubscriber, broker), func(int) {}
}

// raising says whether a message of the load raises an alert, and at which bed.
func raising(m mqtt.Message) (bed string, yes bool) {
	if !bytes.Contains(m.Payload(), raisingValue) {
		return "", false
	}
	return strings.Split(m.Topic(), "/")[3], true
}

var raisingValue = fmt.Appendf(nil, `"hr":%d,`, raisingRate)

func runBareSubscriber(broker string, stop <-chan os.Signal) error {
	take := func(c mqtt.Client, m mqtt.Message) {
		if bed, yes := raising(m); yes {
			c.Publish("wl/1/ward/"+benchWardOf(bed)+"/bed/"+bed+"/alerts", 1, true, []byte(`{"alerts":[{"active":true}]}`))
		}
		m.Ack()
	}
	c, err := bareClient(broker, take)
	if err != nil {
		return err
	}
	<-stop
	c.Disconnect(100)
	return nil
}

// bareClient is paho as the agent needs it: a persistent session, acknowledged
// by hand, in order. It says that it watches once it is subscribed.
func bareClient(broker string, take mqtt.MessageHandler) (mqtt.Client, error) {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).
		SetClientID("bare").SetUsername("agent").SetPassword(mqttPassword).SetProtocolVersion(4).
		SetCleanSession(false).SetAutoAckDisabled(true).SetOrderMatters(true).SetAutoReconnect(false).
		SetDefaultPublishHandler(take))
	filters := map[string]byte{"wl/1/+/+/json": 1, "wl/1/+/+/frame": 1, "wl/1/+/state": 1}
	for _, ask := range []func() mqtt.Token{
		c.Connect,
		func() mqtt.Token { return c.SubscribeMultiple(filters, nil) },
		func() mqtt.Token { return c.Publish("wl/1/ward/bare/agent", 1, true, []byte(`{"watching":true}`)) },
	} {
		if token := ask(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			return nil, fmt.Errorf("the broker does not answer, or says: %v", token.Error())
		}
	}
	return c, nil
}
