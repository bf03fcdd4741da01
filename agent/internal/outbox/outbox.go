// Package outbox is the gateway's disk: what was received lately, what the cloud
// is still owed, and what a restart needs to go on.
//
// It promises that what Append returned for is on the disk (one transaction,
// synchronous); that a record leaves only by Forget, which says that the cloud
// has it, or, in the lanes that may give way, by an eviction that is counted and
// declared by a record of its own in the same lane; that alerts are never
// evicted; and that a sequence number is never used twice, even when everything
// was forgotten and the process began anew.
//
// There is one writer, the caller of Append; Forget, Renumber and Tidy take
// turns with it for short transactions. Readers use connections of their own, so
// that a backlog being sent never holds up an alert.
//
// Payloads, checkpoint and episodes are sealed (AES-256-GCM, a row's identity as
// additional data); lane, seq, kind, size and times lie in clear. Acknowledged
// alerts stay for a while: a cloud that was restored from a backup has them again.
//
// A damaged file is put aside under another name and a fresh one begun, which
// takes over what can be read of the old: what a start needs at once, records
// meanwhile, alerts first. One record that the medium changed is replaced by a hole.
package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wardline/shared/link"
	"wardline/shared/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// The file names in the outbox's folder.
const (
	fileName   = "outbox.db"
	damageMark = "outbox.damaged" // written when damage shows while running
)

// ErrDamaged means that the file on disk is damaged. The caller closes the
// outbox and opens it again, which puts the file aside; then it commits the
// state that it has in memory: open episodes and a checkpoint.
var ErrDamaged = errors.New("the outbox's file is damaged")

// Options bounds an outbox. Bytes are those of payloads and rows; the file is
// somewhat larger, and its write-ahead log is beside it.
type Options struct {
	// MaxBytes bounds everything; 0 means 1 GiB. Frames give way first, then
	// waves, then vitals; alerts and status never do.
	MaxBytes int64
	// Reserve is the part of MaxBytes that only alerts may use, and the free
	// space of the file system below which the rest gives way; 0 means a 16th
	// of MaxBytes, and at most 64 MiB.
	Reserve int64
	// MaxFrameAge is how long frames are kept; 0 means 24 h. Those that follow
	// the checkpoint stay.
	MaxFrameAge time.Duration
	// KeepAlerts is how long alerts that the cloud has stay here, so that it can
	// ask for them again; 0 means 7 days. They give way before vitals do.
	KeepAlerts time.Duration
	// Key seals payloads: KeySize bytes; nil leaves them in clear.
	Key []byte
	// OwnKey says that nobody but this machine ever had the key, so that a file
	// which was sealed with another can never be read again: it is damaged.
	OwnKey bool
	// MaxRecordAge is how long vitals and waves wait for the cloud; 0 means 30 days.
	MaxRecordAge time.Duration
	// Kept is called after each commit that is kept; its error stands for an answer
	// that was lost. nil in every gateway.
	Kept func() error
	// Free tells the free bytes of the file system; nil asks the kernel.
	Free func() (int64, error)
}

func (o Options) withDefaults(dir string) Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Reserve == 0 {
		o.Reserve = min(o.MaxBytes/16, 64<<20)
	}
	if o.MaxFrameAge == 0 {
		o.MaxFrameAge = 24 * time.Hour
	}
	if o.MaxRecordAge == 0 {
		o.MaxRecordAge = 30 * 24 * time.Hour
	}
	if o.KeepAlerts == 0 {
		o.KeepAlerts = 7 * 24 * time.Hour
	}
	if o.Free == nil {
		o.Free = func() (int64, error) { return freeBytes(dir) }
	}
	return o
}

// Position is a commit's place: that of its batch of frames. The first is 1.
type Position int64

// Commit is everything that one turn of the agent's loop decided. It is kept
// whole or not at all.
type Commit struct {
	// The instant at which it was decided.
	Boot         uint64
	Mono, Wall   int64 // µs; since boot, and since 1970 UTC
	Synchronised bool

	Frames     []Frame   // the messages it was decided from, in arrival order
	Records    []Record  // for the cloud; each gets the next seq of its lane
	Episodes   []Episode // whose state changed
	Checkpoint []byte    // the ward's state after this commit; nil = none in this one
	Commands   []string  // ids of commands whose effect is in this commit
}

// Frame is one message as it came.
type Frame struct {
	Topic    string
	Source   string // its source's name
	Received int64  // µs UTC by the gateway's clock
	Payload  []byte
}

