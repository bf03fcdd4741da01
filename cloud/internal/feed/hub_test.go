package feed

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wardline/shared/link/linkpb"
	"wardline/shared/vital"
)

func live(ward, bed string, hr float32) *linkpb.Live {
	return &linkpb.Live{Beds: []*linkpb.BedLive{{
		Ward: ward, Bed: bed, At: 5, Contact: new(true),
		Values: []*linkpb.Value{{Vital: uint32(vital.HeartRate), Value: hr, At: 5, Quality: 90}, {Vital: 250, Value: 1}},
	}}}
}

func TestTheNewestOfABedWinsAndAGatewaySpeaksOfItsWardsOnly(t *testing.T) {
	h := NewHub(func(string, string, bool) {}, nil)
	h.PutLive([]string{"7w"}, live("7w", "12", 70))
	h.PutLive([]string{"7w"}, live("7w", "12", 71))
	h.PutLive([]string{"7w"}, live("7w", "11", 60))
	h.PutLive([]string{"7w"}, live("8w", "1", 99))
	got := h.Vitals("7w")
	if len(got) != 2 || got[0].Bed != "11" || len(got[1].Values) != 1 || got[1].Values[0].Value != 71 {
		t.Errorf("got %+v", got)
	}
	if other := h.Vitals("8w"); len(other) != 0 || h.Dropped() != 1 {
		t.Errorf("the other ward has %+v, dropped %d", other, h.Dropped())
	}
}

func TestBedsAreBounded(t *testing.T) {
	h := NewHub(func(string, string, bool) {}, nil)
	for i := range maxBeds + 10 {
		h.PutLive([]string{"7w"}, live("7w", fmt.Sprint(i), 70))
	}
	if got := len(h.Vitals("7w")); got != maxBeds || h.Dropped() != 10 {
		t.Errorf("%d beds, dropped %d", got, h.Dropped())
	}
}

func TestASlowViewerLosesTheOldestAndHoldsNobodyUp(t *testing.T) {
	h := NewHub(func(string, string, bool) {}, nil)
	v := h.SubscribeWaves("7w", "12")
	defer v.Close()
	for i := range waveQueue + 5 {
		h.PutWave([]string{"7w"}, &linkpb.Wave{Ward: "7w", Bed: "12", Start: int64(i)})
	}
	h.PutWave([]string{"8w"}, &linkpb.Wave{Ward: "7w", Bed: "12", Start: 99})
	if first := <-v.C; first.Start != 5 || h.Dropped() != 6 {
		t.Errorf("the first piece is %d, dropped %d", first.Start, h.Dropped())
	}
}

func TestAWaveIsEncodedOnceForAllItsViewers(t *testing.T) {
	h := NewHub(func(string, string, bool) {}, nil)
	a, b := h.SubscribeWaves("7w", "12"), h.SubscribeWaves("7w", "12")
	h.PutWave([]string{"7w"}, &linkpb.Wave{Ward: "7w", Bed: "12"})
	n := 0
	for _, v := range []*Viewer{a, b} {
		(<-v.C).Encoded(func(*Wave) []byte { n++; return []byte{1} })
	}
	if n != 1 {
		t.Errorf("encoded %d times", n)
	}
}

func TestWaveformsAreAskedForOnlyWhileSomebodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []string
		start := time.Now()
		h := NewHub(func(_, bed string, on bool) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, fmt.Sprintf("%s %v %s", bed, on, time.Since(start).Round(time.Second)))
		}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx) })
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
			asked = nil
		}
		check()
		a := h.SubscribeWaves("7w", "12")
		check("12 true 0s")
		b := h.SubscribeWaves("7w", "12")
		check()
		time.Sleep(21 * time.Second)
		check("12 true 15s")
		h.Renew() // the gateway came back
		check("12 true 21s")
		a.Close()
		a.Close()
		check()
		b.Close()
		check("12 false 21s")
		time.Sleep(time.Minute)
		check()
		cancel()
		running.Wait()
	})
}
