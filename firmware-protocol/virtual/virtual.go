// Package virtual is a relay without hardware: it speaks the firmware protocol
// over MQTT for one to a thousand sensors on patients that it synthesises or
// plays from recordings.
//
// It is a relay like any other: it keeps what it could not send and sends it
// later, answers requests, and says by its last will that it is gone. The
// patients are pure (Patient, Player): time goes in, frames come out, and a
// seed gives the same frames on every run, so that tests need no broker.
//
// It does not try to be a good patient model. What it promises is that what it
// reports agrees with what it draws, that its values stay inside the usual
// limits for adults outside episodes, and lie well beyond them inside.
package virtual

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"wardline/firmware-protocol/frame"
)

// ErrUsage is wrapped by errors about what was asked for, in a Config or in the
// text of an episode; every other error is about what happened.
var ErrUsage = errors.New("wrong settings")

// MaxSensors is how many sensors one virtual relay carries.
const MaxSensors = 1000

// Config is what a virtual relay needs to know.
type Config struct {
	Broker   string      // tcp://host:port or ssl://host:port; "": tcp://127.0.0.1:1883
	TLS      *tls.Config // for ssl; nil: the system's roots
	Username string      // "": none
	Password string
	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network's

	Relay   string   // the relay's id; "": virtual. Two with one id cut each other off for ever
	Sensors int      // 1 to MaxSensors; 0: as many as Names, or 1
	Names   []string // the sensors' ids; nil: s001, s002, …
	Seed    uint64   // sensor i's patient comes of Seed and i; 0 is a seed like any other
	Boot    uint32   // of every sensor; 0: the seconds since 1970 at the start

	FrameEvery time.Duration              // a sensor's frames; 0: a second. Rounded to ECG samples where there are any
	Leads      int                        // ECG leads of synthesised patients, 1 or 2, with respiration; 0: 2
	VitalsOnly bool                       // no waveforms, of records neither; Leads is not looked at
	JSON       bool                       // send the JSON form (SPEC §7); it carries no waveforms and no tag
	Episodes   []Episode                  // nil: nothing befalls anybody
	Key        func(sensor string) []byte // a sensor's key, nil where it has none; nil: no keys

	Records []string      // WFDB records, paths without extension; sensor i plays the i-th, in turn. nil: synthesised
	From    time.Duration // where in the records to begin
	Loop    bool          // begin a record again at its end, at Speed 1 only; false: Run returns there

	// Speed 1 (and 0) plays as now. A higher one plays Length as history: that
	// many times as fast, with sensor times that end at the now of the end.
	Speed  float64
	Length time.Duration // how much to play; 0: for ever, or what the records hold

	Messages int64 // Run returns after so many; 0: no bound
	Unpaced  bool  // as fast as the broker takes it, every frame as of its instant; needs VitalsOnly or JSON

	Hold  int          // frames a sensor that are kept for back-fill, some 130 bytes each without an ECG, 700 with; 0: 300
	Log   *slog.Logger // nil: nowhere
	Stats *Stats       // counts what was done while Run runs; nil: not counted
}

// Stats counts what a relay has done. It may be read at any time.
type Stats struct {
	Messages   atomic.Int64 // acknowledged by the broker
	Bytes      atomic.Int64 // given to the broker, topics not counted
	Failed     atomic.Int64 // cut off on the way; the session sends them again when it goes on
	Backfilled atomic.Int64 // sent again on request
	Late       atomic.Int64 // sent late, after a silence
	Requests   atomic.Int64 // taken
	Refused    atomic.Int64 // requests that were not understood
}

// SensorNames are the ids that c's sensors have, c being complete or not;
// MaxSensors of them at most, however many are asked for.
func (c Config) SensorNames() []string {
	n := c.Sensors
	if n == 0 {
		n = max(len(c.Names), 1)
	}
	n = min(max(n, 0), MaxSensors) // Check refuses what is more or less
	names := make([]string, 0, n)
	for i := range n {
		if i < len(c.Names) {
			names = append(names, c.Names[i])
		} else {
			names = append(names, fmt.Sprintf("s%03d", i+1))
		}
	}
	return names
}

// Check says what Run would refuse to do, before anything is opened. Its errors
// wrap ErrUsage.
func (c Config) Check() error { return c.complete() }

// complete puts the defaults into c and says what cannot be.
func (c *Config) complete() error {
	if c.Broker == "" {
		c.Broker = "tcp://127.0.0.1:1883"
	}
	if c.Relay == "" {
		c.Relay = "virtual"
	}
	if c.FrameEvery == 0 {
		c.FrameEvery = time.Second
	}
	if c.Leads == 0 {
		c.Leads = 2
	}
	if c.VitalsOnly || c.JSON {
		c.Leads = 0
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Hold == 0 {
		c.Hold = 300
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Stats == nil {
		c.Stats = new(Stats)
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return nil
}

func (c *Config) check() error {
	names, n := c.SensorNames(), cmp.Or(c.Sensors, len(c.Names), 1)
	switch {
	case !frame.ValidRelay(c.Relay):
		return fmt.Errorf("relay id %q cannot be used in a topic", c.Relay)
	case n < 1 || n > MaxSensors:
		return fmt.Errorf("%d sensors, want 1 to %d", n, MaxSensors)
	case len(c.Names) > n:
		return fmt.Errorf("%d names for %d sensors", len(c.Names), n)
	case c.Leads < 0 || c.Leads > 2:
		return fmt.Errorf("%d ECG leads, want 1 or 2", c.Leads)
	case !(c.Speed >= 1):
		return fmt.Errorf("speed %v, want at least 1", c.Speed)
	case c.Speed > 1 && c.Length == 0 && c.Records == nil:
		return fmt.Errorf("speed %v plays history, which needs a length or a record", c.Speed)
	case c.Speed > 1 && c.Loop:
		return errors.New("a record that is played as history does not begin again")
	case c.Records == nil && (c.Loop || c.From != 0):
		return errors.New("only a record can begin again, or somewhere in it: there is none")
	case c.From < 0 || c.Length < 0:
		return fmt.Errorf("from %v for %v, want neither below 0", c.From, c.Length)
	case c.Unpaced && (c.Leads > 0 || c.Records != nil || c.Speed > 1):
		return errors.New("only vital signs, as now, can be sent unpaced")
	case c.FrameEvery < time.Millisecond || c.FrameEvery > 16*time.Second:
		return fmt.Errorf("a frame every %v, want 1ms to 16s", c.FrameEvery)
	case c.Hold < 1 || c.Hold > 1<<20:
		return fmt.Errorf("%d frames held, want 1 to %d", c.Hold, 1<<20)
	}
	seen := map[string]bool{}
	for _, name := range names {
		if !frame.ValidID(name) {
			return fmt.Errorf("sensor id %q cannot be used in a topic", name)
		}
		if seen[name] {
			return fmt.Errorf("two sensors are called %q", name)
		}
		seen[name] = true
	}
	for _, e := range c.Episodes {
		if e.Sensor < 1 || e.Sensor > len(names) {
			return fmt.Errorf("episode %v: sensor %d, want 1 to %d", e, e.Sensor, len(names))
		}
		if c.Records != nil && e.Kind != Silent {
			return fmt.Errorf("episode %v: a recording can only fall silent", e)
		}
	}
	return nil
}
