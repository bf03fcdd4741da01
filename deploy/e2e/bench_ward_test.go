//go:build bench

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	benchSensors = 1000
	benchBeds    = 40 // a ward

	costMessages = 200_000
	costRounds   = 3
	warmUp       = 20_000

	wardRate   = 4000 // messages a second
	wardRounds = 3
	wardTime   = 15 * time.Second
)

// benchPack raises an alert with the message that brings the heart rate, so that
// what is measured is the agent and not a rule's delay.
const benchPack = `pack: bench
version: 1
for: measurements
limits:
  hr.bench: {default: 200, min: 100, max: 300, unit: /min}
rules:
  - id: at-once
    says: "Heart rate {hr:0}"
    priority: high
    when: hr > limit.hr.bench
    until: hr <= limit.hr.bench
    test:
      - {given: {hr: [70 for 10s, 210 for 10s]}, expect: raised at 10s}
`

// benchCost measures what a message costs the agent in processor time, with
// everything on: 1,000 sensors on beds, all rules, durable commits.
func benchCost(t *testing.T, x *table) {
	floor, agent := cost{cpu: math.Inf(1)}, cost{cpu: math.Inf(1)}
	before := machineBusy()
	for range costRounds {
		floor = floor.better(measureCost(t, startBareSubscriber))
		agent = agent.better(measureCost(t, startBenchAgent))
	}
	others := before.since()
	how := fmt.Sprintf("best of %d rounds in turn; %d messages of QoS 1 from mosquitto, %d sensors, 1 in 1,000 alerts; the agent's acknowledgements share their writes, paho's do not", costRounds, costMessages, benchSensors)
	x.add(figure{"B1", "agent's CPU a message", "µs", agent.cpu, floor.cpu, "<= 1.4 x a bare subscriber", agent.cpu <= 1.4*floor.cpu, others, how})
	x.add(figure{"B2", "agent's throughput", "/s", agent.rate, floor.rate, ">= 30000/s", agent.rate >= 30_000, others, "of the same rounds, with load and broker on the same machine"})
}

// A cost is of one round: processor time a message (µs), and messages a second.
type cost struct{ cpu, rate float64 }

func (c cost) better(d cost) cost { return cost{min(c.cpu, d.cpu), max(c.rate, d.rate)} }

// aheadAlerts bounds how many messages, in thousands, may wait in the broker.
const aheadAlerts = 20

// inTurn makes one message in as many as there are sensors raise an alert, which
// the same sensor's next one ends.
func inTurn(i, n int) bool { return n%benchSensors == i }

// A taker takes the load's messages off a broker. taken fails the measurement
// when it has not taken as many, each once.
type taker func(t testing.TB, broker string) (p *proc, taken func(messages int))

func measureCost(t testing.TB, start taker) cost {
	t.Helper()
	s := startBenchBroker(t)
	defer s.broker.stop()
	broker, watch := at(s.brokerPort), newAlertWatch()
	watch.listen(t, broker)
	p, taken := start(t, broker)
	defer p.stop()
	watch.watching(t)
	l := newLoad(t, broker, sensorNames(benchSensors), watch, inTurn)
	l.saturate(warmUp, aheadAlerts)
	_, cpu := processTime(p.cmd.Process.Pid)
	begin := time.Now()
	l.saturate(costMessages, aheadAlerts)
	took := time.Since(begin)
	_, after := processTime(p.cmd.Process.Pid)
	taken(l.sent)
	c := cost{float64((after - cpu).Microseconds()) / costMessages, costMessages / took.Seconds()}
	t.Logf("%s: %.2f µs of CPU a message, %.0f messages/s", p.name, c.cpu, c.rate)
	return c
}

// benchWard measures the time from a message to the alert on the ward's topic,
// committed.
func benchWard(t *testing.T, x *table) {
	var floor, agent [][2]float64
	before := machineBusy()
	for range wardRounds {
		floor = append(floor, measureWard(t, startBareSubscriber))
		agent = append(agent, measureWard(t, startBenchAgent))
	}
	others := before.since()
	how := fmt.Sprintf("median of %d rounds in turn; %d messages/s from %d sensors, 1 in 100 alerts; eKuiper, not durable: p50 0.5, p99 1.4 ms", wardRounds, wardRate, benchSensors)
	f, a := medians(floor), medians(agent)
	x.add(figure{"B3", "message to alert in the ward, p50", "ms", a[0], f[0], "<= 5 ms", a[0] <= 5, others, how})
	x.add(figure{"B3", "message to alert in the ward, p99", "ms", a[1], f[1], "<= 25 ms", a[1] <= 25, others, "same"})
}

