package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"wardline/agent"
)

func outboxCommand() *cli.Command {
	erase := &cli.Command{
		Name: "erase", Usage: "destroy for ever what this gateway keeps of patients (the agent must be stopped)",
		Description: "The key is destroyed first, so that what the card still holds of deleted files cannot be read.\nThe enrolment stays. Asks for the gateway's name before it does anything.",
		Flags: []cli.Flag{configFlag, jsonFlag,
			&cli.StringFlag{Name: "confirm", Usage: "the gateway's `NAME`, instead of typing it"}},
		Action: erase,
	}
	return &cli.Command{
		Name: "outbox", Usage: "what this gateway keeps on its disk",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return hinted{asked{fmt.Errorf("there is no command %q", "outbox "+name)}, "try: wardline-agent outbox --help"}
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{erase},
	}
}

func erase(c *cli.Context) error {
	cfg, err := read(c, agent.Read)
	if err != nil {
		return err
	}
	k, err := agent.BeginErase(cfg)
	switch {
	case errors.Is(err, agent.ErrRunning):
		return hinted{fmt.Errorf("cannot erase: %w", err), "stop it first: systemctl stop wardline-agent"}
	case errors.Is(err, fs.ErrPermission):
		return hinted{fmt.Errorf("cannot erase: %w", err), asOwner}
	case err != nil:
		return fmt.Errorf("cannot erase: %w", err)
	}
	defer k.Close()
	name := c.String("confirm")
	if name == "" {
		warn(os.Stderr, k, time.Now().UnixMicro())
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("cannot read the answer: %w", err)
		}
		name = strings.TrimSpace(line)
	}
	if name != k.Gateway {
		return hinted{asked{fmt.Errorf("nothing was erased: %q is not this gateway's name, %s", name, k.Gateway)}, "type the name, or say --confirm " + k.Gateway}
	}
	if err := k.Erase(); err != nil {
		return fmt.Errorf("cannot erase: %w", err)
	}
	if c.Bool("json") {
		return printJSON(os.Stdout, k)
	}
	text := "erased: the key is destroyed and the outbox removed; the enrolment stays\n"
	if k.KeyLeft {
		text = "erased: the outbox is removed; the key is " + k.Key + ", which must be destroyed where it comes from\n"
	}
	_, err = fmt.Print(text)
	return err
}

// warn says what would be destroyed.
func warn(w io.Writer, k *agent.Kept, now int64) {
	fmt.Fprintf(w, "This destroys what gateway %s keeps, for ever:\n", k.Gateway)
	if k.Unread != "" {
		fmt.Fprintf(w, "  what that is cannot be told: %s\n", k.Unread)
	} else {
		fmt.Fprintf(w, "  %s that the cloud does not have, %d of them of alerts\n", count(int(k.Pending), "record"), k.Alerts)
		fmt.Fprintf(w, "  %s\n  what sensors sent: %s\n", count(k.Open, "open alert"), ago(k.Frames, now))
	}
	fmt.Fprintf(w, "It is sealed with %s.\nType the gateway's name to go on: ", k.Key)
}
