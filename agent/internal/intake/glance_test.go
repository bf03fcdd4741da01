package intake

import (
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func TestAWardIsLookedAtBesideASessionThatGivesNoMore(t *testing.T) {
	url, _ := mosquitto(t, t.TempDir(), freePort(t))
	gone := make(chan string, 4)
	lamp := relay(t, url, "lamp", func(m mqtt.Message) { gone <- string(m.Payload()) })
	mustT(t, lamp.Subscribe("ward/agent", 1, nil))
	in := start(t, Config{URL: url, Wards: []string{"7w"}, WillTopic: "ward/agent", WillPayload: []byte("gone")})
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	seen := func() *Message {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); {
			mustT(t, r.Publish("wl/1/ward/7w/response", 1, false, "no glance")) // an act is done once
			mustT(t, r.Publish(jsonTopic, 1, false, vitalsNow()))
			select {
			case m := <-in.Glances():
				return m
			case <-time.After(10 * time.Millisecond):
			}
		}
		t.Fatalf("nothing is seen: %+v, %d", in.Status(), len(in.Glances()))
		return nil
	}
	in.Glance(true)
	m := seen()
	in.Decoder().Decode(m, m.Received, true)
	m.Ack() // does nothing
	if m.Class != Sensor || m.Reason != "" {
		t.Errorf("seen is %+v", m)
	}
	in.Glance(false)
	for quiet := false; !quiet; { // it ends
		mustT(t, r.Publish(jsonTopic, 1, false, vitalsNow()))
		select {
		case <-in.Glances():
		case <-time.After(200 * time.Millisecond):
			quiet = true
		}
	}
	in.Glance(true)
	seen()
	in.stop()
	if got := hear(t, gone); got != "gone" || len(gone) > 0 {
		t.Errorf("the lamp hears %q and %d more, want the last word once", got, len(gone))
	}
}

func TestABrokerWhoseRelaysWaitForTheAgentIsNotLookedAtTwice(t *testing.T) {
	in, err := New(Config{URL: "tcp://x", ClientID: "a", Sources: ward7[:2], Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	if in.Glance(true); in.glances.wished() {
		t.Error("it is")
	}
}
