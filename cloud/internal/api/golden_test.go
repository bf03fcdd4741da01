package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"wardline/shared/alert"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares v's JSON with a file that the page's tests read too.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	goldenBytes(t, filepath.Join("testdata", name), b.Bytes())
}

func goldenBytes(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test ./cloud/internal/api -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is no longer what the code writes; got:\n%s", path, got)
	}
}

// A quarter past two in the night of 1 March 2026, µs UTC.
const (
	second = int64(1_000_000)
	night  = int64(1772331300) * second
)

// tachycardia is an alert that was raised, worsened, acknowledged and commented.
func tachycardia(t *testing.T) (alert.Alert, []alert.Event) {
	t.Helper()
	subject := alert.Subject{Kind: "binding", ID: "7w/12/LX-1042"}
	onset := night - 70*second
	id := alert.Identify("gw-7w", subject, "hr-high", onset)
	c := alert.Condition{
		Gateway: "gw-7w", Ward: "7w", Bed: "12", Subject: subject, Sensor: "LX-1042", Patient: "P-0193",
		Rule: "hr-high", Pack: "adult-ward", PackVersion: 12, Family: "hr-high",
		Code: "MDC_EVT_HI/MDC_ECG_HEART_RATE", Kind: alert.Physiological, Priority: alert.Medium,
		Text: "Heart rate 128 above 120 /min", Onset: onset,
		Evidence: []alert.Evidence{
			{Name: "hr", Value: 128, Unit: "/min", At: onset},
			{Name: "limit.hr.high", Value: 120, Unit: "/min"},
		},
	}
	worse := c
	worse.Priority, worse.Text, worse.Rule = alert.High, "Heart rate 156 above 140 /min", "hr-extreme-high"
	worse.Evidence = []alert.Evidence{
		{Name: "hr", Value: 156, Unit: "/min", At: night - 30*second},
		{Name: "limit.hr.extreme_high", Value: 140, Unit: "/min"},
	}
	events := []alert.Event{
		{Alert: id, Author: alert.Gateway, N: 1, Type: alert.Raised, At: onset + 6*second, Condition: &c},
		{Alert: id, Author: alert.Gateway, N: 2, Type: alert.Updated, At: night - 30*second, Condition: &worse},
		{Alert: id, Author: alert.Board, N: 1, Type: alert.Acknowledged, At: night - 20*second, By: "a.meyer", Via: "page",
			Until: night + 580*second, Priority: alert.High},
		{Alert: id, Author: alert.Board, N: 2, Type: alert.Commented, At: night - 10*second, By: "a.meyer", Via: "page",
			Text: "Patient is walking the corridor"},
	}
	var a alert.Alert
	for _, e := range events {
		var err error
		if a, err = alert.Apply(a, e); err != nil {
			t.Fatal(err)
		}
	}
	return a, events
}

