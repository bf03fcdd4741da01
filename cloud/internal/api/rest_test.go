package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

func TestTheDescriptionOfTheAPIIsKept(t *testing.T) {
	b, err := New(Config{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("version %v", doc["openapi"])
	}
	pretty, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	goldenBytes(t, "openapi.json", append(pretty, '\n'))
}

func TestSigningInSetsACookieThatNothingElseReads(t *testing.T) {
	w := open(t)
	r := w.as(t, "").post("/api/v1/session", `{"name":"clinician","password":"`+password+`"}`)
	p := decoded[Person](t, r)
	if p.Name != "clinician" || p.Role != "clinician" || strings.Join(p.May, " ") != "patients.read alerts.act gateways.read" || p.Until != night+86400*second {
		t.Errorf("signed in as %+v", p)
	}
	cookies := r.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	k := cookies[0]
	if k.Name != "__Host-wardline_session" || !k.HttpOnly || !k.Secure || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.MaxAge != 86400 || k.Domain != "" {
		t.Errorf("cookie %q", r.Header.Get("Set-Cookie"))
	}
	if strings.Contains(string(r.body), k.Value) {
		t.Error("the token is in the body")
	}
	c := w.as(t, "")
	c.token = k.Value
	if p := decoded[Person](t, c.get("/api/v1/session")); p.Name != "clinician" {
		t.Errorf("signed in as %+v", p)
	}
	bearer := w.as(t, "").send("GET", "/api/v1/session", "", "Authorization", "Bearer "+k.Value)
	if p := decoded[Person](t, bearer); p.Name != "clinician" {
		t.Errorf("a bearer is %+v", p)
	}
	// Signing in with the same browser ends what it held.
	again := c.post("/api/v1/session", `{"name":"clinician","password":"`+password+`"}`)
	if again.StatusCode != http.StatusOK || len(again.Cookies()) != 1 {
		t.Fatalf("%s %s", again.Status, again.body)
	}
	wantProblem(t, c.get("/api/v1/session"), 401, "session_over")
	c.token = again.Cookies()[0].Value
	out := c.send("DELETE", "/api/v1/session", "")
	if out.StatusCode != http.StatusNoContent || !strings.Contains(out.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("signed out with %s, %q", out.Status, out.Header.Get("Set-Cookie"))
	}
	wantProblem(t, c.get("/api/v1/session"), 401, "session_over")
}

func TestFiveWrongPasswordsLockAndSayUntilWhen(t *testing.T) {
	w := open(t)
	c := w.as(t, "")
	for range 4 {
		wantProblem(t, c.post("/api/v1/session", `{"name":"viewer","password":"wrong"}`), 401, "wrong_password")
	}
	for range 2 {
		r := c.post("/api/v1/session", `{"name":"viewer","password":"wrong"}`)
		p := wantProblem(t, r, 423, "locked")
		if p.Until != night+900*second || r.Header.Get("Retry-After") != "900" {
			t.Errorf("until %d, retry after %q", p.Until, r.Header.Get("Retry-After"))
		}
	}
	w.wantAudited(t, 5, "viewer|sign in|||refused|wrong_password")
	w.wantAudited(t, 1, "viewer|lock|||refused|locked")
}

// Every endpoint that needs somebody, and what each role gets of it in ward 7w
// and in ward 5e, which only the lead has.
func TestEveryEndpointAsksForRoleAndWard(t *testing.T) {
	w := open(t)
	here := w.raise(t, "7w", "12", "hr-high", night-60*second, false)
	there := w.raise(t, "5e", "1", "hr-high", night-60*second, false)
	people := []string{"", "viewer", "clinician", "lead", "technician", "administrator"}
	clients := map[string]*client{}
	for _, p := range people {
		clients[p] = w.as(t, p)
	}
	say := `{"text":"on my way"}`
	covered := map[string]bool{"POST /api/v1/session": true} // which asks for nobody
	for _, c := range []struct {
		method, path, body string
		want               string // "" viewer clinician lead technician administrator
	}{
		{"GET", "/api/v1/session", "", "401 200 200 200 200 200"},
		{"GET", "/api/v1/sessions", "", "401 200 200 200 200 200"},
		{"GET", "/api/v1/sessions?person=lead", "", "401 403 403 200 403 200"},
		{"DELETE", "/api/v1/sessions/unknown", "", "401 404 404 404 404 404"},
		{"GET", "/api/v1/wards", "", "401 200 200 200 403 403"},
		{"GET", "/api/v1/alerts", "", "401 200 200 200 403 403"},
		{"GET", "/api/v1/alerts?ward=7w", "", "401 200 200 200 403 403"},
		{"GET", "/api/v1/alerts?ward=5e", "", "401 403 403 200 403 403"},
		{"GET", "/api/v1/alerts/" + string(here), "", "401 200 200 200 403 403"},
		{"GET", "/api/v1/alerts/" + string(there), "", "401 403 403 200 403 403"},
		{"GET", "/api/v1/wards/7w/beds/12/trend", "", "401 200 200 200 403 403"},
		{"GET", "/api/v1/wards/5e/beds/1/trend", "", "401 403 403 200 403 403"},
		{"POST", "/api/v1/alerts/" + string(here) + "/acknowledge", "{}", "401 403 200 200 403 403"},
		{"POST", "/api/v1/alerts/" + string(there) + "/acknowledge", "{}", "401 403 403 200 403 403"},
		{"POST", "/api/v1/alerts/" + string(here) + "/comment", say, "401 403 200 200 403 403"},
		{"POST", "/api/v1/alerts/" + string(there) + "/comment", say, "401 403 403 200 403 403"},
		{"POST", "/api/v1/alerts/" + string(there) + "/withdraw", "{}", "401 403 403 200 403 403"},
		{"POST", "/api/v1/alerts/" + string(here) + "/resolve", say, "401 403 409 409 403 403"},
		{"GET", "/api/v1/gateways", "", "401 200 200 200 200 200"},
		{"POST", "/api/v1/gateways/gw-7w/revoke", "{}", "401 403 403 403 403 200"},
		{"GET", "/api/v1/audit", "", "401 403 403 403 403 200"},
		{"GET", "/api/v1/audit/verification", "", "401 403 403 403 403 200"},
		{"GET", "/api/v1/status", "", "401 403 403 403 200 200"},
		{"GET", "/api/v1/people", "", "401 403 403 403 403 200"},
		{"POST", "/api/v1/people", `{"name":"new","role":"viewer","wards":["7w"],"password":"` + password + `"}`, "401 403 403 403 403 201"},
		{"POST", "/api/v1/people/new/disable", "", "401 403 403 403 403 204"},
		{"POST", "/api/v1/people/new/enable", "", "401 403 403 403 403 204"},
		{"POST", "/api/v1/people/new/password", `{"password":"` + password + `"}`, "401 403 403 403 403 204"},
		{"POST", "/api/v1/people/nobody/disable", "", "401 403 403 403 403 404"},
		{"POST", "/api/v1/session/password", `{"old":"` + password + `","new":"` + password + `"}`, "401 204 204 204 204 204"},
		{"GET", "/api/v1/live", "", "401 426 426 426 403 403"},
		{"DELETE", "/api/v1/session", "", "401 204 204 204 204 204"}, // the last: nobody is signed in after it
	} {
		covered[c.method+" "+template(c.path)] = true
		for i, want := range strings.Fields(c.want) {
			r := clients[people[i]].send(c.method, c.path, c.body)
			if fmt.Sprint(r.StatusCode) != want {
				t.Errorf("%s %s as %q: %s %s, want %s", c.method, c.path, people[i], r.Status, r.body, want)
			}
		}
	}
	for path, item := range w.api.api.OpenAPI().Paths {
		for method, op := range map[string]any{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if !reflect.ValueOf(op).IsNil() && !covered[method+" "+path] {
				t.Errorf("nobody asked what %s %s lets whom do", method, path)
			}
		}
	}
	w.wantAudited(t, 1, "viewer|acknowledge_alert|"+string(here)+"||refused|may_not")
	w.wantAudited(t, 1, "clinician|acknowledge_alert|"+string(there)+"|5e|refused|other_ward")
	w.wantAudited(t, 1, "clinician|acknowledge_alert|"+string(here)+"|7w|done|")
	w.wantAudited(t, 1, "clinician|read_alert|"+string(here)+"|7w|done|")
	w.wantAudited(t, 1, "viewer|trend|1|5e|refused|other_ward")
	w.wantAudited(t, 1, "viewer|trend|12|7w|done|")
	w.wantAudited(t, 1, "administrator|revoke gateway|gw-7w||done|revoked by administrator")
	if head, err := w.access.Verify(t.Context(), access.Head{}, 0); err != nil || head.Rows < 40 {
		t.Errorf("the log: %+v, %v", head, err)
	}
}

// template is the path of the description that an address belongs to.
func template(address string) string {
	path, _, _ := strings.Cut(address, "?")
	parts := strings.Split(path, "/")
	for i := range parts {
		switch {
		case i > 0 && parts[i-1] == "wards":
			parts[i] = "{ward}"
		case i > 0 && parts[i-1] == "people":
			parts[i] = "{name}"
		case i > 0 && parts[i-1] == "beds":
			parts[i] = "{bed}"
		case i > 0 && (parts[i-1] == "alerts" || parts[i-1] == "gateways" || parts[i-1] == "sessions"):
			parts[i] = "{id}"
		}
	}
	return strings.Join(parts, "/")
}

func TestListsHoldOnlyWhatThePersonMaySee(t *testing.T) {
	w := open(t)
	w.raise(t, "7w", "12", "hr-high", night-60*second, false)
	w.raise(t, "5e", "1", "hr-high", night-60*second, false)
	for name, want := range map[string]int{"viewer": 1, "lead": 2} {
		c := w.as(t, name)
		if got := decoded[WardList](t, c.get("/api/v1/wards")); len(got.Wards) != want {
			t.Errorf("%s sees wards %+v", name, got)
		}
		if got := decoded[AlertPage](t, c.get("/api/v1/alerts")); len(got.Items) != want {
			t.Errorf("%s sees alerts %+v", name, got)
		}
		if got := decoded[GatewayList](t, c.get("/api/v1/gateways")); len(got.Gateways) != want {
			t.Errorf("%s sees gateways %+v", name, got)
		}
	}
	if got := decoded[GatewayList](t, w.as(t, "administrator").get("/api/v1/gateways")); len(got.Gateways) != 2 {
		t.Errorf("the administrator sees gateways %+v", got)
	}
}

func TestPagesOfAlertsMissNothingAndRepeatNothing(t *testing.T) {
	w := open(t)
	want := map[string]bool{}
	for i := range 11 {
		onset := night - int64(i/2)*second // pairs share their onset
		want[string(w.raise(t, "7w", "12", fmt.Sprintf("rule-%d", i), onset, false))] = true
	}
	c := w.as(t, "viewer")
	after, pages := "", 0
	var last int64 = 1 << 62
	for {
		p := decoded[AlertPage](t, c.get("/api/v1/alerts?limit=3&after="+after))
		pages++
		for _, a := range p.Items {
			if !want[a.ID] {
				t.Errorf("%s comes twice or should not come", a.ID)
			}
			delete(want, a.ID)
			if a.Onset > last {
				t.Error("the newest is not first")
			}
			last = a.Onset
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if len(want) != 0 || pages != 4 {
		t.Errorf("%d pages, missing %v", pages, want)
	}
	wantProblem(t, c.get("/api/v1/alerts?after=nonsense"), 422, "invalid")
	wantProblem(t, c.get("/api/v1/alerts?limit=1000000"), 422, "invalid")
	wantProblem(t, c.get("/api/v1/alerts?colour=red"), 422, "invalid")
}

func TestAnAlertIsAcknowledgedWithdrawnCommentedAndResolved(t *testing.T) {
	w := open(t)
	id := w.raise(t, "7w", "12", "asystole", night-60*second, true)
	c := w.as(t, "clinician")
	path := "/api/v1/alerts/" + string(id)

	a := decoded[Alert](t, c.post(path+"/acknowledge", `{"minutes":5}`))
	if a.Ack == nil || a.Ack.By != "clinician" || a.Ack.Until != night+300*second || a.Ack.Via != "page" || a.Page || a.AtGateway {
		t.Errorf("acknowledged: %+v %+v", a, a.Ack)
	}
	if a = decoded[Alert](t, c.post(path+"/withdraw", "")); a.Ack != nil || !a.Page {
		t.Errorf("withdrawn: %+v", a)
	}
	wantProblem(t, c.post(path+"/withdraw", ""), 409, "conflict")

	p := wantProblem(t, c.post(path+"/resolve", `{"text":"all well"}`), 409, "conflict")
	if p.Detail != "The condition is still true: acknowledge instead." {
		t.Errorf("told %q", p.Detail)
	}
	w.take(t, "7w", alert.Event{Alert: id, Author: alert.Gateway, N: 2, Type: alert.Ended, At: night, Text: "a beat was seen"})
	for range 2 { // the answer was lost and the page asks again
		r := c.send("POST", path+"/comment", `{"text":"lead was loose"}`, "Idempotency-Key", "k1")
		if a = decoded[Alert](t, r); len(a.Comments) != 1 || a.Comments[0].Text != "lead was loose" {
			t.Errorf("commented: %+v", a.Comments)
		}
	}
	wantProblem(t, c.send("POST", path+"/resolve", `{"text":"x"}`, "Idempotency-Key", "k1"), 409, "conflict")
	if a = decoded[Alert](t, c.post(path+"/resolve", `{"text":"all well"}`)); a.Open || a.Resolution == nil || a.Resolution.By != "clinician" {
		t.Errorf("resolved: %+v", a)
	}
	wantProblem(t, c.post(path+"/acknowledge", "{}"), 409, "conflict")
	story := decoded[AlertStory](t, c.get(path))
	if len(story.Events) != 6 || story.Resolution == nil {
		t.Errorf("the story: %+v", story)
	}
	w.wantAudited(t, 1, "clinician|resolve_alert|"+string(id)+"|7w|done|")
	w.wantAudited(t, 2, "clinician|comment_alert|"+string(id)+"|7w|done|")
}

func TestWhatIsNotThereOrNotUnderstoodIsAProblem(t *testing.T) {
	w := open(t)
	c := w.as(t, "lead")
	id := w.raise(t, "7w", "12", "hr-high", night-60*second, false)
	path := "/api/v1/alerts/" + string(id)
	none := "/api/v1/alerts/" + strings.Repeat("0", 32)
	wantProblem(t, c.get(none), 404, "not_found")
	wantProblem(t, c.post(none+"/acknowledge", "{}"), 404, "not_found")
	wantProblem(t, c.get("/api/v1/alerts/short"), 422, "invalid")
	wantProblem(t, c.get("/api/v1/wards/7w/beds/99/trend"), 404, "not_found")
	wantProblem(t, c.get("/api/v1/nothing"), 404, "not_found")
	r := c.send("PUT", "/api/v1/session", "")
	wantProblem(t, r, 405, "method")
	if got := r.Header.Get("Allow"); got != "GET, POST, DELETE" {
		t.Errorf("allowed are %q", got)
	}
	admin := w.as(t, "administrator")
	wantProblem(t, admin.post("/api/v1/gateways/none/revoke", "{}"), 404, "not_found")
	wantProblem(t, admin.post("/api/v1/people/administrator/disable", ""), 409, "conflict")
	wantProblem(t, admin.post("/api/v1/people", `{"name":"viewer","role":"viewer","wards":["7w"],"password":"`+password+`"}`), 409, "exists")
	wantProblem(t, admin.post("/api/v1/people", `{"name":"x y","role":"viewer","wards":["7w"],"password":"`+password+`"}`), 422, "bad_account")
	wantProblem(t, admin.post("/api/v1/session/password", `{"old":"wrong","new":"`+password+`"}`), 403, "wrong_password")
	wantProblem(t, c.post(path+"/comment", `{"text":""}`), 422, "invalid")
	wantProblem(t, c.post(path+"/comment", ""), 422, "invalid")
	wantProblem(t, c.post(path+"/comment", "{"), 400, "invalid")
	wantProblem(t, c.post(path+"/acknowledge", `{"minutes":-1}`), 422, "invalid")
	p := wantProblem(t, c.post(path+"/acknowledge", `{"minuts":5}`), 422, "invalid")
	if len(p.Fields) == 0 || p.Fields[0].Where != "body.minuts" {
		t.Errorf("fields %+v", p.Fields)
	}
	wantProblem(t, c.post(path+"/comment", `{"text":"`+strings.Repeat("x", maxBody)+`"}`), 413, "too_large")
}

func TestWordsThatWouldNotBeSeenAsTheyAreAreRefusedWithASentence(t *testing.T) {
	w := open(t)
	c, admin := w.as(t, "lead"), w.as(t, "administrator")
	path := "/api/v1/alerts/" + string(w.raise(t, "7w", "12", "hr-high", night-60*second, false))
	for _, refused := range []struct {
		who        *client
		path, body string
	}{
		{c, path + "/comment", `{"text":"a\u0000b"}`},
		{c, path + "/resolve", `{"text":"\u001b[31mred"}`},
		{c, path + "/acknowledge", `{"text":"dose \u202e01"}`},
		{admin, "/api/v1/gateways/gw-7w/revoke", `{"why":"\u2066stolen"}`},
		{admin, "/api/v1/people", `{"name":"ben","display":"Ben\nAdmin","role":"viewer","wards":["7w"],"password":"` + password + `"}`},
	} {
		p := wantProblem(t, refused.who.post(refused.path, refused.body), 422, "bad_text")
		if !strings.Contains(p.Detail, "Remove it and try again. Nothing was changed.") {
			t.Errorf("%s: %q", refused.path, p.Detail)
		}
	}
	if a := decoded[AlertStory](t, c.get(path)); a.Ack != nil || len(a.Comments) > 0 || !a.Open {
		t.Errorf("the alert was changed: %+v", a.Alert)
	}
	if r := c.post(path+"/comment", `{"text":"one\n\ttwo"}`); r.StatusCode != 200 {
		t.Errorf("newline and tab: %d", r.StatusCode)
	}
	longest := strings.Repeat("李", access.MaxText)
	if r := c.post(path+"/comment", `{"text":"`+longest+`"}`); r.StatusCode != 200 {
		t.Errorf("the longest: %d %s", r.StatusCode, r.body)
	}
	p := wantProblem(t, c.post(path+"/comment", `{"text":"`+longest+`x"}`), 422, "invalid")
	if len(p.Fields) == 0 || p.Fields[0].Where != "body.text" {
		t.Errorf("fields %+v", p.Fields)
	}
}

func TestAGatewayIsRevokedWithItsAuditRowOrNotAtAll(t *testing.T) {
	w := open(t)
	a := w.as(t, "administrator")
	revoke := w.api.c.Revoke
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan struct{})
	w.api.c.Revoke = func(ctx context.Context, gateway, by, from, why string) error {
		defer close(ended)
		err := revoke(ctx, gateway, by, from, why)
		hangUp() // and with that the context of the request ends
		<-ctx.Done()
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", w.URL+"/api/v1/gateways/gw-7w/revoke", strings.NewReader(`{"why":"stolen"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.AddCookie(&http.Cookie{Name: cookieName, Value: a.token})
	if res, err := w.Client().Do(r); err == nil { // the answer to one who hangs up may still get there
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("answered %s", res.Status)
		}
	}
	<-ended
	const row = "administrator|revoke gateway|gw-7w||done|stolen"
	w.wantAudited(t, 1, row)

	w.api.c.Revoke = revoke
	if r := a.post("/api/v1/gateways/gw-7w/revoke", `{"why":"stolen"}`); r.StatusCode != http.StatusOK {
		t.Errorf("again: %s %s", r.Status, r.body)
	}
	w.wantAudited(t, 1, row)
	if from := w.from(t, row); from != "127.0.0.1" {
		t.Errorf("the row says that it came from %q", from)
	}
}

func TestWhatAnAdministratorDoesAndReadsIsAuditedWithTheAddress(t *testing.T) {
	w := open(t)
	a := w.as(t, "administrator")
	for _, c := range []struct{ method, path, body, row string }{
		{"POST", "/api/v1/people", `{"name":"eve","role":"viewer","wards":["7w"],"password":"` + password + `"}`, "add account|eve||done|viewer of 7w"},
		{"POST", "/api/v1/people/eve/disable", "", "disable account|eve||done|"},
		{"POST", "/api/v1/people/eve/enable", "", "enable account|eve||done|"},
		{"POST", "/api/v1/people/eve/password", `{"password":"` + password + `"}`, "set password|eve||done|"},
		{"GET", "/api/v1/people", "", "list_people|||done|"},
		{"GET", "/api/v1/sessions?person=clinician", "", "list_sessions|clinician||done|"},
		{"GET", "/api/v1/audit/verification", "", "verify_audit|||done|"},
		{"GET", "/api/v1/audit", "", "read_audit|||done|"},
	} {
		if r := a.send(c.method, c.path, c.body); r.StatusCode >= 300 {
			t.Errorf("%s %s: %s %s", c.method, c.path, r.Status, r.body)
		}
		if from := w.from(t, "administrator|"+c.row); from != "127.0.0.1" {
			t.Errorf("%s: from %q", c.row, from)
		}
	}
	a.get("/api/v1/sessions?person=Administrator")
	w.wantAudited(t, 0, "administrator|list_sessions|administrator||done|")
}

func TestWordsHaveOneBoundWhereverTheyAreChecked(t *testing.T) {
	schemas := New(Config{}).api.OpenAPI().Components.Schemas.Map()
	for schema, field := range map[string]string{"Words": "text", "Acknowledgement": "text", "Reason": "why"} {
		if got := schemas[schema].Properties[field].MaxLength; got == nil || *got != access.MaxText {
			t.Errorf("%s.%s has at most %v characters, want %d", schema, field, got, access.MaxText)
		}
	}
	if board.MaxText != access.MaxText*utf8.UTFMax {
		t.Errorf("the board takes %d bytes, want those of %d characters", board.MaxText, access.MaxText)
	}
}

func TestAnAlertsStoryIsToldByWhenItHappened(t *testing.T) {
	w := open(t)
	id := w.raise(t, "7w", "12", "hr-high", night-60*second, false)
	w.turn(60 * second)
	c := w.as(t, "clinician")
	if r := c.post("/api/v1/alerts/"+string(id)+"/comment", `{"text":"on my way"}`); r.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	// The gateway tells only now what it saw before the comment.
	w.take(t, "7w", alert.Event{Alert: id, Author: alert.Gateway, N: 2, Type: alert.Ended, At: night + 10*second})
	var told []alert.Type
	for _, e := range decoded[AlertStory](t, c.get("/api/v1/alerts/"+string(id))).Events {
		told = append(told, e.Type)
	}
	if want := []alert.Type{alert.Raised, alert.Ended, alert.Commented}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestNobodyDisablesTheirOwnAccountHoweverItIsWritten(t *testing.T) {
	w := open(t)
	admin := w.as(t, "administrator")
	for _, name := range []string{"administrator", "Administrator", "ADMINISTRATOR%20"} {
		wantProblem(t, admin.post("/api/v1/people/"+name+"/disable", ""), 409, "conflict")
	}
}

func TestAnotherOriginsPageChangesNothing(t *testing.T) {
	w := open(t)
	c := w.as(t, "clinician")
	id := w.raise(t, "7w", "12", "hr-high", night-60*second, false)
	path := "/api/v1/alerts/" + string(id) + "/acknowledge"
	wantProblem(t, c.send("POST", path, "{}", "Origin", "https://evil.example"), 403, "cross_origin")
	wantProblem(t, c.send("POST", path, "{}", "Sec-Fetch-Site", "cross-site"), 403, "cross_origin")
	wantProblem(t, c.send("DELETE", "/api/v1/session", "", "Sec-Fetch-Site", "same-site"), 403, "cross_origin")
	if a := decoded[AlertStory](t, c.get("/api/v1/alerts/"+string(id))); a.Ack != nil {
		t.Error("it was acknowledged")
	}
	decoded[Alert](t, c.send("POST", path, "{}", "Origin", w.URL, "Sec-Fetch-Site", "same-origin"))
}

func TestEveryAnswerCarriesStrictHeaders(t *testing.T) {
	w := open(t)
	c := w.as(t, "viewer")
	for _, path := range []string{"/", "/assets/app.js", "/api/v1/session", "/api/v1/nothing", "/healthz"} {
		h := c.get(path).Header
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Strict-Transport-Security": "max-age=31536000", "X-Frame-Options": "DENY",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if strings.HasPrefix(path, "/api/") && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept: %q", path, h.Get("Cache-Control"))
		}
	}
	if !strings.Contains(policy, "default-src 'self'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
}

func TestThePageIsServedAndItsOwnAddressesLeadToIt(t *testing.T) {
	w := open(t)
	c := w.as(t, "")
	for path, want := range map[string]string{"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8",
		"/ward/7w/bed/12": "text/html; charset=utf-8", "/assets/app.js": "text/javascript; charset=utf-8"} {
		r := c.get(path)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != want || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %s %v", path, r.Status, r.Header)
		}
		if again := c.send("GET", path, "", "If-None-Match", r.Header.Get("ETag")); again.StatusCode != 304 {
			t.Errorf("%s again: %s", path, again.Status)
		}
	}
	wantProblem(t, c.get("/assets/gone.js"), 404, "not_found")
	plain, packed := c.send("GET", "/assets/app.js", "", "Accept-Encoding", "identity"), c.send("GET", "/assets/app.js", "", "Accept-Encoding", "gzip, br")
	z, err := gzip.NewReader(bytes.NewReader(packed.body))
	if err != nil || packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("ETag") == plain.Header.Get("ETag") {
		t.Fatalf("packed: %v %v", packed.Header, err)
	}
	if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, plain.body) || len(packed.body) >= len(b) {
		t.Errorf("packed: %d bytes become %d, plain %d, %v", len(packed.body), len(b), len(plain.body), err)
	}
	wantProblem(t, c.post("/", "{}"), 405, "invalid")
	if r := c.get("/healthz"); r.StatusCode != 200 || string(r.body) != "ok\n" {
		t.Errorf("healthz: %s %q", r.Status, r.body)
	}
}

