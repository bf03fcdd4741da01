// Command demo runs the whole of Wardline on one machine: a cloud, a gateway
// with its own broker, two wards of virtual patients, real certificates, and a
// script of what befalls them. It needs nothing but Go.
//
// What it keeps is in one folder, and a second start goes on from there.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"wardline/agent"
	"wardline/cloud"
	"wardline/firmware-protocol/virtual"
)

func main() {
	agent.Version, cloud.Version = "demo", "demo"
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d, err := parse(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flags have said why
	}
	if err := d.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", explain(err))
		os.Exit(1)
	}
	fmt.Fprintf(d.out, "\nstopped; everything is kept in %s\n", d.data)
}

// demo is one run.
type demo struct {
	data, page, gateways, broker string
	out                          io.Writer
	first                        bytes.Buffer // what the cloud says at its first start: the administrator's password
	log                          *slog.Logger
	link                         wire
}

func parse(args []string, out io.Writer) (*demo, error) {
	d := &demo{out: out}
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.StringVar(&d.data, "data", filepath.Join("data", "demo"), "the `folder` in which everything is kept")
	f.StringVar(&d.page, "page", "127.0.0.1:8443", "`address` of the page")
	f.StringVar(&d.gateways, "gateways", "127.0.0.1:8444", "`address` that the gateway connects to")
	f.StringVar(&d.broker, "broker", "127.0.0.1:21883", "`address` of the embedded MQTT broker")
	verbose := f.Bool("v", false, "log what the parts say")
	if err := f.Parse(args); err != nil {
		return d, err
	}
	d.log = slog.New(slog.DiscardHandler)
	if *verbose {
		d.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return d, nil
}

// explain adds what to do about the likeliest trouble.
func explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nis another demo running? else choose ports with -page, -gateways and -broker", err)
	}
	return err
}

// run starts cloud, gateway and patients, each when the one before is there, and
// returns when all have ended.
func (d *demo) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var at cloud.Addresses
	c := d.cloudConfig()
	err := up(ctx, g, func(ready func()) error {
		c.Ready = func(a cloud.Addresses) { at = a; ready() }
		return cloud.Run(ctx, c)
	})
	if err != nil {
		return waited(g, err)
	}
	d.tellOnce()
	accounts, err := d.introduce(ctx, c)
	if err != nil {
		return waited(g, err)
	}
	broker := ""
	err = up(ctx, g, func(ready func()) error {
		a := d.agentConfig()
		a.Ready = func(r agent.Ready) { broker = r.Broker; ready() }
		return agent.Run(ctx, a)
	})
	if err != nil {
		return waited(g, err)
	}
	g.Go(func() error { return virtual.Run(ctx, d.patients(broker)) })
	g.Go(func() error { return d.link.run(ctx, d.out) })
	d.greet(at, accounts)
	return g.Wait()
}

// up runs a part under g and returns when it is ready, or has ended.
func up(ctx context.Context, g *errgroup.Group, part func(ready func()) error) error {
	ready := make(chan struct{})
	g.Go(func() error { return part(func() { close(ready) }) })
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waited lets what runs end, and says what was wrong first.
func waited(g *errgroup.Group, err error) error {
	g.Go(func() error { return err })
	if first := g.Wait(); !errors.Is(first, context.Canceled) {
		return first
	}
	return nil
}

func (d *demo) cloudConfig() cloud.Config {
	return cloud.Config{
		Data: filepath.Join(d.data, "cloud"), Site: "demo",
		People:   cloud.People{Listen: d.page},
		Gateways: cloud.Gateways{Listen: d.gateways, PublicURL: "https://" + d.gateways},
		Log:      d.log, Stdout: &d.first,
	}
}

func (d *demo) agentConfig() agent.Config {
	return agent.Config{
		Data: filepath.Join(d.data, "gateway"), Broker: agent.Broker{Listen: d.broker},
		Wards: wards(), Log: d.log, Dial: d.link.dial,
	}
}

func (d *demo) patients(broker string) virtual.Config {
	return virtual.Config{
		Broker: "tcp://" + broker, Relay: "demo-relay", Names: sensors(), Seed: 7, Leads: 1,
		Episodes: episodes(), Log: d.log,
	}
}
