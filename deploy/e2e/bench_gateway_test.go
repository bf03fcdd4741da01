//go:build bench

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/firmware-protocol/virtual"
)

const (
	memorySensors = 50
	memoryFrames  = memorySensors * 3600 // an hour, a frame a second
	memoryTarget  = 40.0                 // MB; the aim is 25
	memoryRate    = 4000                 // frames a second

	flashWarm   = 40 * time.Second // the outbox of 1 MiB is full by then, or all but
	flashDuring = 2 * time.Minute  // two checkpoints of the ward, four tidyings of the outbox
)

// benchMemory measures what the agent's process takes of the memory after an
// hour's frames of two-lead ECG, with an outbox that is full of a day: each frame
// is as of now, so that all of it goes the way of live data, only faster.
func benchMemory(t *testing.T, x *table) {
	before := machineBusy()
	s := startBenchBroker(t)
	defer s.broker.stop()
	names := sensorNames(memorySensors)
	config := benchAgentConfig(t, s.folder, "agent.yaml", at(s.brokerPort),
		"gateway: gw-7w\ncloud: {off: true}\noutbox: {max_bytes: 256MiB}\n"+benchWards(names...))
	fillOutbox(t, config, "-fill-ecg=2h")
	watch := newAlertWatch()
	watch.listen(t, at(s.brokerPort))
	p := start(t, "wardline-agent", program(t, "wardline-agent"), "run", "--config", config)
	defer func() { p.stop() }()
	watched(t, p, watch)
	idle := memory(t, p, "VmRSS")
	newECG(t, at(s.brokerPort), names).send(t, memoryFrames, memoryRate)
	ask := controlClient(s.path("agent/control.sock"))
	until(t, 20*time.Second, "the last frame", func() error {
		if n := ask.status(t).accepted(); n != memoryFrames {
			return fmt.Errorf("the agent took %d frames of %d", n, memoryFrames)
		}
		return nil
	})
	rss, peak := memory(t, p, "VmRSS"), memory(t, p, "VmHWM")
	others := before.since()
	x.add(figure{"B6", "agent's memory, 50 two-lead ECG", "MB", rss, idle, "<= 40 MB, aim at 25", rss <= memoryTarget, others,
		fmt.Sprintf("RSS after %d frames in %v, most ever %s MB; outbox full of 24 h; the floor is the same agent before the first frame",
			memoryFrames, time.Duration(memoryFrames)*time.Second/memoryRate, number(peak))})
	if rss > memoryTarget {
		p.stop()
		p = startProfiled(t, profiledAgent, config, "B6")
		watched(t, p, watch)
		newECG(t, at(s.brokerPort), names).send(t, memoryFrames/3, memoryRate)
	}
}

// memory is a line of /proc/PID/status, in MB of 1,000,000 bytes.
func memory(t testing.TB, p *proc, line string) float64 {
	t.Helper()
	return float64(procLine(t, p, "status", line)) * 1024 / 1e6
}

// procLine is the number of a line of one of the kernel's files about a process.
func procLine(t testing.TB, p *proc, file, line string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no %s in %s", line, file)
	return 0
}

// An ecgLoad is sensors with a two-lead ECG, faster than they are: each frame
// says that it is of the instant at which it is sent.
type ecgLoad struct {
	conn   *mqttConn
	topics []string
	frames []*biosensorpb.Frame
}

func newECG(t testing.TB, broker string, sensors []string) *ecgLoad {
	t.Helper()
	l := &ecgLoad{conn: dialMQTT(t, broker, relayUser, nil)}
	boot := uint32(time.Now().Unix())
	for i, s := range sensors {
		p := virtual.NewPatient(virtual.PatientConfig{Identity: virtual.Identity{Sensor: s, Boot: boot, Start: time.Now().Add(-time.Minute)}, Seed: uint64(i), Leads: 2})
		l.topics = append(l.topics, frame.Topic{Relay: relayUser, Sensor: s, Kind: frame.KindFrame}.String())
		l.frames = append(l.frames, p.Step(time.Second))
	}
	return l
}

