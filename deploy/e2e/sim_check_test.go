package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"

	"wardline/shared/alert"
	"wardline/shared/sqlite"
	"wardline/shared/vital"
)

// fail notes what is broken; the seed's story is told with it.
func (w *world) fail(format string, a ...any) {
	w.t.Helper()
	w.note("BROKEN "+format, a...)
	w.t.Errorf(format, a...)
}

// look opens a database of a node for reading.
func (w *world) look(path string) *sql.DB {
	db, err := sqlite.Peek(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

// checkKept holds promise 1 against a gateway's disk as a crash left it: every
// frame that was acknowledged is there.
func (w *world) checkKept(g *gatewayNode, folder string, acked map[string]map[int]bool) {
	w.t.Helper()
	there := w.framesOn(folder)
	missing := 0
	for sensor, seqs := range acked {
		for seq := range seqs {
			if !there[sensor][seq] {
				missing++
			}
		}
	}
	if missing > 0 {
		w.fail("promise 1: %d frames that %s acknowledged are not on its disk after a crash", missing, g.id)
	}
}

var seqOf = regexp.MustCompile(`wl/1/[^/]+/(s\d-\d)/json.{1,12}?\{"t":\d+,"boot":1,"seq":(\d+),`)

// framesOn reads the frames of an outbox by sensor and seq, by nothing of the
// agent's own code.
func (w *world) framesOn(folder string) map[string]map[int]bool {
	w.t.Helper()
	db := w.look(filepath.Join(folder, "outbox.db"))
	defer db.Close()
	block, err := aes.NewCipher(simKey)
	if err != nil {
		w.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := db.Query(`SELECT n, frames FROM batch ORDER BY n`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]map[int]bool{}
	for rows.Next() {
		var n uint64
		var sealed []byte
		if err := rows.Scan(&n, &sealed); err != nil {
			w.t.Fatal(err)
		}
		name := binary.BigEndian.AppendUint64([]byte{'b', 0}, n)
		clear, err := gcm.Open(nil, sealed[:12], sealed[12:], name)
		if err != nil {
			w.t.Fatalf("batch %d: %v", n, err)
		}
		if clear[0] == 2 { // packed
			if clear, err = s2.Decode(nil, clear[1:]); err != nil {
				w.t.Fatalf("batch %d: %v", n, err)
			}
		}
		for _, m := range seqOf.FindAllSubmatch(clear, -1) {
			seq, _ := strconv.Atoi(string(m[2]))
			if out[string(m[1])] == nil {
				out[string(m[1])] = map[int]bool{}
			}
			out[string(m[1])][seq] = true
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// told is an alert as the cloud's events fold, by the ledger's rule.
type told struct {
	alert.Alert
	gateway string
}

// alerts folds what the cloud holds. What the board says of a condition, that its
// gateway has lost it, comes after all that the gateway said.
func (w *world) alerts(data string) (out []told) {
	w.t.Helper()
	db := w.look(filepath.Join(data, "cloud.db"))
	defer db.Close()
	rows, err := db.Query(`SELECT e.event, a.gateway FROM alert_event e JOIN alert a ON a.id = e.alert ORDER BY e.alert, e.author DESC, e.n`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text, gateway string
		var e alert.Event
		err := rows.Scan(&text, &gateway)
		if err == nil {
			err = json.Unmarshal([]byte(text), &e)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if len(out) == 0 || out[len(out)-1].ID != e.Alert {
			out = append(out, told{alert.Alert{}, gateway})
		}
		x := &out[len(out)-1]
		if x.Alert, err = alert.Apply(x.Alert, e); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// grace is how far, µs, an onset or an end may be from the ledger's, when no clock
// was stepped: the rule's delays, and a relay that was cut meanwhile.
const grace = 20e6

// checkNow holds what must be true at every instant: nothing is invented, told as
// two, or ended while it is true.
func (w *world) checkNow(cost map[int]costs) {
	w.t.Helper()
	w.cloud.mu.Lock()
	data, dead := w.cloud.data, w.cloud.dead
	w.cloud.mu.Unlock()
	if dead {
		return
	}
	byEpisode := map[string][]told{}
	for _, a := range w.alerts(data) {
		if a.Condition.Rule != "hr-high" {
			continue
		}
		gw, s := w.sensor(a.Condition.Sensor)
		if s == nil || a.gateway != w.gateways[gw].id || a.Condition.Priority != alert.Medium {
			w.fail("promise 5: an alert of %q, gateway %s, priority %v", a.Condition.Sensor, a.gateway, a.Condition.Priority)
			continue
		}
		i := slices.IndexFunc(s.episodes, func(x simSpan) bool { return a.Condition.Onset > x.from-2e6 && a.Condition.Onset < x.to+grace })
		if i < 0 {
			if !w.stepped(gw) && !cost[gw].alerts {
				w.fail("promise 5: an alert of %s whose onset %d s is in no episode", s.id, w.since(a.Condition.Onset))
			}
			continue
		}
		key := fmt.Sprintf("%s episode %d", s.id, i)
		byEpisode[key] = append(byEpisode[key], a)
		if len(byEpisode[key]) > 1 && !cost[gw].alerts {
			w.fail("promise 5: %s is told as %d alerts", key, len(byEpisode[key]))
		}
		if a.Phase != alert.Active && w.now() < s.episodes[i].to && !cost[gw].alerts {
			w.fail("%s ended at %d s and lasts until %d s: %q", key, w.since(a.EndedAt), w.since(s.episodes[i].to), a.EndText)
		}
	}
}

func (w *world) since(at int64) int64 {
	return (at - simStart.UnixMicro() - int64(w.days)*24*3600*1e6) / 1e6
}

// stepped says whether a gateway's clock was stepped in this plan.
func (w *world) stepped(gw int) bool {
	w.gateways[gw].mu.Lock()
	defer w.gateways[gw].mu.Unlock()
	return w.gateways[gw].offset != 0 || w.gateways[gw].wasStepped
}

func (w *world) sensor(id string) (int, *simSensor) {
	for i, g := range w.gateways {
		for _, s := range g.relay.sensors {
			if s.id == id {
				return i, s
			}
		}
	}
	return -1, nil
}

// checkEnd holds what must be true once the faults are over and the time to
// converge has passed.
func (w *world) checkEnd(cost map[int]costs) {
	w.t.Helper()
	data := w.cloud.data
	w.checkNow(cost)
	list := w.alerts(data)
	open := map[string]int{}
	for _, a := range list {
		if a.Open() && a.gateway != "cloud" {
			open[a.gateway]++
		}
	}
	for gw, g := range w.gateways {
		if n := g.relay.owes(); n > 0 {
			w.fail("liveness: %s has not acknowledged %d frames", g.id, n)
		}
		s, ok := g.status()
		if !ok || s.Uplink.State != "connected" {
			w.fail("liveness: %s says %+v", g.id, s)
			continue
		}
		for _, l := range s.Lanes {
			if l.Pending > 0 || l.Evicted > 0 {
				w.fail("liveness: %s has %d records of %s pending, %d evicted", g.id, l.Pending, l.Lane, l.Evicted)
			}
		}
		if len(s.Alerts) != open[g.id] {
			w.fail("the tiers disagree: %s has %d alerts open (%v), the cloud %d", g.id, len(s.Alerts), s.Alerts, open[g.id])
		}
		for _, x := range g.relay.sensors {
			for i, e := range x.episodes {
				w.checkEpisode(list, gw, x, i, e, cost[gw])
			}
			w.checkReadings(data, g, x, cost[gw])
		}
	}
	w.checkLanes(data)
	if w.t.Failed() {
		w.tell(data)
	}
}

// checkEpisode: one alert, which began and ended with it.
func (w *world) checkEpisode(list []told, gw int, s *simSensor, i int, e simSpan, cost costs) {
	w.t.Helper()
	n := 0
	for _, a := range list {
		// A disk that went back may hold an alert whose end it does not know: it goes on.
		if spans := a.RaisedAt < e.from && a.EndedAt > e.to; cost.alerts && spans && a.Condition.Rule == "hr-high" && a.Condition.Sensor == s.id {
			n++
		}
		if a.Condition.Rule == "hr-high" && a.Condition.Sensor == s.id && (w.stepped(gw) || a.Condition.Onset > e.from-2e6 && a.Condition.Onset < e.to+grace) {
			n++
			if a.Phase == alert.Active {
				w.fail("%s episode %d: its alert is still open", s.id, i)
			}
		}
	}
	if w.stepped(gw) {
		if n > len(s.episodes) && !cost.alerts || n == 0 {
			w.fail("promise 3: %s: %d alerts for %d episodes", s.id, n, len(s.episodes))
		}
		return
	}
	if n != 1 && !(cost.alerts && n > 0) {
		w.fail("promise 3: %s episode %d has %d alerts", s.id, i, n)
	}
}

// tell writes down what the cloud knows.
func (w *world) tell(data string) {
	db := w.look(filepath.Join(data, "cloud.db"))
	defer db.Close()
	rows, err := db.Query(`SELECT e.event FROM alert_event e JOIN alert a ON a.id = e.alert ORDER BY e.alert, e.author, e.n`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var e alert.Event
		if rows.Scan(&text) != nil || json.Unmarshal([]byte(text), &e) != nil {
			continue
		}
		rule := ""
		if e.Condition != nil {
			rule = fmt.Sprintf("%s of %s, onset %d s", e.Condition.Rule, e.Condition.Sensor, w.since(e.Condition.Onset))
		}
		w.note("known: %.6s %s %d %s at %d s %s %s", e.Alert, e.Author, e.N, e.Type, w.since(e.At), rule, e.Text)
	}
}

// checkReadings: each frame counts once in the summaries.
func (w *world) checkReadings(data string, g *gatewayNode, s *simSensor, cost costs) {
	w.t.Helper()
	db := w.look(filepath.Join(data, "cloud.db"))
	defer db.Close()
	rows, err := db.Query(`SELECT v.payload FROM vitals v JOIN bed b ON b.number = v.bed WHERE b.ward = $1 AND b.bed = $2`, g.ward, s.bed)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var p []byte
		if err := rows.Scan(&p); err != nil {
			w.t.Fatal(err)
		}
		n += heartRates(p)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	if want := len(s.frames); n != want && !cost.frames {
		w.fail("promise 4: the summaries of %s count %d readings, %d were sent", s.id, n, want)
	}
}

// heartRates counts the readings of a heart rate in a row of vitals.
func heartRates(p []byte) int {
	uvarint := func() uint64 { v, n := binary.Uvarint(p); p = p[n:]; return v }
	varint := func() { _, n := binary.Varint(p); p = p[n:] }
	p = p[2:]
	uvarint()
	for range 2 {
		n := uvarint()
		p = p[n:]
	}
	total := 0
	for len(p) > 0 {
		v := vital.Vital(p[0])
		p = p[2:]
		n := uvarint()
		for range 4 {
			varint()
		}
		if v == vital.HeartRate {
			total += int(n)
		}
	}
	return total
}

// checkLanes: nothing was kept raw, and the epochs of a lane are as many as were
// begun for a reason.
func (w *world) checkLanes(data string) {
	w.t.Helper()
	db := w.look(filepath.Join(data, "cloud.db"))
	defer db.Close()
	var odd int
	if err := db.QueryRow(`SELECT count(*) FROM odd_record`).Scan(&odd); err != nil {
		w.t.Fatal(err)
	}
	if odd > 0 {
		w.fail("promise 4: %d records were kept raw", odd)
	}
}

// story is what happened, for whoever replays it.
func (w *world) story() string {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return strings.TrimSpace(w.log.String())
}
