package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"wardline/cloud"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say how the cloud on this machine is, and what gave way at a bound",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				s, age, err := a.Status(c.Context)
				if errors.Is(err, cloud.ErrNotFound) {
					return hinted{errors.New("cannot say how the cloud is: none has run on this data folder"), "start it: wardline-cloud serve"}
				}
				if err != nil {
					return fmt.Errorf("cannot say how the cloud is: %w", err)
				}
				if err := printStatus(s, age, c.Bool("json")); err != nil || age <= cloud.StatusFresh {
					return err
				}
				return hinted{
					fmt.Errorf("cannot say how the cloud is now: its last word is of %s ago", span(age)),
					"is it running? try: wardline-cloud check-config --running",
				}
			})
		},
	}
}

func printStatus(s cloud.Status, age time.Duration, asJSON bool) error {
	if asJSON {
		return printJSON(struct {
			Age int64 `json:"age"` // µs
			cloud.Status
		}{age.Microseconds(), s})
	}
	up := time.Duration(s.At-s.Since) * time.Microsecond
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "cloud\tup %s, %s\tsaid %s ago\n", span(up), s.Version, span(age))
	fmt.Fprintf(w, "gateways\t%d of %d connected\t%d sessions\n", s.Gateways.Connected, s.Gateways.Known, s.Link.Sessions)
	fmt.Fprintf(w, "refused\t%d with gaps\t%d as duplicates\n", s.Link.Gaps, s.Link.Duplicates)
	fmt.Fprintf(w, "records\t%d, %d late\t%d odd\n", s.Link.Records, s.Link.Late, s.Link.Odd)
	fmt.Fprintf(w, "batches\t%d\t%d repeated\n", s.Link.Batches, s.Link.Repeats)
	fmt.Fprintf(w, "screens\t%d connected\t%d live values dropped\n", s.Screens, s.Dropped)
	fmt.Fprintf(w, "kept\t%d feed rows\t%d odd records\n", s.FeedRows, s.Odd)
	fmt.Fprintf(w, "database\t%s\tlog %s\n", size(s.Database), size(s.Log))
	return w.Flush()
}

// span is a time in its two largest units, as a person says it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func size(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
