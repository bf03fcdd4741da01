package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wardline/agent/internal/uplink"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
)

// linker keeps the link to the cloud, once there is an identity. Nothing that is
// wrong with identity, address or cloud ends the agent: there is no link then,
// and status, log and an alert say why.
type linker struct {
	cfg   Config
	name  string // the gateway's
	loop  *loop
	disk  *disk
	watch *watch
	start time.Time
	time  *keeper
	wards []*linkpb.Ward // the topology

	mu      sync.Mutex // guards what follows
	site    string     // "" before enrolment
	state   uplink.State
	off     string // why there is no link at all; "" = there is one
	fault   bool   // off is nothing that anybody wants
	renewal renewal
	ends    int64 // when the gateway's certificate does, µs UTC; 0 = not known
}

// lookEvery is how soon it is noticed that the gateway was enrolled, or again.
const lookEvery = 2 * time.Second

// run waits for an enrolment, then keeps the link until ctx ends. A replaced
// outbox begins the link anew, since its epoch is another; so does a replaced
// enrolment. It fails with errRenamed alone: when the enrolment names the gateway
// otherwise than it runs.
func (l *linker) run(ctx context.Context) error {
	if l.cfg.Cloud.Off {
		l.setOff("off in the configuration", false)
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		e, err := l.enrolment()
		if errors.Is(err, errRenamed) {
			return err
		}
		if err == nil {
			l.begin(e)
			err = l.session(ctx, e)
		}
		if err != nil {
			l.setOff(err.Error(), !errors.Is(err, ErrNotEnrolled))
			pause(ctx, lookEvery)
		}
	}
	return nil
}

// enrolment is the one to link with.
func (l *linker) enrolment() (Enrolment, error) {
	e, err := ReadEnrolment(l.cfg.Data)
	switch {
	case err != nil:
		return e, err
	case l.cfg.Gateway != "" && l.cfg.Gateway != e.Gateway:
		return e, fmt.Errorf("the configuration says gateway %s, but this one is enrolled as %s", l.cfg.Gateway, e.Gateway)
	case e.Gateway != l.name:
		return e, errRenamed
	}
	if err := checkLink(l.address(e)); err != nil {
		return e, fmt.Errorf("%s: link: %w", enrolmentFile, err)
	}
	return e, nil
}

// address is where the cloud is. The configuration's was checked.
func (l *linker) address(e Enrolment) string { return cmp.Or(l.cfg.Cloud.URL, e.Link) }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// session links by e until it is not the gateway's enrolment any more.
func (l *linker) session(ctx context.Context, e Enrolment) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- uplink.Run(ctx, l.config(ctx, e)) }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-l.disk.changed:
			cancel()
		case <-look.C:
			if l.replaced(e) {
				cancel()
			}
		}
	}
}

// replaced says whether the gateway was enrolled again, or its enrolment taken
// away. One that cannot be read is no reason to give up a link that works.
func (l *linker) replaced(e Enrolment) bool {
	now, err := ReadEnrolment(l.cfg.Data)
	return err == nil && now != e || errors.Is(err, ErrNotEnrolled)
}

func (l *linker) config(ctx context.Context, e Enrolment) uplink.Config {
	at := l.address(e)
	return uplink.Config{
		URL: at, TLS: func() (*tls.Config, error) { return l.tls(at) }, Outbox: l.disk,
		Hello: func() *linkpb.Hello { return l.hello(ctx) }, Live: l.watch.live.Load, Waves: l.watch.waves, Wake: l.loop.wake,
		Command: l.command, Report: l.report, Welcomed: l.welcomed, Now: func() int64 { return l.cfg.Clock().Wall }, Dial: l.cfg.Dial,
	}
}

// tls reads the identity from disk for each connection, so that a renewed one
// is used. Certificates' dates are held against the gateway's clock while the time
// is known.
func (l *linker) tls(at string) (*tls.Config, error) {
	file := filepath.Join(l.cfg.Data, identityFile)
	id, err := pki.OpenIdentity(file, file)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be used: put it back, or enrol again with wardline-agent enrol --replace TOKEN: %w", identityFile, err)
	}
	l.mu.Lock()
	l.ends = id.Leaf().NotAfter.UnixMicro()
	l.mu.Unlock()
	ca, err := os.ReadFile(filepath.Join(l.cfg.Data, cloudCAFile))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", cloudCAFile)
	}
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	now := func() time.Time { return time.UnixMicro(l.cfg.Clock().Wall) }
	if !l.time.known() { // dates cannot be judged; that the cloud is ours, can
		now = nil
	}
	return pki.ClientTLS(id, pool, u.Hostname(), now), nil
}