func TestSessionsAreListedAndEndedByTheirOwner(t *testing.T) {
	w := open(t)
	first, second := w.as(t, "viewer"), w.as(t, "viewer")
	list := decoded[SessionList](t, first.get("/api/v1/sessions"))
	if len(list.Sessions) != 2 || list.Sessions[0].This == list.Sessions[1].This {
		t.Fatalf("sessions %+v", list)
	}
	for _, x := range list.Sessions {
		if !x.This {
			if r := first.send("DELETE", "/api/v1/sessions/"+x.ID, ""); r.StatusCode != 204 {
				t.Errorf("%s %s", r.Status, r.body)
			}
		}
	}
	wantProblem(t, second.get("/api/v1/session"), 401, "session_over")
	decoded[Person](t, first.get("/api/v1/session"))
}

func TestALongAuditLogIsVerifiedInPages(t *testing.T) {
	w := open(t)
	a := w.as(t, "administrator")
	w.api.verifyRows = 4
	path, pages, seq := "/api/v1/audit/verification", 0, int64(0)
	for more := true; more; pages++ {
		v := decoded[Verification](t, a.get(path))
		if !v.Whole || v.Rows > 4 || v.Seq != seq+v.Rows || pages > 50 {
			t.Fatalf("page %d: %+v", pages, v)
		}
		seq, more = v.Seq, v.Next != 0
		path = fmt.Sprintf("/api/v1/audit/verification?after=%d&hash=%s", v.Next, v.Hash)
	}
	if pages < 2 {
		t.Errorf("%d pages", pages)
	}
	v := decoded[Verification](t, a.get(fmt.Sprintf("/api/v1/audit/verification?after=3&hash=%064d", 0)))
	if v.Whole || v.Rows != 0 || !strings.Contains(v.Why, "row 3") {
		t.Errorf("from another hash: %+v", v)
	}
	wantProblem(t, a.get("/api/v1/audit/verification?after=3&hash=none"), 422, "invalid")
}

