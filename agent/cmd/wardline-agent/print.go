package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"wardline/agent"
	"wardline/agent/internal/control"
)

func logger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if level != "" {
		l.UnmarshalText([]byte(level)) // the configuration was checked
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}))
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintln(w, "wardline-agent", agent.Version)
	return err
}

func printConfig(w io.Writer, c agent.Config, asJSON bool) error {
	beds, bound := 0, 0
	for _, ward := range c.Wards {
		for _, b := range ward.Beds {
			beds++
			if b.Sensor != "" {
				bound++
			}
		}
	}
	if asJSON {
		return printJSON(w, map[string]any{"ok": true, "wards": len(c.Wards), "beds": beds, "bound": bound, "data": c.Data})
	}
	_, err := fmt.Fprintf(w, "ok: %s, %s, %d of them bound to a sensor; data in %s\n", count(len(c.Wards), "ward"), count(beds, "bed"), bound, c.Data)
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printStatus keeps to a phone's width: a subject, what is said of it, a detail.
func printStatus(w io.Writer, s control.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	name := s.Gateway
	if s.Site == "" {
		name += " (not enrolled)"
	}
	fmt.Fprintf(t, "gateway\t%s\tup %s, version %s\n", name, span(s.Up), s.Version)
	clock := s.Clock
	if clock == "free" {
		clock = "not synchronised"
	}
	fmt.Fprintf(t, "clock\t%s\t%s\n", clock, time.UnixMicro(s.Now).Format("2006-01-02 15:04:05 MST"))
	printLink(t, "broker", s.Broker, s.Now)
	printLink(t, "uplink", s.Uplink, s.Now)
	printCertificate(t, s)
	printPending(t, s)
	fmt.Fprintf(t, "outbox\t%s of %s\tframes kept %s\n", size(s.Outbox.Bytes), size(s.Outbox.MaxBytes), ago(s.Outbox.FramesFrom, s.Now))
	printFlash(t, s.Flash)
	printSensors(t, s)
	for _, in := range s.Intake {
		fmt.Fprintf(t, "source\t%s: %d taken\t%s\n", in.Source, in.Accepted, refused(in))
	}
	for _, x := range s.Trouble {
		fmt.Fprintf(t, "trouble\t%s\n", x)
	}
	for i, a := range s.Alerts {
		head := ""
		if i == 0 {
			head = "alerts"
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\n", head, marks(a.Priority), where(a), printable(describe(a, s.Now)))
	}
	if len(s.Alerts) == 0 {
		fmt.Fprintf(t, "alerts\tnone\n")
	}
	return t.Flush()
}

func printLink(w io.Writer, name string, l control.Link, now int64) {
	state := l.State
	if l.Since > 0 {
		state += " " + span(now-l.Since)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\n", name, state, l.Peer)
	if l.Error != "" && l.State != "connected" {
		fmt.Fprintf(w, "\t%s\n", l.Error)
	}
}

func printCertificate(w io.Writer, s control.Status) {
	if s.Certificate == nil {
		return
	}
	left := count(int(s.Certificate.Days), "day") + " left"
	if s.Certificate.Days < 0 {
		left = "over, renewing"
	}
	fmt.Fprintf(w, "identity\tcertificate: %s\tends %s\n", left, time.UnixMicro(s.Certificate.Ends).Format(time.DateOnly))
	if s.Certificate.Error != "" {
		fmt.Fprintf(w, "\tnot renewed as yet: %s\n", s.Certificate.Error)
	}
}

func printPending(w io.Writer, s control.Status) {
	var n uint64
	oldest := int64(0)
	for _, l := range s.Lanes {
		n += l.Pending
		if l.Pending > 0 && (oldest == 0 || l.Oldest < oldest) {
			oldest = l.Oldest
		}
		if l.Evicted > 0 {
			fmt.Fprintf(w, "evicted\t%s\tof %s, for want of space\n", count(int(l.Evicted), "record"), l.Lane)
		}
	}
	detail := ""
	if n > 0 {
		detail = "oldest " + ago(oldest, s.Now)
	}
	fmt.Fprintf(w, "pending\t%s\t%s\n", count(int(n), "record"), detail)
}

// printFlash counts as makers of cards do: a MB is a million bytes.
func printFlash(w io.Writer, f *control.Flash) {
	switch {
	case f == nil:
		fmt.Fprintf(w, "flash\tnot known on this system\n")
	case f.PerDay == 0:
		fmt.Fprintf(w, "flash\t%.1f MB today\n", float64(f.Today)/1e6)
	default:
		fmt.Fprintf(w, "flash\t%.1f MB today, %.1f MB/day\n", float64(f.Today)/1e6, float64(f.PerDay)/1e6)
	}
}

func printSensors(w io.Writer, s control.Status) {
	live := 0
	var rest []control.Sensor
	for _, x := range s.Sensors {
		if x.State == "live" {
			live++
		} else {
			rest = append(rest, x)
		}
	}
	if s.Broker.State != "connected" {
		fmt.Fprintf(w, "sensors\tnot known: there is no broker\n")
		return
	}
	fmt.Fprintf(w, "sensors\t%d live, %d not\n", live, len(rest))
	for _, x := range rest {
		since := ""
		if x.Since > 0 {
			since = " since " + time.UnixMicro(x.Since).Format("15:04:05")
		}
		fmt.Fprintf(w, "\t%s%s\tbed %s, ward %s, sensor %s\n", x.State, since, x.Bed, x.Ward, x.Sensor)
	}
	for _, x := range s.Sensors {
		if x.Missing > 0 {
			fmt.Fprintf(w, "\t%s never came\tbed %s, ward %s, sensor %s\n", count(int(x.Missing), "frame"), x.Bed, x.Ward, x.Sensor)
		}
	}
	for _, r := range s.Relays {
		if !r.Online {
			fmt.Fprintf(w, "relay\t%s offline\tsince %s\n", r.Relay, time.UnixMicro(r.Since).Format("15:04:05"))
		}
	}
}

// refused is what a source's messages were set aside for, and what was passed
// over in those that were taken.
func refused(in control.Intake) string {
	var parts []string
	for _, x := range []struct {
		what string
		by   map[string]uint64
	}{{"set aside", in.SetAside}, {"passed over", in.PassedOver}} {
		var counts []string
		for reason, n := range x.by {
			counts = append(counts, fmt.Sprintf("%s %d", reason, n))
		}
		if slices.Sort(counts); len(counts) > 0 {
			parts = append(parts, x.what+": "+strings.Join(counts, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

func marks(priority string) string {
	switch priority {
	case "high":
		return "***"
	case "medium":
		return "** "
	}
	return "*  "
}

func where(a control.Alert) string {
	if a.Bed == "" {
		return "ward " + a.Ward
	}
	return "bed " + a.Bed
}

func describe(a control.Alert, now int64) string {
	text := a.Text + ", for " + span(now-a.Onset)
	if a.Phase == "latched" {
		text = a.Text + ", over but not resolved"
	}
	if a.AcknowledgedBy != "" {
		text += ", acknowledged by " + a.AcknowledgedBy
		if a.Until > 0 {
			text += " until " + time.UnixMicro(a.Until).Format("15:04")
		}
	}
	return text
}

// span writes µs as a person would say them, two units at most.
func span(us int64) string {
	d := max(0, time.Duration(us)*time.Microsecond)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

func ago(at, now int64) string {
	if at == 0 {
		return "none"
	}
	return span(now - at)
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// tailWriter prints the agent's lines for a person, or as they come for a program.
func tailWriter(w io.Writer, asJSON bool) io.Writer {
	if asJSON {
		return w
	}
	return &lines{to: w}
}

// instant is a time of day with its zone, and with its date unless that is today's.
func instant(at, now time.Time) string {
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04:05.000 MST")
	}
	return at.Format("2006-01-02 15:04:05.000 MST")
}

// lines turns whole JSON lines into words.
type lines struct {
	to   io.Writer
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := strings.Cut(string(l.rest), "\n")
		if !ok {
			return len(b), nil
		}
		l.rest = []byte(rest)
		var x control.Line
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			return len(b), fmt.Errorf("cannot read what the agent said: %w", err)
		}
		if _, err := fmt.Fprintln(l.to, instant(time.UnixMicro(x.At), time.Now()), strings.ReplaceAll(x.What, "_", " "), printable(x.Where), printable(x.Text)); err != nil {
			return len(b), err
		}
	}
}

// printable keeps what others wrote from steering a terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, s)
}
