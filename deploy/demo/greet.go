package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wardline/agent"
	"wardline/cloud"
)

// account is somebody who can sign in. The demonstration keeps passwords in its
// folder so that a second start can print them; no real site would.
type account struct {
	Name, Password, Role string
}

func (d *demo) signIn() string { return filepath.Join(d.data, "sign-in.json") }

// introduce makes the accounts and enrols the gateway, at the first start.
func (d *demo) introduce(ctx context.Context, c cloud.Config) ([]account, error) {
	admin, err := cloud.OpenAdmin(c)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	accounts, err := d.accounts(ctx, admin)
	if err != nil {
		return nil, err
	}
	gateway := d.agentConfig().Data
	if _, err := agent.ReadEnrolment(gateway); !errors.Is(err, agent.ErrNotEnrolled) {
		return accounts, err
	}
	var ids []string
	for _, w := range wards() {
		ids = append(ids, w.ID)
	}
	token, _, err := admin.Token(ctx, "gw-7", ids, 0)
	if err != nil {
		return nil, err
	}
	_, err = agent.Enrol(ctx, gateway, token, false)
	return accounts, err
}

// accounts are those of an earlier start, or made now. Their passwords are written
// down when all are made: a start that is cut off before has written nothing, and
// the next gives those that are there already new ones.
func (d *demo) accounts(ctx context.Context, admin *cloud.Admin) (known []account, err error) {
	text, err := os.ReadFile(d.signIn())
	if err == nil {
		if err := json.Unmarshal(text, &known); err != nil {
			return nil, fmt.Errorf("%s is not what the demonstration wrote: remove it to have new passwords (%w)", d.signIn(), err)
		}
		return known, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, x := range []cloud.Account{
		{Name: "nurse", Display: "Nurse on duty", Role: "clinician", Wards: []string{"7e", "7w"}},
		{Name: "technician", Display: "Technician", Role: "technician", Wards: []string{"*"}},
	} {
		password := strings.ToLower(rand.Text()[:12])
		if admin.HasAccount(ctx, x.Name) == nil {
			err = admin.SetPassword(ctx, x.Name, password)
		} else {
			err = admin.AddAccount(ctx, x, password)
		}
		if err != nil {
			return nil, err
		}
		known = append(known, account{x.Name, password, x.Role})
	}
	if text, err = json.MarshalIndent(known, "", "  "); err != nil {
		return nil, err
	}
	partial := d.signIn() + ".partial"
	if err := os.WriteFile(partial, text, 0o600); err != nil {
		return nil, err
	}
	return known, os.Rename(partial, d.signIn())
}

// tellOnce passes on what the cloud says at its first start alone, before anything
// else can fail.
func (d *demo) tellOnce() {
	if words := strings.Fields(d.first.String()); len(words) > 0 {
		fmt.Fprintf(d.out, "%s\n", strings.Join(words, " "))
	}
}

// greet says where to look, how to sign in, and what will happen when.
func (d *demo) greet(at cloud.Addresses, accounts []account) {
	p := func(format string, a ...any) { fmt.Fprintf(d.out, format+"\n", a...) }
	p("")
	p("Wardline is running: one cloud, one gateway, two wards, twelve virtual patients.")
	p("It is not a medical device, and these are not real patients.")
	p("")
	p("  page     %s", at.People)
	for _, a := range accounts {
		p("  sign in  %-11s password %s", a.Name, a.Password)
	}
	p("  broker   mqtt://%s   (topics wl/1/…: see firmware-protocol/SPEC.md)", d.broker)
	p("")
	p("The browser warns once: the certificate comes from this demonstration's own CA,")
	p("which is %s.", filepath.Join(d.data, "cloud", "ca.pem"))
	p("")
	p("What will happen (again every %d minutes):", int(round.Minutes()))
	now := time.Now()
	for _, s := range scenes {
		where := "link"
		if s.bed >= 0 {
			where = "bed " + beds[s.bed].bed
		}
		p("  %s  %-7s %s, for %d s", now.Add(s.at).Format("15:04:05"), where, s.says, int(s.lasts.Seconds()))
	}
	p("")
	p("The technician's view:  go run ./agent/cmd/wardline-agent status --config %s", d.technician())
	p("Ctrl-C ends it.")
	p("")
}

// technician writes the gateway's configuration as a file, so that the tool can
// be tried on it.
func (d *demo) technician() string {
	path := filepath.Join(d.data, "agent.yaml")
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by the demonstration, for wardline-agent status and tail.\ndata: gateway\nbroker: {listen: %q}\nwards:\n", d.broker)
	for _, w := range wards() {
		fmt.Fprintf(&b, "  - id: %s\n    name: %s\n    beds:\n", w.ID, w.Name)
		for _, x := range w.Beds {
			fmt.Fprintf(&b, "      - {bed: %q, sensor: %s, patient: %s}\n", x.Bed, x.Sensor, x.Patient)
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Sprintf("… (%v)", err)
	}
	return path
}
