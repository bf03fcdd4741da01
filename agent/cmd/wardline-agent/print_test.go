package main

import (
	"strings"
	"testing"
	"time"

	"wardline/agent/internal/control"
)

func TestTheStatusSaysHowLongTheCertificateLasts(t *testing.T) {
	ends := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local).UnixMicro()
	for _, x := range []struct {
		c    *control.Certificate
		want string
	}{
		{nil, ""},
		{&control.Certificate{Ends: ends, Days: 83}, "certificate: 83 days left  ends 2026-03-01"},
		{&control.Certificate{Ends: ends, Days: 1}, "certificate: 1 day left  ends"},
		{&control.Certificate{Ends: ends, Days: -3}, "certificate: over, renewing  ends"},
	} {
		var b strings.Builder
		if err := printStatus(&b, control.Status{Certificate: x.c}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.Contains(got, x.want) || strings.Contains(got, "certificate") != (x.want != "") {
			t.Errorf("%+v prints\n%s\nwant %q", x.c, got, x.want)
		}
	}
}

func TestOneRecordIsNotSaidToBeMany(t *testing.T) {
	var b strings.Builder
	if err := printStatus(&b, control.Status{Lanes: []control.Lane{{Lane: "vitals", Pending: 1, Evicted: 1}}}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "1 record ") != 2 {
		t.Errorf("the status is\n%s", got)
	}
}

func TestTheStatusSaysHowMuchIsWrittenToFlash(t *testing.T) {
	for _, x := range []struct {
		f    *control.Flash
		want string
	}{
		{nil, "flash    not known on this system\n"},
		{&control.Flash{Today: 1_240_000}, "flash    1.2 MB today\n"},
		{&control.Flash{Today: 1_240_000, PerDay: 987_654_321}, "flash    1.2 MB today, 987.7 MB/day\n"},
	} {
		var b strings.Builder
		if err := printStatus(&b, control.Status{Flash: x.f}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.Contains(got, x.want) {
			t.Errorf("%+v prints\n%s\nwant %q", x.f, got, x.want)
		}
	}
}

func TestTheStatusSaysOfWhichSensorFramesNeverCame(t *testing.T) {
	s := control.Status{Broker: control.Link{State: "connected"}, Sensors: []control.Sensor{
		{Sensor: "S1", Ward: "7w", Bed: "1", State: "live", Missing: 12}, {Sensor: "S2", Ward: "7w", Bed: "2", State: "live"},
	}}
	var b strings.Builder
	if err := printStatus(&b, s); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "12 frames never came  bed 1, ward 7w, sensor S1") || strings.Count(got, "never came") != 1 {
		t.Errorf("the status is\n%s", got)
	}
}
