package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"wardline/cloud"
)

func gatewayCommand() *cli.Command {
	return &cli.Command{
		Name: "gateway", Usage: "enrol, list and revoke gateways",
		Subcommands: []*cli.Command{gatewayTokenCommand(), gatewayListCommand(), gatewayRevokeCommand()},
	}
}

func gatewayTokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "make a token that enrols one gateway, once", ArgsUsage: "GATEWAY",
		Flags: []cli.Flag{
			configFlag, jsonFlag,
			&cli.StringSliceFlag{Name: "ward", Usage: "a `WARD` that the gateway may speak of; repeat it for more"},
			&cli.DurationFlag{Name: "life", Value: 24 * time.Hour, Usage: "how long the token can be used"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "gateway's id")
			if err == nil {
				err = needs(c, "ward")
			}
			if err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				line, expires, err := a.Token(c.Context, args[0], c.StringSlice("ward"), c.Duration("life"))
				if err != nil {
					return fmt.Errorf("cannot make a token: %w", err)
				}
				if c.Bool("json") {
					return printJSON(map[string]any{"gateway": args[0], "token": line, "expires_at": expires.UnixMicro()})
				}
				fmt.Println(line)
				fmt.Fprintf(os.Stderr, "On the gateway, before %s: wardline-agent enrol, and paste the line.\n", expires.Format(time.RFC3339))
				return nil
			})
		},
	}
}

func gatewayListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list gateways and their links",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				list, err := a.Gateways(c.Context)
				if err != nil {
					return fmt.Errorf("cannot list gateways: %w", err)
				}
				if c.Bool("json") {
					return printJSON(map[string]any{"gateways": list})
				}
				return printGateways(list)
			})
		},
	}
}

func printGateways(list []cloud.Gateway) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "GATEWAY\tWARDS\tLINK\tSINCE\tSOFTWARE\tWHY")
	for _, g := range list {
		link, since := g.Link, g.Since
		if g.Revoked > 0 {
			link, since = "revoked", g.Revoked
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, strings.Join(g.Wards, " "), link, instant(since), g.Software, g.Why)
	}
	return w.Flush()
}

func instant(us int64) string {
	if us == 0 {
		return "-"
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02 15:04:05Z")
}

func gatewayRevokeCommand() *cli.Command {
	return &cli.Command{
		Name: "revoke", Usage: "send a gateway away for good; its session ends within a second", ArgsUsage: "GATEWAY",
		Flags: []cli.Flag{configFlag, &cli.StringFlag{Name: "why", Usage: "the `REASON`, for the audit log"}},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "gateway's id")
			if err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				err := a.Revoke(c.Context, args[0], c.String("why"))
				if errors.Is(err, cloud.ErrNotFound) {
					return hinted{fmt.Errorf("cannot revoke %s: there is no such gateway", args[0]), "try: wardline-cloud gateway list"}
				}
				if err != nil {
					return fmt.Errorf("cannot revoke %s: %w", args[0], err)
				}
				fmt.Println("revoked", args[0])
				return nil
			})
		},
	}
}
