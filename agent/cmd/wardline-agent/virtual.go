package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

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
	if err != nil {
		return asked{err}
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
		return cfg, fmt.Errorf("virtual takes no argument %q", c.Args().First())
	}
	for _, text := range c.StringSlice("episode") {
		e, err := virtual.ParseEpisode(text)
		if err != nil {
			return cfg, err
		}
		cfg.Episodes = append(cfg.Episodes, e)
	}
	if file := c.String("password-file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return cfg, fmt.Errorf("read the password: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(b))
	}
	if cfg.Speed < 1 {
		return cfg, errors.New("speed must be at least 1")
	}
	return cfg, nil
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