// welcomed takes the cloud's time when the gateway has none of its own, and sets
// right what was stamped before.
func (l *linker) welcomed(ctx context.Context, cloud int64) (anew bool) {
	if l.time.told(cloud) {
		l.cfg.Log.Warn("the clock was wrong: the time is now the cloud's", "time", time.UnixMicro(cloud).UTC())
	}
	if !l.time.known() {
		return false
	}
	var a *amendment
	err := l.loop.do(ctx, func(now ward.Instant) { a, _ = l.loop.amend(now) }) // what fails is tried at the next Welcome
	return err == nil && a != nil && l.disk.amend(a, l.cfg.Log) == nil
}

// helloWithin is how long a Hello waits for the loop to say which alerts are open.
const helloWithin = 2 * time.Second

// hello says who this is.
func (l *linker) hello(ctx context.Context) *linkpb.Hello {
	now := l.cfg.Clock()
	h := &linkpb.Hello{
		Software: Version,
		Clock:    &linkpb.Clock{Now: now.Wall, Synchronised: now.Synchronised},
		Boot:     fmt.Sprintf("%016x", now.Boot), Uptime: time.Since(l.start).Microseconds(),
	}
	h.Wards = l.wards
	h.OpenAlerts, h.OpenKnown = l.openAlerts(ctx)
	return h
}

// openAlerts are the ids of all alerts that are open here, or whose end is not on
// the disk yet: the cloud will hear of it. False when the loop does not answer in
// time, or when they are too many to tell.
func (l *linker) openAlerts(ctx context.Context) ([]string, bool) {
	ctx, cancel := context.WithTimeout(ctx, helloWithin)
	defer cancel()
	var ids []string // the loop's until it has answered
	err := l.loop.do(ctx, func(ward.Instant) { ids = l.loop.openOrUntold() })
	if err != nil || len(ids) > link.MaxOpenAlerts {
		return nil, false
	}
	return ids, true
}

// report keeps the link's state, and writes down each change that a technician
// would ask about.
func (l *linker) report(s uplink.State) {
	l.mu.Lock()
	was := l.state
	l.state = s
	l.mu.Unlock()
	if s.Renumbered > was.Renumbered {
		l.cfg.Log.Error("gateway and cloud disagreed on what was sent: all that is kept is sent anew", "cloud", s.Cloud, "error", s.LastError)
		l.loop.facts.happened("renumbered", "", l.cfg.Clock().Mono+renumberedFor.Microseconds())
	}
	if s.Renumbered > was.Renumbered {
		l.loop.retell.Store(&retelling{skip: afterGoingBack})
	} else if s.Behind > was.Behind {
		l.cfg.Log.Error("the cloud had lost what it had confirmed: what is kept of it is sent again", "cloud", s.Cloud)
		l.loop.facts.happened("cloud_behind", "", l.cfg.Clock().Mono+renumberedFor.Microseconds())
		l.loop.retell.Store(&retelling{})
	}
	switch {
	case s.Connected != was.Connected && s.Connected:
		l.cfg.Log.Info("cloud connected", "cloud", s.Cloud)
	case s.Refused == link.Stopping && s.Refused != was.Refused:
		l.cfg.Log.Warn("the cloud is stopping", "cloud", s.Cloud)
	case s.Refused != "" && s.Refused != was.Refused:
		l.cfg.Log.Error("the cloud refuses this gateway", "cloud", s.Cloud, "reason", s.Refused, "text", s.LastError)
	case s.Connected != was.Connected:
		l.cfg.Log.Warn("cloud lost", "cloud", s.Cloud, "error", s.LastError)
	case !s.Connected && s.LastError != was.LastError:
		l.cfg.Log.Warn("cloud not reached", "cloud", s.Cloud, "error", s.LastError)
	}
}

// begin says that there is to be a link. The new uplink counts its renumberings
// from 0.
func (l *linker) begin(e Enrolment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.site, l.off, l.fault, l.state.Renumbered, l.state.Behind = e.Site, "", false, 0, 0
}

// renumberedFor is how long it is true that the outbox was renumbered: an alert
// of it stays until somebody has resolved it.
const renumberedFor = time.Minute

// tornFor is the same for rows that the disk changed.
const tornFor = time.Minute

// setOff says why there is no link, and whether somebody must do something.
func (l *linker) setOff(why string, fault bool) {
	l.mu.Lock()
	was := l.off
	l.off, l.fault = why, fault
	l.mu.Unlock()
	switch {
	case why == was:
	case fault:
		l.cfg.Log.Error("no link to the cloud", "reason", why)
	default:
		l.cfg.Log.Info("no link to the cloud", "reason", why)
	}
}

