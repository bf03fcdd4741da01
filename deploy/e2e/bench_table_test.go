//go:build bench

package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestBench measures what the system costs and how fast it is. Each figure
// stands beside a floor: the least that the same libraries can do on the same
// machine in the same run. It asserts no time: a target that was missed is a
// line of the table, which make bench keeps.
func TestBench(t *testing.T) {
	x := &table{disk: syncTime(t)}
	t.Run("B1", func(t *testing.T) { benchCost(t, x) })
	t.Run("B3", func(t *testing.T) { benchWard(t, x) })
	t.Run("B4", func(t *testing.T) { benchScreen(t, x) })
	t.Run("B5", func(t *testing.T) { benchReplay(t, x) })
	t.Run("B6", func(t *testing.T) { benchMemory(t, x) })
	t.Run("B7", func(t *testing.T) { benchFlash(t, x) })
	t.Run("B10", func(t *testing.T) { benchCommit(t, x) })
	x.print(os.Stdout)
}

// A table is what was measured, a row a figure.
type table struct {
	disk time.Duration // of one synced write: what every commit pays at least
	rows [][]string
}

var tableHead = []string{"#", "figure", "value", "floor", "ratio", "target", "met", "others", "how"}

// A figure is one row: its value beside the floor's, in the same unit.
type figure struct {
	id, name, unit string
	value, floor   float64
	target         string
	met            bool
	others         float64 // share of the machine that other programs took meanwhile, 0 to 1
	how            string
}

func (x *table) add(f figure) {
	met := "no"
	if f.met {
		met = "yes"
	}
	x.rows = append(x.rows, []string{
		f.id, f.name, number(f.value) + " " + f.unit, number(f.floor) + " " + f.unit,
		number(f.value / f.floor), f.target, met, fmt.Sprintf("%.0f %%", 100*f.others), f.how,
	})
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// print writes the table with a bar between columns, for people and programs.
func (x *table) print(w io.Writer) {
	rows := append([][]string{tableHead}, x.rows...)
	width := make([]int, len(tableHead))
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], len(cell))
		}
	}
	rule := make([]string, len(width))
	for i, n := range width {
		rule[i] = strings.Repeat("-", n)
	}
	fmt.Fprintf(w, "\n%s, %s, %d processors, a synced write of 4 KiB takes %s ms (p50)\n", time.Now().UTC().Format(time.RFC3339), machine(), processors(), number(milliseconds(x.disk)))
	fmt.Fprint(w, "others: the share of the machine that other programs took meanwhile\n\n")
	for _, r := range slices.Insert(rows, 1, rule) {
		fmt.Fprint(w, "|")
		for i, cell := range r {
			fmt.Fprintf(w, " %-*s |", width[i], cell)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// syncTime is how long the disk takes for a write of 4 KiB to be durable.
func syncTime(t testing.TB) time.Duration {
	t.Helper()
	f, err := os.Create(filepath.Join(folder(t), "synced"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var took []time.Duration
	for page := range 100 {
		begin := time.Now()
		_, err := f.WriteAt(make([]byte, 4096), int64(page%8)*4096)
		if err = errors.Join(err, f.Sync()); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return percentile(took, 0.5)
}

// machine is the processor's name.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // not there: the name is only for the reader
	for line := range strings.SplitSeq(string(text), "\n") {
		if key, name, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(name)
		}
	}
	return "unknown processor"
}

// A span of time, to tell afterwards how much of the machine others took. The
// figures of a machine that compiles something beside are worse than they are.
type busy struct {
	begin     time.Time
	all, ours time.Duration
}

func (b busy) since() float64 {
	now := machineBusy()
	others := (now.all - b.all) - (now.ours - b.ours)
	whole := now.begin.Sub(b.begin) * time.Duration(processors())
	return max(0, float64(others)/float64(whole))
}

// processors is how many the machine has, whatever this process may use of them.
var processors = sync.OnceValue(func() int {
	text, _ := os.ReadFile("/proc/stat")
	return max(1, strings.Count(string(text), "\ncpu"))
})

// machineBusy reads what the whole machine and what this process with its
// children have used so far.
func machineBusy() busy {
	b := busy{begin: time.Now()}
	text, _ := os.ReadFile("/proc/stat") // elsewhere than on Linux, others are 0
	if line, _, ok := strings.Cut(string(text), "\n"); ok {
		for i, f := range strings.Fields(line) {
			if n, err := strconv.ParseInt(f, 10, 64); err == nil && i != 4 && i != 5 && i < 9 { // idle, waiting; guests count twice
				b.all += time.Duration(n) * tickLength
			}
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			b.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			if parent, used := processTime(pid); parent == os.Getpid() {
				b.ours += used
			}
		}
	}
	return b
}

// tickLength is the unit of /proc's times: USER_HZ is 100 on every Linux.
const tickLength = 10 * time.Millisecond

// processTime is a process's parent and what it has used, user and system.
func processTime(pid int) (parent int, used time.Duration) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(f[1])
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return parent, time.Duration(user+system) * tickLength
}

// percentile is of a sorted list, which must not be empty.
func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
