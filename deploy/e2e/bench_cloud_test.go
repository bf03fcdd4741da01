//go:build bench

package e2e

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// benchCommit measures how many records of vital signs the cloud keeps a second.
// What it measures is inside the cloud, so two benchmarks there do it: ingest's
// from 200 gateways' sockets over mutual TLS to the acknowledgement, which with
// the gateways' halves of TLS shares this machine, and store's for the writer.
func benchCommit(t *testing.T, x *table) {
	const rounds = "3"
	before := machineBusy()
	ingest := goBench(t, "../../cloud/internal/ingest", "^BenchmarkCommit$", "-benchtime=1x", "-count="+rounds)
	store := goBench(t, "../../cloud/internal/store", "^Benchmark(Commit|BareAppend)$", "-benchtime=1s", "-count="+rounds)
	others := before.since()
	got, floor := middle(ingest["BenchmarkCommit records/s"]), middle(ingest["BenchmarkCommit floor-records/s"])
	x.add(figure{"B10", "cloud commit, 200 sessions", "/s", got, floor, ">= 60000/s, >= 1/3 of the floor", got >= 60_000 && got >= floor/3, others,
		"median of " + rounds + "; socket to acknowledgement; the floor is a bare append of the same rows to the same table, 256 a commit"})
	got, floor = middle(store["BenchmarkCommit records/s"]), middle(store["BenchmarkBareAppend records/s"])
	x.add(figure{"B10", "cloud commit, the writer alone", "/s", got, floor, ">= 60000/s, >= 1/3 of the floor", got >= 60_000 && got >= floor/3, others,
		"median of " + rounds + "; 200 callers; the floor is a bare append to a table without a key, 256 a commit"})
}

// goBench runs Go benchmarks and returns what they report, by name and unit.
func goBench(t testing.TB, pkg, which string, flags ...string) map[string][]float64 {
	t.Helper()
	cmd := exec.Command("go", append([]string{"test", "-run=^$", "-bench=" + which, pkg}, flags...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", pkg, err, out)
	}
	t.Logf("%s", out)
	got := map[string][]float64{}
	for line := range strings.SplitSeq(string(out), "\n") {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(f[0], "-")
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				got[name+" "+f[i+1]] = append(got[name+" "+f[i+1]], v)
			}
		}
	}
	return got
}

// middle is the median, 0 of none.
func middle(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}