func measureWard(t testing.TB, start taker) [2]float64 {
	t.Helper()
	s := startBenchBroker(t)
	defer s.broker.stop()
	broker, watch := at(s.brokerPort), newAlertWatch()
	watch.listen(t, broker)
	p, taken := start(t, broker)
	defer p.stop()
	watch.watching(t)
	l := newLoad(t, broker, sensorNames(benchSensors), watch, everyHundredth)
	l.pace(wardRate, 3*time.Second)
	watch.times(t)
	l.pace(wardRate, wardTime)
	taken(l.sent)
	return quantiles(t, p.name, watch.times(t))
}

// everyHundredth makes one message in a hundred raise an alert, which the same
// sensor's next one ends.
func everyHundredth(i, n int) bool { return (i+n)%100 == 99 }

func quantiles(t testing.TB, name string, took []time.Duration) [2]float64 {
	t.Helper()
	q := [2]float64{milliseconds(percentile(took, 0.5)), milliseconds(percentile(took, 0.99))}
	t.Logf("%s: p50 %.2f ms, p99 %.2f ms, worst %.2f ms of %d", name, q[0], q[1], milliseconds(took[len(took)-1]), len(took))
	return q
}

// medians is the median of each column.
func medians(rounds [][2]float64) (m [2]float64) {
	for i := range m {
		var column []float64
		for _, r := range rounds {
			column = append(column, r[i])
		}
		m[i] = middle(column)
	}
	return m
}

func sensorNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("s%04d", i)
	}
	return names
}

// benchWardOf is the ward of a bed, whose name is that of its sensor.
func benchWardOf(bed string) string {
	n := 0
	fmt.Sscanf(bed, "s%d", &n)
	return fmt.Sprintf("w%02d", n/benchBeds)
}

// benchWards is the wards of an agent's configuration.
func benchWards(sensors ...string) string {
	var b strings.Builder
	last := ""
	b.WriteString("wards:\n")
	for _, s := range sensors {
		if w := benchWardOf(s); w != last {
			fmt.Fprintf(&b, "  - id: %s\n    beds:\n", w)
			last = w
		}
		b.WriteString(benchBed(s))
	}
	return b.String()
}

// benchBed is a bed that is called like its sensor.
func benchBed(sensor string) string {
	return fmt.Sprintf("      - {bed: %s, sensor: %s, patient: k-%s}\n", sensor, sensor, sensor)
}

// startBenchAgent runs the agent as it is shipped, without a cloud.
func startBenchAgent(t testing.TB, broker string) (p *proc, taken func(messages int)) {
	t.Helper()
	dir := folder(t)
	write(t, filepath.Join(dir, "mqtt-password"), mqttPassword)
	config := benchAgentConfig(t, dir, "agent.yaml", broker, "gateway: gw-7w\ncloud: {off: true}\n"+benchWards(sensorNames(benchSensors)...))
	p = start(t, "wardline-agent", program(t, "wardline-agent"), "run", "--config", config)
	return p, func(messages int) {
		t.Helper()
		var s agentStatus
		if err := json.Unmarshal([]byte(must(t, program(t, "wardline-agent"), "status", "--json", "--config", config)), &s); err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		for _, in := range s.Intake {
			n += in.Accepted
		}
		if n != uint64(messages) || len(s.setAside()) > 0 {
			t.Fatalf("the agent took %d messages of %d, and set aside %v", n, messages, s.setAside())
		}
	}
}

func benchAgentConfig(t testing.TB, dir, name, broker, more string) string {
	t.Helper()
	pack := write(t, filepath.Join(dir, "bench-pack.yaml"), benchPack)
	return write(t, filepath.Join(dir, name), fmt.Sprintf(`data: agent
log_level: warn
mqtt:
  url: mqtt://%s
  username: agent
  password_file: mqtt-password
  max_inflight: 1024
packs: [adult-ward, technical, %q]
%s`, broker, pack, more))
}

// startBenchBroker runs mosquitto alone, with the settings that are shipped.
func startBenchBroker(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, folder: folder(t), brokerPort: port(t)}
	s.startBroker()
	return s
}
