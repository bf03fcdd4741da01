package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"wardline/cloud"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "verify the audit log",
		Subcommands: []*cli.Command{auditVerifyCommand()},
	}
}

func auditVerifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "say whether the audit log is whole, also while the cloud runs",
		Flags: []cli.Flag{
			configFlag, jsonFlag,
			&cli.Int64Flag{Name: "after", Usage: "go on after the row `SEQ` that was found whole before; with --hash"},
			&cli.StringFlag{Name: "hash", Usage: "the `HASH` that this row had then"},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			from := cloud.AuditHead{Seq: c.Int64("after"), Hash: c.String("hash")}
			if from.Seq < 0 || (from.Seq > 0) != (from.Hash != "") {
				return hinted{asked{errors.New("--after and --hash go together")}, "both are what audit verify printed the last time"}
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				head, err := a.VerifyAudit(c.Context, from, func(h cloud.AuditHead) { fmt.Fprintf(os.Stderr, "%d rows\n", h.Rows) })
				if _, broken := errors.AsType[*cloud.AuditBroken](err); err != nil && !broken {
					return fmt.Errorf("cannot verify: %w", err)
				}
				if perr := printHead(head, err, c.Bool("json")); perr != nil {
					return perr
				}
				if err != nil {
					return hinted{err, "keep a copy of the database as it is, and compare it with the backups"}
				}
				return nil
			})
		},
	}
}

func printHead(head cloud.AuditHead, broken error, asJSON bool) error {
	if asJSON {
		return printJSON(struct {
			Whole bool `json:"whole"`
			cloud.AuditHead
		}{broken == nil, head})
	}
	state := "whole"
	if broken != nil {
		state = "broken after that"
	}
	_, err := fmt.Printf("rows  %d, %s\nlast  %d %s\n", head.Rows, state, head.Seq, head.Hash)
	return err
}