// Record is something that the cloud is to have, before it has a number.
type Record struct {
	Lane     link.Lane
	Kind     link.Kind
	Observed int64 // µs UTC
	Payload  []byte
}

// Episode is the state of an alert. One that is open is kept for Load, one that
// is not is dropped.
type Episode struct {
	ID     string
	Open   bool
	Untold bool // the cloud was not told of its last update
	State  []byte
}

// Batch is a commit's frames, with the instant at which it was decided.
type Batch struct {
	Position     Position
	Boot         uint64
	Mono, Wall   int64
	Synchronised bool
	Frames       []Frame
}

// Outbox is an open outbox. Its methods may be called from several goroutines;
// Append from one.
type Outbox struct {
	// Quarantined is the path that a damaged file was moved to when this outbox
	// was opened; "" when there was none.
	Quarantined string
	// Damage is what was found, "" when there was none.
	Damage string

	dir  string
	opt  Options
	db   *sqlite.DB
	seal seal
	st   statements // owned by the holder of write

	write   sync.Mutex // one transaction at a time; held across I/O
	raw     []byte     // Append's scratch: a batch's frames, under write
	enc     []byte     // and packed, under write
	sealed  []byte     // and of a row, under write
	scrubAt scrubAt    // where the background check goes on; the caller's of Tidy
	doubt   *doubt     // a commit whose answer was lost, under write
	ceiling int64      // what everything may take at most, by the last look at the file system, under write
	looked  int64      // Mono of that look, under write

	mu   sync.Mutex // guards what follows; never held across I/O
	s    state
	seen map[string]int64 // command ids, with when they were kept
	bad  error            // ErrDamaged, once damage was found by anybody
	torn int64            // rows that were found changed since Open

	salvaged *Salvage // replaced, never changed, once Open has returned
}

// state is what Append and the readers need to know without asking the disk. A
// transaction works on a copy, which replaces it after the commit.
type state struct {
	epoch      [16]byte
	last       Position // the newest batch
	first      Position // the oldest that is kept
	firstWall  int64
	lastWall   int64
	frameTotal int64 // of all batches so far
	frameGone  int64 // of those that are gone
	checkpoint Position
	lanes      [laneCount]lane
	evicted    int64 // batches of frames that gave way to bytes since Open
	clock      clock // by which the newest records were stamped
}

// laneCount is the length of an array indexed by link.Lane.
const laneCount = len(link.Lanes) + 1

// lane is one lane's ends. What is kept, or covered by a hole, is
// gone.seq < seq <= last.seq, and takes last.total - gone.total bytes.
type lane struct {
	gone, last end
	asked      uint64 // the cloud has everything up to here; rows may still be there
	acked      end    // asked, as it was last written down; without its hash
	oldest     int64  // observed, of the first row; 0 when the lane is empty
	evicted    int64  // records that gave way unsent, ever
}

type end struct {
	seq   uint64
	hash  link.Hash
	total int64
}

// Open opens the outbox in dir, which it makes when there is none. A damaged
// file is put aside and a fresh one begun; see Quarantined. An error means that
// neither worked, or that a newer version of this program wrote the file.
func Open(dir string, o Options) (*Outbox, error) {
	box, err := open(dir, o, true)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return box, nil
}

// OpenSound is Open for a look: a damaged file is an error, and stays where it is.
func OpenSound(dir string, o Options) (*Outbox, error) {
	box, err := openFile(dir, o.withDefaults(dir))
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return box, nil
}

// Replace is Open after damage, for a caller that has in memory what a start
// needs: of the old file only records are taken over.
func Replace(dir string, o Options) (*Outbox, error) {
	box, err := open(dir, o, false)
	if err != nil {
		return nil, fmt.Errorf("replace outbox: %w", err)
	}
	return box, nil
}

func open(dir string, o Options, start bool) (*Outbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	o = o.withDefaults(dir)
	box, err := openFile(dir, o)
	if err == nil {
		return box, nil
	}
	if !sqlite.Corrupt(err) && !errors.Is(err, ErrDamaged) && !(o.OwnKey && errors.Is(err, ErrKey)) {
		return nil, err
	}
	aside, moveErr := quarantine(dir)
	if moveErr != nil {
		return nil, errors.Join(err, moveErr)
	}
	damage := err.Error()
	if box, err = openFile(dir, o); err != nil {
		return nil, err
	}
	box.Quarantined, box.Damage = aside, damage
	if err := box.succeed(aside, start); err != nil {
		return nil, errors.Join(err, box.Close())
	}
	return box, nil
}