// leadOff is a technical alert that nobody has answered.
func leadOff(t *testing.T) alert.Alert {
	t.Helper()
	subject := alert.Subject{Kind: "sensor", ID: "LX-1044"}
	onset := night - 40*second
	a, err := alert.Apply(alert.Alert{}, alert.Event{
		Alert: alert.Identify("gw-7w", subject, "lead-off", onset), Author: alert.Gateway, N: 1, Type: alert.Raised,
		At: onset + 10*second, Condition: &alert.Condition{
			Gateway: "gw-7w", Ward: "7w", Bed: "14", Subject: subject, Sensor: "LX-1044", Patient: "P-0201",
			Rule: "lead-off", Pack: "technical", PackVersion: 3, Code: "MDC_EVT_LEAD_OFF/MDC_ECG_ELEC_POTL",
			Kind: alert.Technical, Priority: alert.Low, Text: "Lead off: RA", Onset: onset,
		}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func sampleBedLive() []BedLive {
	return []BedLive{
		{Bed: "12", At: night, V: map[string]LiveItem{
			"hr": {156, float64(night - second), 100}, "spo2": {94, float64(night - second), 96},
			"rr": {22, float64(night - 2*second), 90}, "temp": {37.9, float64(night - 4*second), 100},
		}, Contact: new(true), LeadsOff: []string{}, Battery: new(0.81)},
		{Bed: "14", At: night, V: map[string]LiveItem{"spo2": {96, float64(night - second), 100}},
			Contact: new(false), LeadsOff: []string{"RA"}, Battery: new(0.42)},
		{Bed: "15", At: night, V: map[string]LiveItem{}, LeadsOff: []string{}, SilentSince: night - 80*second},
	}
}

func sampleGateway() Gateway {
	return Gateway{ID: "gw-7w", Site: "st-anne", Wards: []string{"7w"}, Link: "up", Since: night - 86400*second,
		Software: "0.2.0", Pending: 1}
}

func sampleWard() Ward {
	limits := map[string]float64{"hr.high": 120, "hr.low": 50, "hr.extreme_high": 140, "spo2.low": 90}
	expect := []string{"hr", "spo2", "rr", "temp"}
	return Ward{ID: "7w", Name: "Ward 7 West", Beds: []Bed{
		{ID: "12", Sensor: "LX-1042", Patient: "P-0193", Limits: limits, Expect: expect, Gateway: "gw-7w"},
		{ID: "14", Sensor: "LX-1044", Patient: "P-0201", Limits: limits, Expect: expect, Gateway: "gw-7w"},
		{ID: "15", Sensor: "LX-1045", Patient: "", Limits: map[string]float64{}, Expect: []string{}, Gateway: "gw-7w"},
	}}
}

func sampleLine() map[string][]LinePoint {
	start := float64(night - 1800*second)
	minute := float64(60 * second)
	return map[string][]LinePoint{
		"hr":   {{start, 88.5}, {start + minute, 90}, {start + 28*minute, 128}, {start + 29*minute, 156}},
		"spo2": {{start, 96}, {start + minute, 96}},
	}
}

func TestThePageAndTheCloudAgreeOnTheirMessages(t *testing.T) {
	a, events := tachycardia(t)
	tachy := NewAlert(a, Standing{Version: 7, AtGateway: true, Page: false}, night)
	lead := NewAlert(leadOff(t), Standing{Version: 1, Page: true}, night)
	golden(t, "alert.json", tachy)
	golden(t, "alert_story.json", AlertStory{Alert: tachy, Events: events})
	golden(t, "change.json", Change{T: "change", Cursor: "1042", Kind: "alert", Alert: &lead, Page: true})
	gateway, ward := sampleGateway(), sampleWard()
	golden(t, "change_gateway.json", Change{T: "change", Cursor: "1043", Kind: "gateway", Gateway: &gateway})
	golden(t, "change_ward.json", Change{T: "change", Cursor: "1044", Kind: "ward", Ward: &ward})
	golden(t, "vitals.json", Vitals{T: "vitals", Ward: "7w", At: night, Beds: sampleBedLive()})
	golden(t, "person.json", Person{Name: "a.meyer", Display: "A. Meyer", Role: "clinician", Wards: []string{"7w"},
		May: []string{"patients.read", "alerts.act", "gateways.read"}, Until: night + 86400*second})

	live := sampleBedLive()
	beds := []SnapshotBed{
		{Bed: ward.Beds[0], Live: &live[0], Line: sampleLine()},
		{Bed: ward.Beds[1], Live: &live[1], Line: map[string][]LinePoint{}},
		{Bed: ward.Beds[2], Live: nil, Line: map[string][]LinePoint{}},
	}
	golden(t, "snapshot.json", Snapshot{T: "snapshot", Cursor: "1041", Now: night,
		Wards:  []SnapshotWard{{ID: ward.ID, Name: ward.Name, Beds: beds, Gateways: []Gateway{gateway}}},
		Alerts: []Alert{tachy, lead}})

	from, step := float64(night-3600*second), float64(60*second)
	golden(t, "trend.json", Trend{From: night - 3600*second, To: night, Step: 60 * second,
		Vitals: map[string][]TrendPoint{
			"hr":   {{from, 84, 86.5, 90}, {from + step, 85, 88, 91}, {from + 59*step, 120, 141.25, 156}},
			"spo2": {{from, 95, 96, 97}},
		},
		Holes: []Hole{
			{From: night - 3480*second, To: night - 1800*second, Reason: "no_data"},
			{From: night - 1800*second, To: night - 60*second, Reason: "evicted: the gateway's disk was full"},
		},
		Late: []Span{{From: night - 3600*second, To: night - 3540*second}}})
	locked := newProblem(423, "locked", "Five wrong passwords: this account is locked for 15 minutes. "+
		"Screens that are signed in go on. Your administrator can set a new password sooner.")
	locked.Until = night + 900*second
	golden(t, "problem.json", locked)
}

func TestTheMessagesFitTheDescription(t *testing.T) {
	schemas := New(Config{}).api.OpenAPI().Components.Schemas
	for file, name := range map[string]string{
		"alert.json": "Alert", "alert_story.json": "AlertStory", "change.json": "Change", "change_gateway.json": "Change",
		"change_ward.json": "Change", "vitals.json": "Vitals", "person.json": "Person", "snapshot.json": "Snapshot",
		"trend.json": "Trend", "problem.json": "Problem",
	} {
		b, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		var found huma.ValidateResult
		huma.Validate(schemas, schemas.Map()[name], huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, &found)
		for _, err := range found.Errors {
			t.Errorf("%s is no %s: %v", file, name, err)
		}
	}
}
