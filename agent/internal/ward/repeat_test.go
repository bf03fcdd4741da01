package ward

import (
	"math/rand/v2"
	"testing"
)

func TestHolesInASensorsNumbersAreCountedUntilTheyAreFilled(t *testing.T) {
	for name, x := range map[string]struct {
		frames [][2]uint32 // boot, seq
		want   uint64
	}{
		"none":                            {[][2]uint32{{1, 5}, {1, 6}, {1, 7}}, 0},
		"two holes":                       {[][2]uint32{{1, 5}, {1, 7}, {1, 10}}, 3},
		"one is filled":                   {[][2]uint32{{1, 5}, {1, 7}, {1, 10}, {1, 9}}, 2},
		"one is filled twice":             {[][2]uint32{{1, 5}, {1, 7}, {1, 10}, {1, 9}, {1, 9}}, 2},
		"a repeat":                        {[][2]uint32{{1, 5}, {1, 7}, {1, 7}, {1, 5}}, 1},
		"what was before it was heard":    {[][2]uint32{{1, 5}, {1, 3}, {1, 6}, {1, 8}}, 1},
		"a start that was heard late":     {[][2]uint32{{1, 5}, {2, 4}}, 3},
		"that, filled":                    {[][2]uint32{{1, 5}, {2, 4}, {2, 1}, {2, 3}, {2, 2}}, 0},
		"an older start, from its store":  {[][2]uint32{{2, 1}, {1, 90}, {2, 2}}, 0},
		"a jump that nobody can believe":  {[][2]uint32{{1, 5}, {1, 4_000_000_000}, {1, 6}, {1, 7}}, 0},
		"a night without the gateway":     {[][2]uint32{{1, 5}, {1, 40_000}, {1, 40_002}, {1, 39_999}}, 1},
		"just what the window holds":      {[][2]uint32{{1, 1}, {1, seqWindow}}, seqWindow - 2},
		"a start of a number without end": {[][2]uint32{{1, 1}, {2, 4_000_000_000}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var r repeats
			for _, f := range x.frames {
				r.sequenced(f[0], f[1])
				var y repeats // as after a checkpoint and a restart
				y.load(r.save(0))
				r = y
			}
			if r.missing != x.want {
				t.Errorf("%d are missing, want %d", r.missing, x.want)
			}
		})
	}
}

// Whatever comes in whatever order, what is missing is what was not taken.
func TestWhatIsMissingIsWhatNeverCame(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var x repeats
	x.sequenced(7, 1)
	taken, high := map[uint32]bool{1: true}, uint32(1)
	for range 20_000 {
		seq := uint32(max(1, int(high)+3-r.IntN(40)))
		x.sequenced(7, seq)
		taken[seq], high = true, max(high, seq)
		if want := uint64(high) - uint64(len(taken)); x.missing != want {
			t.Fatalf("up to %d, %d are missing, want %d", high, x.missing, want)
		}
	}
}

func TestTheStatusOfASensorCountsItsMissingFramesAcrossARestart(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(3, both(well))
	s.seq["s1"] += 5
	s.seconds(3, both(well))
	w, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(s.w.Save(), nil); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Ward{s.w, w} {
		if x := w.Status(); x[0].Sensor != "s1" || x[0].Missing != 5 || x[1].Missing != 0 {
			t.Errorf("the status is %+v", x)
		}
	}
}
