package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"wardline/agent"
	"wardline/shared/pki"
)

func enrol(c *cli.Context) error {
	if late := slices.IndexFunc(c.Args().Slice(), isFlag); late > 0 {
		return hinted{asked{fmt.Errorf("flags come before the token: %s stands after it", c.Args().Get(late))}, "try: wardline-agent enrol " + c.Args().Get(late) + " TOKEN"}
	}
	if c.NArg() != 1 {
		return hinted{asked{errors.New("enrol takes one argument, the token")}, "an operator makes one with: wardline-cloud gateway token --ward WARD GATEWAY"}
	}
	token, err := readToken(c.Args().First(), os.Stdin)
	if err != nil {
		return err
	}
	if _, err := pki.ParseToken(token); err != nil {
		return hinted{asked{fmt.Errorf("cannot enrol: %w", err)}, "copy the whole line, from wl1. to its end, and paste it again"}
	}
	data := c.String("data")
	if data == "" {
		cfg, err := agent.Read(c.String("config"))
		if err != nil {
			return hinted{fmt.Errorf("cannot tell the data folder: %w", err), "name the configuration with --config or the folder with --data, before the token"}
		}
		data = cfg.Data
	}
	e, err := agent.Enrol(c.Context, data, token, c.Bool("replace"))
	if err != nil {
		return enrolTrouble(err)
	}
	if c.Bool("json") {
		return printJSON(os.Stdout, e)
	}
	_, err = fmt.Printf("gateway  %s\nsite     %s\nlink     %s\n\nenrolled; a running agent connects within seconds\n", e.Gateway, e.Site, e.Link)
	return err
}

// isFlag says whether an argument looks like a flag; - alone is standard input.
func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

func readToken(arg string, in io.Reader) (string, error) {
	if arg != "-" {
		return strings.TrimSpace(arg), nil
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", fmt.Errorf("cannot read the token from standard input: %w", err)
	}
	return strings.TrimSpace(line), nil
}

func enrolTrouble(err error) error {
	out := fmt.Errorf("cannot enrol: %w", err)
	if refusal, ok := errors.AsType[*agent.EnrolError](err); ok {
		switch refusal.Reason {
		case "expired", "used", "revoked", "unknown", "unknown_token":
			return hinted{out, "ask an operator for a new token: wardline-cloud gateway token --ward WARD GATEWAY"}
		}
		return out
	}
	switch {
	case errors.Is(err, pki.ErrWrongCA):
		return hinted{out, "is this the right cloud, and nothing between you and it that opens TLS?"}
	case errors.Is(err, fs.ErrPermission):
		return hinted{out, asOwner}
	case errors.Is(err, agent.ErrEnrolled):
		return hinted{out, "to give up its identity and take another: wardline-agent enrol --replace TOKEN"}
	}
	return out
}
