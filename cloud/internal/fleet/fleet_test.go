package fleet

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/pki"
)

func (r *rig) refused(token, csr, reason string) {
	r.t.Helper()
	before := len(r.audit)
	_, err := r.Enrol(r.t.Context(), token, csr, "192.0.2.1")
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || refusal.Reason != reason {
		r.t.Errorf("enrolling: %v, want a refusal of reason %s", err, reason)
	}
	if len(r.audit) != before+1 || !r.audit[before].Refused || r.audit[before].Why != reason {
		r.t.Errorf("audited %+v, want the refusal %s", r.audit[before:], reason)
	}
}

func TestATokenEnrolsOneKeyOnceAndTheAnswerMayBeAskedForAgain(t *testing.T) {
	r := newRig(t)
	token, csr := r.token(0), newCSR(t)
	first, err := r.Enrol(t.Context(), token, csr, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if first.Site != "north" || first.Gateway != "gw-7w" || first.Link != "wss://cloud.test:8444/link" || first.CA != string(r.ca.PEM()) {
		t.Errorf("told %+v", first)
	}
	again, err := r.Enrol(t.Context(), token, csr, "192.0.2.1")
	if err != nil {
		t.Fatalf("the same key again, whose answer was lost: %v", err)
	}
	if again != first || len(r.cut) != 1 {
		t.Errorf("told %+v the second time, and cut off %q", again, r.cut)
	}
	r.refused(token, newCSR(t), TokenUsed)
	cert, err := pki.ParseCertificate([]byte(again.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Admit(t.Context(), cert, "192.0.2.1:5000"); err != nil {
		t.Errorf("not admitted: %v", err)
	}
}

func TestNothingFromBeforeARevocationBringsAGatewayBack(t *testing.T) {
	r := newRig(t)
	used, csr, unused := r.token(0), newCSR(t), r.token(0)
	if _, err := r.Enrol(t.Context(), used, csr, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(t.Context(), "gw-7w", "anna", "192.0.2.9", "stolen"); err != nil {
		t.Fatal(err)
	}
	r.refused(used, csr, Revoked)
	r.refused(unused, newCSR(t), Revoked)
	if g := r.row(); g.RevokedAt == 0 {
		t.Fatal("the gateway is not revoked any more")
	}
	// Its replacement is enrolled; what the thief holds is still of no use.
	r.pass(time.Second)
	cert := r.enrolled()
	r.refused(used, csr, TokenExpired)
	r.refused(unused, newCSR(t), TokenExpired)
	if _, err := r.Admit(t.Context(), cert, "192.0.2.1:5000"); err != nil {
		t.Errorf("the replacement is not admitted: %v", err)
	}
}

func TestATokenMadeAfterARevocationIsGoodAlsoWhenTheClockWasSetBack(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	if err := r.Revoke(t.Context(), "gw-7w", "anna", "192.0.2.9", "stolen"); err != nil {
		t.Fatal(err)
	}
	r.pass(-time.Minute)
	r.enrolled()
}

func TestAUsedTokenDoesNotReplaceWhoWasEnrolledSince(t *testing.T) {
	r := newRig(t)
	old, csr := r.token(0), newCSR(t)
	if _, err := r.Enrol(t.Context(), old, csr, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	cert := r.enrolled() // another machine in its place
	r.refused(old, csr, TokenUsed)
	if _, err := r.Admit(t.Context(), cert, "192.0.2.1:5000"); err != nil {
		t.Errorf("the newer one is not admitted: %v", err)
	}
}

func TestACertificateIsGivenAgainOnlyToWhoHoldsItsKey(t *testing.T) {
	r := newRig(t)
	token, csr := r.token(0), newCSR(t)
	if _, err := r.Enrol(t.Context(), token, csr, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(csr))
	block.Bytes[len(block.Bytes)-1] ^= 1 // of the signature
	r.refused(token, string(pem.EncodeToMemory(block)), BadRequest)
}

func TestTokensThatAreExpiredUnknownOrWrongAreRefusedAndAudited(t *testing.T) {
	r := newRig(t)
	expired := r.token(time.Hour)
	r.pass(time.Hour)
	r.refused(expired, newCSR(t), TokenExpired)
	stranger := newRig(t).token(0)
	r.refused(stranger, newCSR(t), UnknownToken)
	r.refused("wl1.rubbish", newCSR(t), UnknownToken)
	good, err := pki.ParseToken(r.token(0))
	if err != nil {
		t.Fatal(err)
	}
	good.Secret = "guessed"
	line, err := good.Line()
	if err != nil {
		t.Fatal(err)
	}
	r.refused(line, newCSR(t), UnknownToken)
	r.refused(r.token(0), "no request", BadRequest)
}

func TestATokenIsBoundToWhatCanBe(t *testing.T) {
	r := newRig(t)
	for _, x := range []struct {
		gateway string
		wards   []string
		life    time.Duration
	}{{"GW", []string{"7w"}, 0}, {"gw", nil, 0}, {"gw", []string{"a/b"}, 0}, {"gw", []string{"7w"}, 365 * 24 * time.Hour}} {
		if _, _, err := r.NewToken(t.Context(), x.gateway, x.wards, x.life, "operator"); err == nil {
			t.Errorf("a token for %+v", x)
		}
	}
}

func TestOnlyCertificatesGivenHereAreAdmitted(t *testing.T) {
	r := newRig(t)
	cert := r.enrolled()
	g, err := r.Admit(t.Context(), cert, "192.0.2.1:5000")
	if err != nil || g.ID != "gw-7w" || len(g.Wards) != 1 {
		t.Fatalf("admitted %+v, %v", g, err)
	}
	sign := func(site, id string) []byte {
		text, err := r.ca.SignGateway([]byte(newCSR(t)), site, id, r.now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, text := range map[string][]byte{"a serial that was never given": sign("north", "gw-7w"), "another site": sign("south", "gw-7w")} {
		before := len(r.audit)
		other, err := pki.ParseCertificate(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Admit(t.Context(), other, "192.0.2.1:5000")
		if refusal, ok := errors.AsType[*link.Refusal](err); !ok || refusal.Reason != link.UnknownGateway || len(r.audit) != before+1 {
			t.Errorf("%s: %v, audited %d", name, err, len(r.audit)-before)
		}
	}
}

func TestAGatewayThatIsSentAwaySaysSoToWhoWaitsForIt(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	stale, err := r.ca.SignGateway([]byte(newCSR(t)), "north", "gw-7w", r.now, time.Hour) // of before a restored backup
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(stale)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.Admit(t.Context(), cert, "192.0.2.1:5000")
	}
	if g := r.row(); g.LinkWhy != "refused: unknown_gateway" || g.Link == store.LinkUp {
		t.Errorf("the gateway is noted as %s, %q", g.Link, g.LinkWhy)
	}
	if err := r.Up(t.Context(), "gw-7w", nil); err != nil {
		t.Fatal(err)
	}
	r.Admit(t.Context(), cert, "192.0.2.1:5000")
	if g := r.row(); g.LinkWhy != "" || g.Link != store.LinkUp {
		t.Errorf("while it is connected it is noted as %s, %q", g.Link, g.LinkWhy)
	}
}

func TestARevokedGatewayIsCutOffRefusedAndMayEnrolAgain(t *testing.T) {
	r := newRig(t)
	cert := r.enrolled()
	r.up()
	r.cut = nil
	for range 2 {
		if err := r.Revoke(t.Context(), "gw-7w", "anna", "192.0.2.9", "stolen"); err != nil {
			t.Fatal(err)
		}
	}
	if rows := slices.DeleteFunc(slices.Clone(r.audit), func(x Row) bool { return x.What != "revoke gateway" }); len(rows) != 1 ||
		rows[0] != (Row{Who: "anna", From: "192.0.2.9", What: "revoke gateway", On: "gw-7w", Why: "stolen"}) {
		t.Errorf("audited %+v", rows)
	}
	if len(r.cut) == 0 || !strings.HasPrefix(r.cut[0], "gw-7w this gateway was revoked") {
		t.Errorf("cut off %v", r.cut)
	}
	_, err := r.Admit(t.Context(), cert, "192.0.2.1:5000")
	if refusal, ok := errors.AsType[*link.Refusal](err); !ok || refusal.Reason != link.Revoked || !refusal.Technician {
		t.Errorf("admitted after it was revoked: %v", err)
	}
	if g := r.row(); g.RevokedAt == 0 || g.Link != store.LinkDown {
		t.Errorf("its row is %+v", g)
	}
	if err := r.Revoke(t.Context(), "gw-9", "anna", "", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoking nobody: %v", err)
	}
	if _, err := r.Admit(t.Context(), r.enrolled(), "192.0.2.1:5000"); err != nil {
		t.Errorf("enrolled again: %v", err)
	}
	if _, err := r.Admit(t.Context(), cert, "192.0.2.1:5000"); err == nil {
		t.Error("the revoked certificate is good again")
	}
}

func TestARevocationByAnotherProcessEndsTheSession(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	r.up()
	r.cut = nil
	other := r.open()
	other.c.Disconnect = func(string, string) {}
	if err := other.Revoke(t.Context(), "gw-7w", "operator", "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.cutRevoked(t.Context()); err != nil || len(r.cut) != 1 {
		t.Errorf("cut off %v, %v", r.cut, err)
	}
}

func TestAGatewayThatSaysNothingIsDownUntilItSpeaks(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	r.up()
	look := func(want string) {
		t.Helper()
		if err := r.lookForSilent(t.Context()); err != nil {
			t.Fatal(err)
		}
		if g := r.row(); g.Link != want {
			t.Errorf("the link is %s (%s), want %s", g.Link, g.LinkWhy, want)
		}
	}
	r.pass(11 * time.Second)
	look(store.LinkUp)
	heard := r.now.Add(-11 * time.Second).UnixMicro()
	r.pass(time.Second)
	look(store.LinkDown)
	if g := r.row(); g.LinkSince != heard {
		t.Errorf("down since %d, want its last word %d", g.LinkSince, heard)
	}
	r.Heard("gw-7w")
	look(store.LinkUp)
	if err := r.Down(t.Context(), "gw-7w", "closed"); err != nil {
		t.Fatal(err)
	}
	look(store.LinkDown)
	if got := strings.Join(r.links, " "); got != "up down up down" {
		t.Errorf("the board was told %s", got)
	}
}

func TestAStartFindsNobodyConnected(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	r.up()
	again := r.open()
	if err := again.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g := r.row(); g.Link != store.LinkDown || r.links[len(r.links)-1] != "down" {
		t.Errorf("after a crash the link is %s, the board was told %v", g.Link, r.links)
	}
}

func TestTopologyIsTakenForTheGatewaysOwnWardsAndChangesAreTold(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	r.up()
	r.up()
	err := r.c.Store.View(t.Context(), func(tx *store.Tx) error {
		wards, err := tx.Wards()
		if len(wards) != 1 || wards[0].ID != "7w" || len(wards[0].Beds) != 1 || wards[0].Beds[0].Limits[0].Value != 120 {
			t.Errorf("wards are %+v", wards)
		}
		rows, ferr := tx.FeedAfter(0, 100)
		told := 0
		for _, row := range rows {
			if row.Kind == WardChange {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told of %d changes of wards, want 1", told)
		}
		return errors.Join(err, ferr)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) post(body string, from string) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodPost, "/enrol", strings.NewReader(body))
	q.RemoteAddr = from + ":1234"
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, q)
	return w
}

func TestEnrolOverHTTPAnswersWithACertificateOrAProblem(t *testing.T) {
	r := newRig(t)
	body, err := json.Marshal(map[string]string{"token": r.token(0), "csr": newCSR(t)})
	if err != nil {
		t.Fatal(err)
	}
	w := r.post(string(body), "192.0.2.1")
	var got Enrolled
	if err := json.NewDecoder(w.Body).Decode(&got); err != nil || w.Code != http.StatusOK || got.Gateway != "gw-7w" {
		t.Errorf("%d %+v, %v", w.Code, got, err)
	}
	for body, want := range map[string]int{"{": http.StatusBadRequest, `{"token":"x"}`: http.StatusBadRequest,
		`{"token":"` + strings.Repeat("x", enrolBody) + `"}`: http.StatusRequestEntityTooLarge} {
		w := r.post(body, "192.0.2.2")
		var problem struct {
			Status int
			Reason string
		}
		if err := json.Unmarshal(bytes.TrimSpace(w.Body.Bytes()), &problem); err != nil || w.Code != want || problem.Status != want || problem.Reason == "" {
			t.Errorf("%.20q: %d %+v, want %d", body, w.Code, problem, want)
		}
	}
}

// connects is the rows about gateways that were refused, as "who from on why".
func (r *rig) connects() (out []string) {
	for _, x := range r.audit {
		if x.Refused {
			out = append(out, x.Who+"|"+x.From+"|"+x.On+"|"+x.Why)
		}
	}
	return out
}

func TestStrangersDoNotFillTheAuditLogAndAreCountedAllTheSame(t *testing.T) {
	r := newRig(t)
	r.c.Address = func(s string) string { host, _, _ := strings.Cut(s, ":"); return host }
	r.now = r.now.Truncate(time.Minute)
	const addresses, each = 30, 40
	for a := range addresses {
		for n := range each {
			r.Stranger(t.Context(), fmt.Sprintf("192.0.2.%d:%d", a, 5000+n), fmt.Sprintf("name-%d", n), "wrong certificate")
		}
	}
	rows := r.connects()
	if len(rows) != rowsOfStrangers || rows[0] != "nobody|192.0.2.0|name-0|wrong certificate" || !strings.HasPrefix(rows[rowsOfStranger], "nobody|192.0.2.1|") {
		t.Fatalf("audited %q", rows)
	}
	if n := len(r.strangers.of); n > rowsOfStrangers {
		t.Errorf("%d addresses are remembered", n)
	}
	for range 2 { // the second time has nothing to tell
		if err := r.tellMore(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if rows := r.connects()[rowsOfStrangers:]; len(rows) != 1 || rows[0] != "several|||1180 more refused" {
		t.Errorf("told of the others as %q", rows)
	}
	// The flood goes on: what comes after that row is in the next minute's.
	r.audit = nil
	for range 2 {
		for range each {
			r.refuse(t.Context(), "192.0.2.1", "t1", http.StatusForbidden, UnknownToken, "no")
		}
		if err := r.tellMore(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
	}
	if err := r.tellMore(t.Context()); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, row := range r.connects() {
		if strings.HasPrefix(row, "several") {
			told = append(told, row)
		}
	}
	// 40 in the first minute, whose rows were used up; 35 in the second.
	if strings.Join(told, " ") != "several|||75 more refused" {
		t.Errorf("told %q", told)
	}
}

func TestAGatewayOfOursIsAuditedWhateverStrangersDo(t *testing.T) {
	r := newRig(t)
	r.now = r.now.Truncate(time.Minute)
	for n := range 100 {
		r.Stranger(t.Context(), fmt.Sprintf("192.0.2.%d", n), "gw-7w", "wrong certificate")
	}
	r.audit = nil
	for range rowsOfGateway + 1 {
		r.Refused(t.Context(), "198.51.100.1:5000", "gw-7w", link.Revoked)
	}
	if rows := r.connects(); len(rows) != rowsOfGateway || rows[0] != "gateway gw-7w|198.51.100.1:5000|gw-7w|"+link.Revoked {
		t.Errorf("audited %q", rows)
	}
}

func TestARefusalThatCannotBeToldOfIsNotForgotten(t *testing.T) {
	r := newRig(t)
	r.more.add(enrolling, 7)
	audit := r.c.Audit
	r.c.Audit = func(*store.Tx, Row) error { return errors.New("no disk") }
	if err := r.tellMore(t.Context()); err == nil {
		t.Fatal("it was told")
	}
	r.c.Audit = audit
	r.pass(time.Minute)
	if err := r.tellMore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows := r.connects(); len(rows) != 1 || rows[0] != "several|||7 more refused" {
		t.Errorf("told %q", rows)
	}
}

func TestGuessingTokensIsSlowed(t *testing.T) {
	r := newRig(t)
	var codes []int
	for range triesOfAddress + 2 {
		codes = append(codes, r.post("{}", "192.0.2.1").Code)
	}
	if codes[triesOfAddress-1] == http.StatusTooManyRequests || codes[triesOfAddress] != http.StatusTooManyRequests {
		t.Errorf("answered %v", codes)
	}
	if other := r.post("{}", "192.0.2.2"); other.Code == http.StatusTooManyRequests {
		t.Error("another address was refused too")
	}
	r.pass(time.Minute)
	if w := r.post("{}", "192.0.2.1"); w.Code == http.StatusTooManyRequests {
		t.Error("still refused a minute later")
	}
}