// now is the link's state; off says why there is none at all.
func (l *linker) now() (s uplink.State, off string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.off
}

// enrolledAt is the site that the gateway belongs to, "" before enrolment.
func (l *linker) enrolledAt() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.site
}

// certificateEnds is when the certificate does that the last connection was tried
// with, µs UTC; 0 before the first.
func (l *linker) certificateEnds() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends
}

// renewals is when the certificate was last renewed since the start (0 = never),
// and why the last try failed, if it did.
func (l *linker) renewals() (at int64, failed string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewal.at, l.renewal.failed
}

// up says whether the cloud is connected, and since when it is or is not.
func (l *linker) up() (bool, int64) {
	s, _ := l.now()
	return s.Connected, s.Since
}

// lost says whether there should be a connection and is none, and why; how long
// that may last is the rule's to say.
func (l *linker) lost() (bool, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off != "" {
		return l.fault, l.off
	}
	return l.state.Since != 0 && !l.state.Connected, l.state.LastError
}

// The outcomes of commands.
const (
	outcomeDone    = "done"
	outcomeRefused = "refused"
	outcomeExpired = "expired"
	outcomeFailed  = "failed"
)

// command carries out what the cloud asks. A command whose effect is kept has
// none the second time; one that was refused is judged again, and answered alike.
// nil is no answer yet: it will be asked again.
func (l *linker) command(ctx context.Context, c *linkpb.Command) *linkpb.Result {
	r := &linkpb.Result{Id: c.Id, Outcome: outcomeDone}
	if l.disk.Seen(c.Id) {
		return r
	}
	now := l.cfg.Clock().Wall
	if c.Deadline != 0 && now > c.Deadline {
		r.Outcome = outcomeExpired
		return r
	}
	var err error
	switch body := c.Body.(type) {
	case *linkpb.Command_AlertEvent:
		err = l.respond(ctx, c.Id, body.AlertEvent)
	case *linkpb.Command_Wave:
		b := ward.BedKey{Ward: body.Wave.Ward, Bed: body.Wave.Bed}
		if !l.watch.want(b, body.Wave.On, body.Wave.Until) {
			err = refused(fmt.Sprintf("no sensor is bound to bed %s of ward %s", b.Bed, b.Ward))
		}
	case *linkpb.Command_Identify:
		err = l.loop.identify(ctx, body.Identify.Sensor)
	default:
		err = refused("this agent does not know this command")
	}
	if errors.Is(err, errNotNow) {
		return nil
	}
	if why, ok := errors.AsType[refused](err); ok {
		r.Outcome, r.Detail = outcomeRefused, string(why)
	} else if err != nil {
		r.Outcome, r.Detail = outcomeFailed, err.Error()
	}
	return r
}

// refused is an error that asking again does not mend.
type refused string

func (e refused) Error() string { return string(e) }

// durableWithin is how long a command waits for the disk. Its effect is in the
// ward at once; the cloud gives it again until it is kept, and others are not held
// up meanwhile.
const durableWithin = 5 * time.Second

// errNotNow is that a command has its effect and waits for the disk.
var errNotNow = errors.New("the disk takes nothing at present")

// respond folds the board's event into the ward and returns when it is on the
// disk, with the command's id.
func (l *linker) respond(ctx context.Context, id string, event []byte) error {
	var e alert.Event
	if err := json.Unmarshal(event, &e); err != nil {
		return refused("the event cannot be read: " + err.Error())
	}
	if err := e.Check(); err != nil {
		return refused(err.Error())
	}
	if e.Author != alert.Board {
		return refused("only the board's own events come by command")
	}
	within, cancel := context.WithTimeoutCause(ctx, durableWithin, errNotNow)
	defer cancel()
	unknown, waits := false, false
	err := l.loop.call(within, func(now ward.Instant, done func()) {
		if waits = l.loop.waits(id); waits {
			done()
			return
		}
		l.loop.step(now, ward.Input{Response: &e})
		if unknown = l.loop.out.Counts[ward.ReasonUnknownAlert]+l.loop.out.Counts[ward.ReasonBadResponse] > 0; unknown {
			done()
			return
		}
		u := l.loop.unit(now)
		u.commit.Commands = append(u.commit.Commands, id)
		u.events = append(u.events, e)
		u.done = append(u.done, done)
	})
	switch {
	case err != nil && ctx.Err() == nil, err == nil && waits:
		return errNotNow
	case err == nil && unknown:
		return refused("the alert is not open at the gateway")
	}
	return err
}