func TestAChangedAuditLogIsToldWhereItBreaks(t *testing.T) {
	w := open(t)
	c := w.as(t, "administrator")
	if v := decoded[Verification](t, c.get("/api/v1/audit/verification")); !v.Whole || v.Rows != 6 || v.Why != "" {
		t.Errorf("whole: %+v", v)
	}
	w.do(t, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE audit SET who = 'somebody' WHERE seq = 4`)
		return err
	})
	if v := decoded[Verification](t, c.get("/api/v1/audit/verification")); v.Whole || v.Seq != 3 || !strings.Contains(v.Why, "row 4") {
		t.Errorf("changed: %+v", v)
	}
}

func TestTheAuditLogIsReadInOrder(t *testing.T) {
	w := open(t)
	for range 5 {
		if err := w.access.Record(t.Context(), access.Row{Who: "viewer", What: "trend", Outcome: access.Done}); err != nil {
			t.Fatal(err)
		}
	}
	c := w.as(t, "administrator")
	var after, rows int64
	for {
		p := decoded[AuditPage](t, c.get(fmt.Sprintf("/api/v1/audit?limit=4&after=%d", after)))
		for _, r := range p.Items {
			if rows++; r.Seq != rows || len(r.Hash) != 64 {
				t.Errorf("row %+v is the %d.", r, rows)
			}
		}
		if after = p.Next; after == 0 {
			break
		}
	}
	if rows < 11 {
		t.Errorf("%d rows", rows)
	}
}
