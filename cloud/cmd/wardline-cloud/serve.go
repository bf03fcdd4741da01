package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"wardline/cloud"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run the cloud until told to stop (what the service runs)",
		Flags: []cli.Flag{configFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg, err := load(c)
			if err != nil {
				return err
			}
			var level slog.Level
			if cfg.LogLevel != "" {
				if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
					return err
				}
			}
			cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			cfg.Ready = func(a cloud.Addresses) {
				cfg.Log.Info("the cloud is up", "people", a.People, "gateways", a.Gateways, "version", cloud.Version)
			}
			err = cloud.Run(c.Context, cfg)
			if errors.Is(err, cloud.ErrRunning) {
				return hinted{fmt.Errorf("cannot serve: %w", err), "is the service running? try: systemctl status wardline-cloud"}
			}
			if err != nil {
				return fmt.Errorf("cannot serve: %w", err)
			}
			return nil
		},
	}
}

func checkConfigCommand() *cli.Command {
	return &cli.Command{
		Name: "check-config", Usage: "say what is wrong with the configuration, if anything",
		Flags: []cli.Flag{configFlag, &cli.BoolFlag{Name: "running", Usage: "also ask the running cloud whether it is well"}},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg, err := load(c)
			if err != nil {
				return err
			}
			if !c.Bool("running") {
				fmt.Println("the configuration is good")
				return nil
			}
			if err := askHealth(cfg); err != nil {
				return fmt.Errorf("cannot find the cloud well: %w", err)
			}
			fmt.Println("the configuration is good, and the cloud is well")
			return nil
		},
	}
}

// healthWithin is how long a cloud that is well takes to say so.
const healthWithin = 3 * time.Second

// askHealth asks the cloud on this machine. Its certificate is not looked at: the
// loopback is ours, and the certificate may be good for other names only.
func askHealth(cfg cloud.Config) error {
	listen := cfg.People.Listen
	if listen == "" {
		listen = ":8443"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	client := http.Client{Timeout: healthWithin, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	answer, err := client.Get("https://" + net.JoinHostPort(host, port) + "/healthz")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", answer.Status)
	}
	return nil
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "say which version this is",
		Flags: []cli.Flag{jsonFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(map[string]string{"version": cloud.Version})
			}
			fmt.Println("wardline-cloud", cloud.Version)
			return nil
		},
	}
}
