//go:build system

package e2e

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// A nurseOnDuty acknowledges alerts on a screen while the cloud and the links come
// and go. What was answered has to hold, and to reach the gateway.
type nurseOnDuty struct {
	*client

	mu   sync.Mutex      // guards what follows
	did  map[string]bool // alerts whose acknowledgement was answered
	told int             // how many
}

// watch acknowledges one open alert a second until done is closed.
func (n *nurseOnDuty) watch(done chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		var page struct{ Items []cloudAlert }
		if _, err := n.try("GET", "/api/v1/alerts?state=open&limit=200", nil, &page); err != nil {
			continue // the cloud is gone
		}
		for _, a := range page.Items {
			if a.Rule != "torture" || a.Ack != nil {
				continue
			}
			if got, err := n.try("POST", "/api/v1/alerts/"+a.ID+"/acknowledge", map[string]any{}, nil); err == nil && got.Status == http.StatusOK {
				n.mu.Lock()
				n.did[a.ID] = true
				n.told++
				n.mu.Unlock()
			}
			break
		}
	}
}

// answered is the alerts whose acknowledgement was answered and not looked at yet.
func (n *nurseOnDuty) answered() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.did)
}

// held looks for the acknowledgements that were answered: in the alert's events,
// once, and of what is open at its gateway.
func (y *tally) held(nurse *client, did map[string]bool, open []cloudAlert) {
	for _, a := range open {
		if did[a.ID] && !a.AtGateway {
			y.add(&y.unanswered, "alert %s of %s/%s: its gateway does not know that it was acknowledged", a.ID, a.Ward, a.Bed)
		}
	}
	for id := range did {
		n := 0
		a := nurse.alert(id)
		for _, e := range a.Events {
			if e.Type == "acknowledged" {
				n++
			}
		}
		if n != 1 {
			y.add(&y.unanswered, "alert %s of %s/%s was acknowledged once, and has %d acknowledgements: %v", id, a.Ward, a.Bed, n, a.Events)
		}
	}
}

// over forgets what was found to hold.
func (n *nurseOnDuty) over(seen map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range seen {
		delete(n.did, id)
	}
}
