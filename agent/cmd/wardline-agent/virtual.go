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
			&cli.IntFlag{Name: "sensors", Usage: "`HOW` many sensors, 1 to 1000", DefaultText: "as many as names, or 1"},
			&cli.StringSliceFlag{Name: "name", Usage: "a sensor's `ID`; may be repeated", DefaultText: "s001, s002, …"},
			&cli.Uint64Flag{Name: "seed", Usage: "the same `NUMBER` gives the same patients"},
			&cli.StringSliceFlag{Name: "episode", Usage: "what befalls a patient, `KIND@AFTER+DURATION:SENSOR`; may be repeated"},
			&cli.StringSliceFlag{Name: "record", Usage: "play the WFDB record at `PATH`, with or without .hea or .dat; may be repeated"},
			&cli.DurationFlag{Name: "from", Usage: "where in the records to begin", DefaultText: "at their start"},
			&cli.DurationFlag{Name: "length", Usage: "how much to play", DefaultText: "for ever, or what the records hold"},
			&cli.Float64Flag{Name: "speed", Value: 1, Usage: "1 plays as now; more plays history, so many times as fast, that ends now"},
			&cli.BoolFlag{Name: "loop", Usage: "begin a record again at its end", DisableDefaultText: true},
			&cli.DurationFlag{Name: "every", Value: time.Second, Usage: "how often a sensor sends"},
			&cli.BoolFlag{Name: "vitals-only", Usage: "no waveforms", DisableDefaultText: true},
			&cli.BoolFlag{Name: "as-json", Usage: "send the JSON form instead of frames", DisableDefaultText: true},
			jsonFlag,
		},
		Action: runVirtual,
	}
}

func runVirtual(c *cli.Context) error {
	cfg, err := virtualConfig(c)
	if err != nil {
		return virtualTrouble(err)
	}
	fmt.Fprintf(os.Stderr, "relay %s: %s, to %s; Ctrl-C ends it\n", cfg.Relay, strings.Join(shorten(cfg.SensorNames()), ", "), c.String("broker"))
	err = virtual.Run(c.Context, cfg)
	if c.Context.Err() == nil && err != nil {
		return virtualTrouble(fmt.Errorf("cannot go on: %w", err))
	}
	sent, failed := cfg.Stats.Messages.Load(), cfg.Stats.Failed.Load()
	if c.Bool("json") {
		return printJSON(os.Stdout, map[string]int64{"messages": sent, "failed": failed, "bytes": cfg.Stats.Bytes.Load()})
	}
	text := count(int(sent), "message") + " taken by the broker"
	if failed > 0 {
		text += fmt.Sprintf(", %d not acknowledged", failed)
	}
	_, err = fmt.Println(text)
	return err
}

// virtualTrouble tells what was asked wrongly from what went wrong.
func virtualTrouble(err error) error {
	if _, wrong := errors.AsType[asked](err); !wrong && errors.Is(err, virtual.ErrUsage) {
		err = asked{err}
	}
	if _, wrong := errors.AsType[asked](err); wrong {
		return hinted{err, "try: wardline-agent virtual --help"}
	}
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
	for i, path := range cfg.Records { // both of its files name a record
		cfg.Records[i] = strings.TrimSuffix(strings.TrimSuffix(path, ".dat"), ".hea")
	}
	for _, text := range c.StringSlice("episode") {
		e, err := virtual.ParseEpisode(text)
		if err != nil {
			return cfg, err
		}
		cfg.Episodes = append(cfg.Episodes, e)
	}
	if err := checkFlags(c, cfg); err != nil {
		return cfg, asked{err}
	}
	if err := cfg.Check(); err != nil {
		return cfg, err
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

// checkFlags says what only flags can be wrong in, such as a zero, which stands for
// the default in a virtual.Config. That checks the rest.
func checkFlags(c *cli.Context, cfg virtual.Config) error {
	u, err := url.Parse(cfg.Broker)
	switch {
	case c.Args().Present():
		return fmt.Errorf("virtual takes no argument %q", c.Args().First())
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"tcp", "ssl", "tls"}, u.Scheme):
		return fmt.Errorf("--broker: %q is not like mqtt://127.0.0.1:1883", c.String("broker"))
	case c.IsSet("sensors") && cfg.Sensors < 1: // 0 would be the default
		return fmt.Errorf("--sensors: %d is not 1 to %d", cfg.Sensors, virtual.MaxSensors)
	case cfg.FrameEvery == 0:
		return errors.New("--every: 0s is not 1ms to 16s")
	case cfg.Speed == 0:
		return errors.New("--speed: 0 is less than 1")
	case cfg.Relay == "":
		return errors.New("--relay: an id is needed")
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
