package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"wardline/agent/internal/outbox"
	"wardline/shared/link"
	"wardline/shared/sqlite"
)

// disk is the outbox that is in use. A damaged one is replaced while the agent
// runs; whoever holds the disk then speaks to the new one.
type disk struct {
	dir        string
	options    func() (outbox.Options, error) // with the key, read anew each time
	max        int64                          // bytes
	key        string                         // what it is sealed with, in words
	box        atomic.Pointer[outbox.Outbox]
	fault      func(point string) error
	amendments chan *amendment // holds one
	changed    chan struct{}   // holds one when the outbox was replaced: the link must begin anew

	gone bool // there was a key at the start and no outbox that it had sealed

	// lacks is why no outbox could be opened; nil when there is one. The ward is
	// watched without: nothing is kept, acknowledged or sent then, and what is
	// decided is shown as not yet durable.
	lacks error
}

// errDiskBack ends a run that began without an outbox when there is one.
var errDiskBack = errors.New("the outbox can be opened again")

// plain is why the disk fails, in a few words for who reads an alert.
func plain(err error) string {
	switch {
	case sqlite.Full(err):
		return "no space is left; free some"
	case errors.Is(err, syscall.EROFS) || sqlite.ReadOnly(err):
		return "it is read-only"
	case errors.Is(err, fs.ErrPermission):
		return "the agent's account may not write there"
	case sqlite.IO(err):
		return "input/output error"
	}
	if errors.Is(err, outbox.ErrKey) {
		return "what it keeps was sealed with another key: give that key back, or erase it (wardline-agent outbox erase)"
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	return fmt.Sprintf("%.120s", lines[len(lines)-1])
}

// openDisk fails only when a newer version of this program wrote what is there.
func openDisk(c Config) (*disk, error) {
	source := c.keySource()
	d := &disk{dir: c.Data, max: int64(c.Outbox.MaxBytes), key: source.what, fault: c.Fault, amendments: make(chan *amendment, 1), changed: make(chan struct{}, 1)}
	d.options = func() (outbox.Options, error) {
		key, err := source.key()
		if err != nil {
			return outbox.Options{}, fmt.Errorf("read the outbox's key: %w", err)
		}
		return outbox.Options{MaxBytes: d.max, MaxFrameAge: c.Outbox.FramesFor.Or(48 * time.Hour), Key: key, OwnKey: source.own, Kept: func() error { return c.Fault(AfterCommit) }}, nil
	}
	if _, err := readKey(source.path); err == nil && source.own {
		d.gone = outbox.Missing(c.Data)
	}
	box, err := d.open(outbox.Open)
	if errors.Is(err, sqlite.ErrNewer) {
		return nil, err
	}
	if d.lacks = err; err == nil {
		d.box.Store(box)
	}
	return d, nil
}

func (d *disk) open(how func(string, outbox.Options) (*outbox.Outbox, error)) (*outbox.Outbox, error) {
	o, err := d.options()
	if err != nil {
		return nil, err
	}
	return how(d.dir, o)
}

// reopen puts the damaged file aside and begins a fresh one. It returns where
// the damaged one is.
func (d *disk) reopen() (aside string, err error) {
	old := d.box.Load()
	old.Close() // it is damaged: what closing it says tells nothing new
	box, err := d.open(outbox.Replace)
	if err != nil {
		return "", err
	}
	d.box.Store(box)
	d.tellChanged()
	return box.Quarantined, nil
}

// tellChanged has the link begin anew: the outbox has another epoch.
func (d *disk) tellChanged() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// await fails with errDiskBack once an outbox can be opened, which the next run
// does.
func (d *disk) await(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryEvery):
		}
		if box, err := d.open(outbox.Open); err == nil {
			return errors.Join(errDiskBack, box.Close())
		}
	}
}

// run tidies the outbox until ctx ends, and writes down what it cannot. Damage
// that it finds shows again at the next commit, which mends it; the next outbox is
// tidied then.
func (d *disk) run(ctx context.Context, wall func() int64, log *slog.Logger) error {
	if d.lacks != nil {
		return d.await(ctx)
	}
	failed := func(err error) { log.Error("the outbox cannot be tidied", "error", err) }
	for {
		box := d.box.Load()
		err := box.Run(ctx, wall, failed)
		if err == nil {
			return nil
		}
		failed(err)
		for d.box.Load() == box {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	}
}

func (d *disk) Close() error {
	if d.lacks != nil {
		return nil
	}
	return d.box.Load().Close()
}

func (d *disk) Append(c outbox.Commit) (outbox.Position, error) {
	if d.lacks != nil {
		return 0, d.lacks
	}
	if err := d.fault(BeforeCommit); err != nil {
		return 0, err
	}
	return d.box.Load().Append(c)
}

func (d *disk) Stats() outbox.Stats {
	if d.lacks != nil {
		return outbox.Stats{MaxBytes: d.max}
	}
	return d.box.Load().Stats()
}

// damage is what was put aside and why; "" when nothing was.
func (d *disk) damage() (aside, why string) {
	if d.lacks != nil {
		return "", ""
	}
	box := d.box.Load()
	return box.Quarantined, box.Damage
}

// What the link needs. There is none while there is no outbox.

// Seen says whether a command was kept before.
func (d *disk) Seen(commandID string) bool {
	return d.lacks == nil && d.box.Load().Seen(commandID)
}

func (d *disk) Lanes() []link.LaneState { return d.box.Load().Lanes() }
func (d *disk) Epoch() [16]byte         { return d.box.Load().Epoch() }
func (d *disk) Renumber() error         { return d.box.Load().Renumber() }

func (d *disk) After(lane link.Lane, seq uint64, maxBytes int) ([]link.Record, error) {
	return d.box.Load().After(lane, seq, maxBytes)
}

func (d *disk) Forget(lane link.Lane, through uint64) error {
	d.fault(BeforeForget)
	defer d.fault(AfterForget)
	return d.box.Load().Forget(lane, through)
}

func (d *disk) Owe(lane link.Lane, through uint64) error { return d.box.Load().Owe(lane, through) }

func (d *disk) HashAt(lane link.Lane, seq uint64) (link.Hash, bool) {
	return d.box.Load().HashAt(lane, seq)
}
