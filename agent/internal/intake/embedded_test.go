package intake

import (
	"context"
	"log/slog"
	"testing"

	"wardline/agent/internal/broker"
)

func TestTheEmbeddedBrokerAcknowledgesToARelayWhenTheTakerDoes(t *testing.T) {
	const id = "wardline-agent-gw"
	address := make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- broker.Run(ctx, broker.Config{Listen: "127.0.0.1:0", Agent: id, Log: slog.New(slog.DiscardHandler),
			Ready: func(a string) { address <- a }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	url := "tcp://" + <-address
	in := start(t, Config{URL: url, ClientID: id})
	in.connected(t, true)
	r := relay(t, url, "relay1", nil)
	kept := r.Publish(jsonTopic, 1, false, "kept")
	lost := r.Publish(jsonTopic, 1, false, "not kept")
	got := in.next(t, 2)
	got[0].Ack()
	mustT(t, kept)
	select {
	case <-lost.Done():
		t.Fatal("the relay was told that a message is kept which is not")
	default:
	}
	in.stop() // the agent dies before its commit
	in = start(t, Config{URL: url, ClientID: id})
	in.connected(t, true)
	if got = in.next(t, 1); string(got[0].Payload) != "not kept" {
		t.Fatalf("%s came again", got[0].Payload)
	}
	got[0].Ack()
	mustT(t, lost)
}
