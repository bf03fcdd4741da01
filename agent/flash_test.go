package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wardline/agent/internal/control"
)

// card is a gateway's flash and clock, which a test moves.
type card struct {
	t     *testing.T
	dir   string
	now   Instant
	bytes int64 // what the process that runs has written
	f     *flash
}

func newCard(t *testing.T) *card {
	c := &card{t: t, dir: t.TempDir(), now: begin()}
	c.start()
	return c
}

// start is a new process.
func (c *card) start() {
	c.bytes = 0
	c.f = openFlash(c.dir, func() Instant { return c.now }, func() (int64, bool) { return c.bytes, true }, slog.New(slog.DiscardHandler))
}

func (c *card) pass(d time.Duration, bytes int64) {
	c.now.Mono += d.Microseconds()
	c.bytes += bytes
}

func (c *card) save() {
	c.t.Helper()
	if err := c.f.save(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *card) want(today, perDay int64) {
	c.t.Helper()
	if got := c.f.status(); *got != (control.Flash{Today: today, PerDay: perDay}) {
		c.t.Errorf("the count is %+v, want %d today and %d a day", *got, today, perDay)
	}
}

func TestAMinuteOfFlashIsNotADaysYet(t *testing.T) {
	c := newCard(t)
	c.pass(59*time.Second, 1000)
	c.want(1000, 0)
	c.pass(time.Second, 440)
	c.want(1440, 1440*24*60)
}

func TestADayOfFlashIsOneOfTheMonotonicClock(t *testing.T) {
	c := newCard(t)
	c.pass(12*time.Hour, 500)
	c.now.Wall += (48 * time.Hour).Microseconds() // somebody set the clock
	c.want(500, 1000)
	c.pass(13*time.Hour, 600)
	c.f.status()
	c.pass(11*time.Hour, 200) // 12 h into the second day
	c.want(200, 866)          // 1300 bytes in 36 h
}

func TestTheMeanOfFlashIsOfTheLastSevenDays(t *testing.T) {
	c := newCard(t)
	for day := range 10 {
		c.pass(24*time.Hour, int64(1000*day))
		c.f.status()
	}
	c.want(0, 6000) // days 3 to 9
}

func TestTheCountOfFlashGoesOnAfterTheAgentWasStopped(t *testing.T) {
	c := newCard(t)
	c.pass(6*time.Hour, 300)
	c.save()
	c.pass(time.Hour, 0)
	c.start()
	c.pass(5*time.Hour, 300)
	c.want(600, 1200)
}

func TestTheTimeThatAGatewayWasOffIsPartOfNoDayOfFlash(t *testing.T) {
	c := newCard(t)
	c.pass(12*time.Hour, 600)
	c.save()
	c.now.Boot, c.now.Mono = 2, 5e6 // no matter when
	c.start()
	c.pass(6*time.Hour, 300)
	c.want(900, 1200)
}

func TestAMonotonicClockThatWentBackWithinABootIsAnotherBoots(t *testing.T) {
	c := newCard(t)
	c.pass(12*time.Hour, 600)
	c.save()
	c.now.Mono = 1e6
	c.start()
	c.pass(12*time.Hour, 300)
	c.f.status()
	if got, want := c.f.s.Days, []int64{900}; !slices.Equal(got, want) {
		t.Errorf("the days are %v, want %v", got, want)
	}
}

func TestAnUnreadableCountOfFlashIsBegunAnew(t *testing.T) {
	c := newCard(t)
	c.pass(12*time.Hour, 600)
	c.save()
	if err := os.WriteFile(filepath.Join(c.dir, flashFile), []byte(`{"today": 17`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.pass(12*time.Hour, 100)
	c.want(100, 200)
}

func TestNothingIsSaidOfFlashWhereTheSystemDoesNotTell(t *testing.T) {
	f := openFlash(t.TempDir(), begin, func() (int64, bool) { return 0, false }, slog.New(slog.DiscardHandler))
	if got := f.status(); got != nil {
		t.Errorf("it says %+v", got)
	}
}

func TestTheKernelsCountOfBytesIsRead(t *testing.T) {
	// As proc_pid_io(5) shows it.
	got, err := ioWriteBytes([]byte("rchar: 323934931\nwchar: 323929600\nsyscr: 632687\nsyscw: 632675\nread_bytes: 0\nwrite_bytes: 323932160\ncancelled_write_bytes: 0\n"))
	if err != nil || got != 323932160 {
		t.Errorf("read %d, %v", got, err)
	}
	if _, err := ioWriteBytes([]byte("cancelled_write_bytes: 7\n")); err == nil {
		t.Error("what is not there was read")
	}
}
