package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"wardline/agent/internal/broker"
	"wardline/agent/internal/local"
	"wardline/shared/alert"
)

// ownBroker is a broker beside the agent, until the test ends.
func ownBroker(t *testing.T) (address string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- broker.Run(ctx, broker.Config{Listen: "127.0.0.1:0", Ready: func(at string) { ready <- at }, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return <-ready
}

func TestAnAgentThatStopsInOrderSaysInEveryWardThatNobodyWatches(t *testing.T) {
	dir, err := os.MkdirTemp("", "wl") // a socket's path holds 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c := testConfig(dir)
	c.MQTT.URL = "tcp://" + ownBroker(t)
	c.Wards = append(c.Wards, Ward{ID: "8", Beds: []Bed{{Bed: "1", Sensor: "S3"}}}, Ward{ID: "9", Beds: []Bed{{Bed: "1", Sensor: "S4"}}})
	ctx, stop := context.WithCancel(t.Context())
	c.Ready = func(Ready) { stop() }
	if err := Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	said := make(chan mqtt.Message, 16)
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(c.MQTT.URL).SetClientID("lamp"))
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer client.Disconnect(0)
	if token := client.Subscribe("wl/1/ward/+/agent", 1, func(_ mqtt.Client, m mqtt.Message) { said <- m }); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	for range c.Wards {
		select {
		case m := <-said:
			var h local.Heartbeat
			if err := json.Unmarshal(m.Payload(), &h); err != nil || h.Watching || h.Gateway != "gw-1" {
				t.Errorf("%s was left as %s", m.Topic(), m.Payload())
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a ward was told nothing")
		}
	}
}

func TestAnAlertThatIsOverIsForgottenByTheTail(t *testing.T) {
	tell := &teller{tail: newTail(), known: map[alert.ID]known{}}
	one := func(id string, types ...alert.Type) {
		for _, x := range types {
			e := alert.Event{Alert: alert.ID(id), Type: x}
			if x == alert.Raised {
				e.Condition = &alert.Condition{Ward: "7w", Bed: "1", Text: "Heart rate", Latch: strings.HasPrefix(id, "latched")}
			}
			if l := tell.line(e); !strings.Contains(l.Text, "Heart rate") {
				t.Errorf("%s %s says %q", id, x, l.Text)
			}
		}
	}
	one("a", alert.Raised, alert.Acknowledged, alert.Ended)
	one("latched", alert.Raised, alert.Ended, alert.Commented, alert.Resolved)
	one("latched too", alert.Raised, alert.Ended)
	if len(tell.known) != 1 {
		t.Errorf("remembered: %v, want the one that is still open", tell.known)
	}
}
