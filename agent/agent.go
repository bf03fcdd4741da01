// Package agent is a ward's gateway: it takes what sensors say from the broker,
// decides alerts there and then, keeps everything on its own disk until the
// cloud has it, and annunciates in the ward with or without a cloud.
//
// This is the composition root: it joins the internal packages, which do not
// know each other, with plain functions, and owns the one loop that they meet in.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"wardline/agent/internal/broker"
	"wardline/agent/internal/control"
	"wardline/agent/internal/intake"
	"wardline/agent/internal/local"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
)

// Version of the program, set by the build.
var Version = "unknown"

// Instant is one reading of the agent's only source of time.
type Instant = ward.Instant

// embeddedInflight is how many messages the embedded broker gives unacknowledged.
const embeddedInflight = 1024

// Run watches the wards of c until ctx ends, which is the only good end. When it
// returns, everything that it started has ended. Being killed at any instant is
// as good a way to stop it.
func Run(ctx context.Context, c Config) error {
	c = c.withDefaults()
	if err := c.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	for {
		err := run(ctx, c)
		if !errors.Is(err, errRenamed) && !errors.Is(err, errDiskBack) {
			return err
		}
		c.Log.Info("beginning anew", "why", err)
	}
}

// errRenamed ends a run whose gateway has got its name by enrolment meanwhile.
var errRenamed = errors.New("the gateway has another name since it was enrolled")

// run watches under one name.
func run(ctx context.Context, c Config) error {
	socket, err := control.Listen(c.Control, c.Listen)
	if err != nil {
		return err
	}
	d, err := openDisk(c)
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	k := newKeeper(c.Clock, c.Data, d.Stats().Newest)
	k.write() // what fails is said at the first tick
	c.Clock = k.now
	a := &agent{cfg: c, gateway: c.identity(), client: c.clientID(), start: time.Now(), time: k, disk: d, facts: newFacts()}
	err = a.run(ctx, socket)
	return errors.Join(err, d.Close())
}

// agent is the parts of one Run.
type agent struct {
	cfg     Config
	gateway string
	client  string // the MQTT client id
	start   time.Time
	time    *keeper
	disk    *disk
	facts   *facts
	flash   *flash
	in      *intake.Intake
	loop    *loop
	link    *linker
	tell    *teller

	untold map[alert.ID]bool // open alerts whose last update the cloud was not told of, at the start

	brokerPassword string // the agent's own, of the embedded broker
}

// identity is who this gateway is: the configuration's name, else the
// enrolment's. What is wrong with an enrolment is the link's trouble alone: a
// ward is watched with or without a cloud.
func (c Config) identity() string {
	e, err := ReadEnrolment(c.Data)
	if err != nil {
		return cmp.Or(c.Gateway, alert.Unenrolled)
	}
	return cmp.Or(c.Gateway, e.Gateway)
}

func (a *agent) run(ctx context.Context, socket net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	if err := a.serveBroker(ctx, g); err != nil {
		socket.Close()
		return errors.Join(err, g.Wait())
	}
	err := a.build()
	if err == nil {
		err = a.restore()
	}
	if err != nil {
		socket.Close()
		stop()
		return errors.Join(err, g.Wait())
	}
	heard, hangUp := context.WithCancel(context.WithoutCancel(ctx)) // the broker hears the last words
	g.Go(func() error { return a.in.Run(heard) })
	g.Go(func() error { return a.loop.run(ctx) })
	g.Go(func() error { return a.runLink(ctx) })
	g.Go(func() error { return a.link.keepCertificate(ctx) })
	g.Go(func() error {
		defer hangUp()
		err := a.tell.station.Run(ctx)
		a.farewell()
		return err
	})
	g.Go(func() error { return a.disk.runAmendments(ctx, a.cfg.Log) })
	g.Go(func() error { return a.disk.run(ctx, func() int64 { return a.cfg.Clock().Wall }, a.cfg.Log) })
	g.Go(func() error { a.flash.run(ctx, a.cfg.Log); return nil })
	g.Go(func() error {
		follow := func(ctx context.Context, line func([]byte) error) error { return a.tell.tail.follow(ctx.Done(), line) }
		return control.Run(ctx, socket, control.Agent{Status: a.status, Tail: follow})
	})
	a.cfg.Log.Info("started", "gateway", a.gateway, "wards", len(a.cfg.Wards), "broker", a.brokerURL())
	return g.Wait()
}

// runLink keeps the link; without an outbox there is nothing that it could send.
func (a *agent) runLink(ctx context.Context) error {
	if a.disk.lacks == nil {
		return a.link.run(ctx)
	}
	a.link.setOff("the outbox cannot be opened", false)
	<-ctx.Done()
	return nil
}

// lastWords is how long the agent waits for its last words to be heard.
const lastWords = 500 * time.Millisecond

// farewell says in every ward that nobody watches any more. The connection's last
// will is about the first ward alone.
func (a *agent) farewell() {
	said := make(chan error, len(a.cfg.Wards))
	over := time.After(lastWords)
	waiting := 0
	for _, w := range a.cfg.Wards {
		if a.in.Publish(local.AgentTopic(w.ID), true, local.Will(a.gateway), func(err error) { said <- err }) == nil {
			waiting++
		}
	}
	for ; waiting > 0; waiting-- {
		select {
		case <-said:
		case <-over:
			return
		}
	}
}