// send sends n frames at a rate a second, the sensors in turn.
func (l *ecgLoad) send(t testing.TB, n, rate int) {
	t.Helper()
	begin := time.Now()
	for i := range n {
		if i%64 == 0 {
			if err := l.conn.flush(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		f := l.frames[i%len(l.frames)]
		f.Seq++
		err := l.conn.publish(l.topics[i%len(l.topics)], func() []byte {
			now := time.Now().UnixMicro()
			f.ClockUs = uint64(now - time.Second.Microseconds() - f.StartUs)
			wire, err := frame.Seal(nil, f, nil, frame.Stamp{ReceivedUS: now, Clock: biosensorpb.Clock_CLOCK_SYNCHRONISED})
			if err != nil {
				t.Fatal(err)
			}
			return wire
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.conn.flush(); err != nil {
		t.Fatal(err)
	}
}

// benchFlash measures what a ward of 40 beds has written to flash, beside what it
// was sent. It counts bytes, not time, so the two loads run beside each other.
func benchFlash(t *testing.T, x *table) {
	loads := []struct {
		name   string
		vitals bool
		most   float64
		got    flashBytes
	}{{name: "two-lead ECG", most: 3}, {name: "vitals only", vitals: true, most: 6}}
	before := machineBusy()
	t.Run("loads", func(t *testing.T) {
		for i := range loads {
			t.Run(loads[i].name, func(t *testing.T) {
				t.Parallel()
				loads[i].got = measureFlash(t, loads[i].vitals)
			})
		}
	})
	others := before.since()
	how := fmt.Sprintf("of %v with the link up, outbox full; the floor is the payloads received; write_bytes of /proc/PID/io, which the agent reads too; the file system's journal is not in it", flashDuring)
	day := float64(24*time.Hour) / float64(flashDuring) / 1e6
	for _, l := range loads {
		target := fmt.Sprintf("<= %v x received", l.most)
		for _, c := range []struct {
			by    string
			bytes int64
		}{{"kernel", l.got.kernel}, {"agent", l.got.agent}} {
			x.add(figure{"B7", "flash a day by the " + c.by + ", " + l.name, "MB", float64(c.bytes) * day, float64(l.got.received) * day, target,
				float64(c.bytes) <= l.most*float64(l.got.received), others, how})
		}
	}
}

// flashBytes is what was written by two counts, and what was received.
type flashBytes struct{ kernel, agent, received int64 }

func measureFlash(t testing.TB, vitalsOnly bool) flashBytes {
	t.Helper()
	s := newSite(t)
	g := &gateway{site: s, id: gatewayID, ward: screenWard}
	names := sensorNames(benchBeds)
	benchAgentConfig(t, s.folder, g.id+".yaml", at(s.brokerPort), "control_socket: control\noutbox: {max_bytes: 1MiB}\n"+benchWards(names...))
	g.enrol()
	g.startAgent()
	g.linked()
	stats := new(virtual.Stats)
	stop := startWard(t, s, virtual.Config{Names: names, Sensors: benchBeds, VitalsOnly: vitalsOnly, Stats: stats})
	defer stop()
	time.Sleep(flashWarm)
	ask := controlClient(s.path("control"))
	count := func() flashBytes {
		return flashBytes{procLine(t, g.agent, "io", "write_bytes"), ask.status(t).Flash.Today, stats.Bytes.Load()}
	}
	a := count()
	time.Sleep(flashDuring)
	b := count()
	got := flashBytes{b.kernel - a.kernel, b.agent - a.agent, b.received - a.received}
	if got.received == 0 || got.kernel == 0 {
		t.Fatalf("nothing was sent, or nothing written: %+v; is the folder on a disk?", got)
	}
	return got
}
