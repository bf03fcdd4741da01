package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"wardline/firmware-protocol/frame"
	"wardline/firmware-protocol/virtual"
)

func virtualCommand() *cli.Command {
	return &cli.Command{
		Name: "virtual", Usage: "be a relay with virtual patients, for a trial, a lesson or a load",
		Description: `Synthesises patients, or plays WFDB records (PhysioNet's format), and publishes
them as a relay would. The sensors s001, s002, … (or --name) must be bound to
beds in the agent's configuration to be seen.

   wardline-agent virtual --sensors 12 --episode tachycardia@20s+60s:3
   wardline-agent virtual --record mitdb/208 --name P0012
   wardline-agent virtual --record mitdb/208 --speed 60 --name P0012   (history that ends now)

Episodes: tachycardia, desaturation, apnoea, asystole, lead_off, silent,
battery_low, fever; each as kind@after+duration:sensor.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "broker", Value: "mqtt://127.0.0.1:1883", Usage: "the MQTT broker's `URL`"},
			&cli.StringFlag{Name: "username", Usage: "sign in to the broker as `NAME`"},
			&cli.StringFlag{Name: "password-file", Usage: "a `FILE` that holds only the password"},
			&cli.StringFlag{Name: "relay", Value: "virtual", Usage: "the relay's `ID`"},
			&cli.IntFlag{Name: "sensors", Usage: "how many sensors, 1 to 1000 (default: as many as names, or 1)"},
			&cli.StringSliceFlag{Name: "name", Usage: "a sensor's `ID`; may be repeated (default: s001, s002, …)"},
			&cli.Uint64Flag{Name: "seed", Usage: "the same `NUMBER` gives the same patients"},
			&cli.StringSliceFlag{Name: "episode", Usage: "what befalls a patient, `KIND@AFTER+DURATION:SENSOR`; may be repeated"},
			&cli.StringSliceFlag{Name: "record", Usage: "play the WFDB record at `PATH` (no extension); may be repeated"},
			&cli.DurationFlag{Name: "from", Usage: "where in the records to begin"},
			&cli.DurationFlag{Name: "length", Usage: "how much to play (default: for ever, or what the records hold)"},
			&cli.Float64Flag{Name: "speed", Value: 1, Usage: "1 plays as now; more plays history, so many times as fast, that ends now"},
			&cli.BoolFlag{Name: "loop", Usage: "begin a record again at its end"},
			&cli.DurationFlag{Name: "every", Value: time.Second, Usage: "how often a sensor sends"},
			&cli.BoolFlag{Name: "vitals-only", Usage: "no waveforms"},
			&cli.BoolFlag{Name: "as-json", Usage: "send the JSON form instead of frames"},
			jsonFlag,
		},
		Action: runVirtual,
	}
}

func runVirtual(c *cli.Context) error {
	cfg, err := virtualConfig(c)
	if _, wrong := errors.AsType[asked](err); wrong {
		return hinted{err, "try: wardline-agent virtual --help"}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "relay %s: %s, to %s; Ctrl-C ends it\n", cfg.Relay, strings.Join(shorten(cfg.SensorNames()), ", "), c.String("broker"))
	err = virtual.Run(c.Context, cfg)
	if c.Context.Err() == nil && err != nil {
		return fmt.Errorf("cannot go on: %w", err)
	}
	sent, failed := cfg.Stats.Messages.Load(), cfg.Stats.Failed.Load()
	if c.Bool("json") {
		return printJSON(os.Stdout, map[string]int64{"messages": sent, "failed": failed, "bytes": cfg.Stats.Bytes.Load()})
	}
	_, err = fmt.Printf("%d messages taken by the broker, %d not\n", sent, failed)
	return err
}

func virtualConfig(c *cli.Context) (virtual.Config, error) {
	cfg := virtual.Config{
		Broker: brokerURL(c.String("broker")), Username: c.String("username"), Relay: c.String("relay"),
		Sensors: c.Int("sensors"), Names: c.StringSlice("name"), Seed: c.Uint64("seed"),
		Records: c.StringSlice("record"), From: c.Duration("from"), Length: c.Duration("length"),
		Speed: c.Float64("speed"), Loop: c.Bool("loop"), FrameEvery: c.Duration("every"),
		VitalsOnly: c.Bool("vitals-only"), JSON: c.Bool("as-json"),
		Log: logger(os.Stderr, "info"), Stats: new(virtual.Stats),
	}
	if c.Args().Present() {
		return cfg, asked{fmt.Errorf("virtual takes no argument %q", c.Args().First())}
	}
	for _, text := range c.StringSlice("episode") {
		e, err := virtual.ParseEpisode(text)
		if err != nil {
			return cfg, asked{fmt.Errorf("--episode: %w", err)}
		}
		cfg.Episodes = append(cfg.Episodes, e)
	}
	if err := checkVirtual(c, cfg); err != nil {
		return cfg, asked{err}
	}
	if file := c.String("password-file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return cfg, fmt.Errorf("cannot read the password: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(b))
	}
	return cfg, nil
}

// checkVirtual says which flag asks for what cannot be.
func checkVirtual(c *cli.Context, cfg virtual.Config) error {
	u, err := url.Parse(cfg.Broker)
	names := cfg.SensorNames()
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"tcp", "ssl", "tls"}, u.Scheme):
		return fmt.Errorf("--broker: %q is not like mqtt://127.0.0.1:1883", c.String("broker"))
	case !frame.ValidRelay(cfg.Relay):
		return fmt.Errorf("--relay: %q is no relay's id", cfg.Relay)
	case c.IsSet("sensors") && (cfg.Sensors < 1 || cfg.Sensors > virtual.MaxSensors):
		return fmt.Errorf("--sensors: %d is not 1 to %d", cfg.Sensors, virtual.MaxSensors)
	case len(cfg.Names) > virtual.MaxSensors || c.IsSet("sensors") && len(cfg.Names) > cfg.Sensors:
		return fmt.Errorf("--name: %d of them for %d sensors", len(cfg.Names), len(names))
	case cfg.FrameEvery < time.Millisecond || cfg.FrameEvery > 16*time.Second:
		return fmt.Errorf("--every: %s is not 1ms to 16s", cfg.FrameEvery)
	case !(cfg.Speed >= 1):
		return fmt.Errorf("--speed: %g is less than 1", cfg.Speed)
	case cfg.From < 0:
		return fmt.Errorf("--from: %s is before the beginning", cfg.From)
	case cfg.Length < 0:
		return fmt.Errorf("--length: %s is less than nothing", cfg.Length)
	case cfg.Speed > 1 && cfg.Length == 0 && cfg.Records == nil:
		return errors.New("--speed: more than 1 plays history, which needs --length or --record")
	case cfg.Records == nil && cfg.From != 0:
		return errors.New("--from: there is no --record to begin in")
	case cfg.Records == nil && cfg.Loop:
		return errors.New("--loop: there is no --record to begin again")
	case cfg.Speed > 1 && cfg.Loop:
		return errors.New("--loop: what is played as history, by a --speed above 1, does not begin again")
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("--name: two sensors are called %q", name)
		}
		if !frame.ValidID(name) {
			return fmt.Errorf("--name: %q is no sensor's id", name)
		}
	}
	for _, e := range cfg.Episodes {
		switch {
		case e.Sensor > len(names):
			return fmt.Errorf("--episode: %v is of sensor %d, and there are %d", e, e.Sensor, len(names))
		case cfg.Records != nil && e.Kind != virtual.Silent:
			return fmt.Errorf("--episode: %v: what is played from a --record can only fall silent", e)
		}
	}
	return nil
}

// brokerURL writes the URL as the MQTT client wants it.
func brokerURL(s string) string {
	if rest, ok := strings.CutPrefix(s, "mqtt://"); ok {
		return "tcp://" + rest
	}
	if rest, ok := strings.CutPrefix(s, "mqtts://"); ok {
		return "ssl://" + rest
	}
	return s
}

func shorten(names []string) []string {
	if len(names) <= 4 {
		return names
	}
	return []string{names[0], names[1], "…", names[len(names)-1]}
}