// maxBrokerPayload is above the protocol's 16 KiB, so that a relay which sends
// too much is counted and named instead of being cut off in silence.
const maxBrokerPayload = 2 << 20

// serveBroker starts the embedded broker, if there is to be one, and waits until
// it listens.
func (a *agent) serveBroker(ctx context.Context, g *errgroup.Group) error {
	if a.cfg.Broker.Listen == "" {
		return nil
	}
	users, err := a.cfg.brokerUsers()
	if err != nil {
		return err
	}
	c := broker.Config{Listen: a.cfg.Broker.Listen, Agent: a.client, Users: users, MaxPayload: maxBrokerPayload, Log: a.cfg.Log, On: a.cfg.Listen}
	listening := make(chan string, 1)
	c.Ready = func(at string) { listening <- at }
	if a.cfg.MQTT.URL == "" && len(users) > 0 {
		a.cfg.MQTT.Username, a.brokerPassword = users[0].Name, users[0].Password
	}
	g.Go(func() error { return broker.Run(ctx, c) })
	select {
	case a.cfg.Broker.Listen = <-listening:
	case <-ctx.Done():
	}
	return nil
}

// build makes the parts and joins them.
func (a *agent) build() error {
	wardConfig, err := a.cfg.wardConfig(a.gateway)
	if err != nil {
		return err
	}
	w, err := ward.New(wardConfig)
	if err != nil {
		return err
	}
	wall := func() int64 { return a.cfg.Clock().Wall }
	a.flash = openFlash(a.cfg.Data, a.cfg.Clock, wroteBytes, a.cfg.Log)
	watch := newWatch(a.cfg.Wards, wall)
	tail := newTail()
	a.tell = &teller{tail: tail, known: map[alert.ID]known{}}
	a.loop = &loop{
		cfg: a.cfg, time: a.time, log: a.cfg.Log, ward: w, disk: a.disk, append: a.disk.Append, facts: a.facts, tell: a.tell, watch: watch,
		calls: make(chan func(ward.Instant)), wake: make(chan struct{}, 1), kept: map[ward.BedKey]map[alert.ID]bool{}, held: map[alert.ID]alert.Event{}, untold: map[ward.BedKey]struct{}{}, relays: map[string]*control.Relay{}, relayOf: map[string]string{},
	}
	a.loop.count = newCounters(a.cfg.Sources, func(source, reason, detail string) {
		tail.say(control.Line{At: wall(), What: "set aside", Where: source, Text: reason + ": " + detail})
	})
	e, _ := ReadEnrolment(a.cfg.Data) // what is wrong with it is the linker's to say
	a.link = &linker{cfg: a.cfg, time: a.time, name: a.gateway, site: e.Site, loop: a.loop, disk: a.disk, watch: watch, start: a.start, wards: a.cfg.topology(w)}
	a.loop.link = a.link
	if a.in, err = a.intake(); err != nil {
		return err
	}
	a.loop.in = a.in
	a.tell.station = local.New(local.Config{
		Gateway: a.gateway, Wards: wardIDs(a.cfg.Wards), Link: a.link.up, Now: wall,
		Publish: func(topic string, payload []byte) error { return a.in.Publish(topic, true, payload, nil) },
	})
	return nil
}

func wardIDs(wards []Ward) []string {
	var ids []string
	for _, w := range wards {
		ids = append(ids, w.ID)
	}
	return ids
}

func (a *agent) brokerURL() string {
	if a.cfg.MQTT.URL != "" {
		return a.cfg.MQTT.URL
	}
	return "tcp://" + a.cfg.Broker.Listen
}

// ready tells who asked that messages are taken.
func (a *agent) ready() {
	if a.cfg.Ready != nil {
		a.cfg.Ready(Ready{Broker: a.cfg.Broker.Listen, Control: a.cfg.Control})
	}
}

func (a *agent) intake() (*intake.Intake, error) {
	m := a.cfg.MQTT
	var ready sync.Once
	c := intake.Config{
		URL: a.brokerURL(), Dial: a.cfg.DialBroker, ClientID: a.client, Username: m.Username, Password: a.brokerPassword,
		Wards: wardIDs(a.cfg.Wards), TopicsFile: filepath.Join(a.cfg.Data, "topics"), Kept: a.disk.Stats().Newest, Volatile: m.URL == "",
		Log: a.cfg.Log, Now: func() int64 { return a.cfg.Clock().Wall },
		WillTopic: local.AgentTopic(a.cfg.Wards[0].ID), WillPayload: local.Will(a.gateway), // a connection has one: other wards see the heartbeat stop
		Connected: func(yes bool) {
			a.facts.connected(yes)
			if yes {
				a.cfg.Log.Info("broker connected", "url", a.brokerURL())
				a.tell.station.Connected()
				ready.Do(a.ready)
			}
		},
	}
	var err error
	if m.PasswordFile != "" { // else it is that of the embedded broker
		if c.Password, err = m.password(); err != nil {
			return nil, err
		}
	}
	if c.TLS, err = m.tls(); err != nil {
		return nil, err
	}
	if c.Sources, err = a.cfg.intakeSources(); err != nil {
		return nil, err
	}
	a.loop.sources = c.Sources
	return intake.New(c)
}