func openFile(dir string, o Options) (*Outbox, error) {
	if _, err := os.Stat(filepath.Join(dir, damageMark)); err == nil {
		return nil, fmt.Errorf("it showed while running: %w", ErrDamaged)
	}
	seal, err := newSeal(o.Key)
	if err != nil {
		return nil, err
	}
	db, err := sqlite.Open(filepath.Join(dir, fileName), sqlite.Options{Readers: 2, CacheKiB: 1024})
	if err != nil {
		return nil, err
	}
	box := &Outbox{dir: dir, opt: o, db: db, seal: seal, ceiling: o.MaxBytes}
	if err := box.begin(); err != nil {
		return nil, errors.Join(err, box.Close())
	}
	return box, nil
}

// begin brings the schema forward, makes the epoch of a new file and reads the
// ends of everything. It touches every table, so a damaged root shows here;
// damage further in shows when it is read, and is ErrDamaged then.
func (o *Outbox) begin() error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := sqlite.Migrate(o.db, files); err != nil {
		return err
	}
	err = o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		epoch := newEpoch()
		if _, err := tx.Exec(`INSERT INTO life (id, epoch) VALUES (1, $1) ON CONFLICT DO NOTHING`, epoch[:]); err != nil {
			return err
		}
		var with int64
		if err := tx.QueryRow(`SELECT sealed_with FROM life`).Scan(&with); err != nil {
			return err
		}
		if with != 0 && with != o.seal.with {
			return ErrKey
		}
		_, err := tx.Exec(`UPDATE life SET sealed_with = $1 WHERE sealed_with <> $1`, o.seal.with)
		return err
	})
	if err != nil {
		return err
	}
	if err := o.st.prepare(o.db.Write); err != nil {
		return err
	}
	if o.s, err = readState(o.db.Read); err != nil {
		return err
	}
	o.seen, err = readCommands(o.db.Read)
	return err
}

func newEpoch() (e [16]byte) {
	rand.Read(e[:])
	return e
}

// quarantine moves the database, its log and the mark aside under one new name.
func quarantine(dir string) (string, error) {
	aside := filepath.Join(dir, "damaged-"+time.Now().UTC().Format("20060102T150405.000000")+".db")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(filepath.Join(dir, fileName+suffix), aside+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("put the damaged file aside: %w", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, damageMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return aside, errors.Join(dropOld(dir), syncDir(dir))
}

// keepAside is how many damaged files are kept for a technician.
const keepAside = 2

func dropOld(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "damaged-*.db")) // sorted, so by time
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range old[:max(0, len(old)-keepAside)] {
		for _, suffix := range []string{"-wal", "-shm", ""} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Missing says whether dir holds no outbox at all.
func Missing(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, fileName))
	return errors.Is(err, fs.ErrNotExist)
}

// Remove deletes everything that outboxes ever left in dir.
func Remove(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "damaged-*.db*"))
	if err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm", ""} {
		files = append(files, filepath.Join(dir, fileName+suffix))
	}
	var errs []error
	for _, path := range append(files, filepath.Join(dir, damageMark)) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, syncDir(dir))...)
}

// damaged turns an error that means damage into ErrDamaged and leaves the mark
// that makes the next Open put the file aside. Append fails from then on, so
// that whoever found it, the one writer learns of it.
func (o *Outbox) damaged(err error) error {
	if !sqlite.Corrupt(err) {
		return err
	}
	return o.Condemn(err)
}

// Condemn says that the file is of no use, for the given reason: the next Open
// puts it aside, and every Append until then fails with ErrDamaged, which Condemn
// returns.
func (o *Outbox) Condemn(why error) error {
	err := fmt.Errorf("%w: %w", ErrDamaged, why)
	o.mu.Lock()
	o.bad = err
	o.mu.Unlock()
	mark := os.WriteFile(filepath.Join(o.dir, damageMark), []byte(err.Error()+"\n"), 0o600)
	return errors.Join(err, mark, syncDir(o.dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close closes the files, after the transaction that is running. Nothing that
// Append returned for depends on it.
func (o *Outbox) Close() error {
	o.write.Lock()
	defer o.write.Unlock()
	return errors.Join(o.st.close(), o.db.Close())
}
