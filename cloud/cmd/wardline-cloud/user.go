package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"

	"wardline/cloud"
)

func userCommand() *cli.Command {
	return &cli.Command{
		Name: "user", Usage: "make, list, disable and enable accounts, and give them passwords",
		Subcommands: []*cli.Command{userAddCommand(), userListCommand(), userPasswordCommand(), userDisableCommand(), userEnableCommand()},
	}
}

var passwordFlag = &cli.StringFlag{Name: "password-file", Usage: "read the password from the first line of `FILE`, - for a pipe"}

func userAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "make an account; the password is asked for", ArgsUsage: "NAME",
		Flags: []cli.Flag{
			configFlag,
			&cli.StringFlag{Name: "role", Usage: "viewer, clinician, lead, technician or administrator"},
			&cli.StringSliceFlag{Name: "ward", Usage: "a `WARD` that the account is for, * for all; repeat it for more"},
			&cli.StringFlag{Name: "display", Usage: "the `NAME` that others see"},
			passwordFlag,
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "account's name")
			if err == nil {
				err = needs(c, "role")
			}
			if err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				x := cloud.Account{Name: args[0], Display: c.String("display"), Role: c.String("role"), Wards: c.StringSlice("ward")}
				if err := a.MayAddAccount(c.Context, x); err != nil {
					return fmt.Errorf("cannot make the account: %w", err)
				}
				password, err := readPassword(c.String("password-file"))
				if err != nil {
					return fmt.Errorf("cannot read the password: %w", err)
				}
				if err := a.AddAccount(c.Context, x, password); err != nil {
					return fmt.Errorf("cannot make the account: %w", err)
				}
				fmt.Println("made", args[0])
				return nil
			})
		},
	}
}

// readPassword reads one line: of a file, of a pipe, or typed without an echo.
func readPassword(file string) (string, error) {
	from := os.Stdin
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		from = f
	}
	if from != os.Stdin || !isatty.IsTerminal(from.Fd()) {
		return firstLine(from)
	}
	fmt.Fprintf(os.Stderr, "Password (%s): ", cloud.PasswordRule)
	password, err := withoutEcho(from)
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", err
	}
	fmt.Fprint(os.Stderr, "Again: ")
	again, err := withoutEcho(from)
	fmt.Fprintln(os.Stderr)
	if err == nil && again != password {
		err = errors.New("it was not the same twice")
	}
	return password, err
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" && err != nil {
		return "", errors.New("there is none")
	}
	return line, nil
}

func userListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list accounts",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				list, err := a.Accounts(c.Context)
				if err != nil {
					return fmt.Errorf("cannot list accounts: %w", err)
				}
				if c.Bool("json") {
					return printJSON(map[string]any{"users": list})
				}
				w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tROLE\tWARDS\tSTATE")
				for _, x := range list {
					state := "may sign in"
					switch {
					case x.Disabled:
						state = "disabled"
					case x.Locked != 0:
						state = "locked until " + instant(x.Locked) + ": wrong passwords"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", x.Name, x.Role, strings.Join(x.Wards, " "), state)
				}
				return w.Flush()
			})
		},
	}
}

func userPasswordCommand() *cli.Command {
	return &cli.Command{
		Name: "password", Usage: "give an account a new password, which is asked for; lift its lock and end its sessions", ArgsUsage: "NAME",
		Flags: []cli.Flag{configFlag, passwordFlag},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "account's name")
			if err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				if err := a.HasAccount(c.Context, args[0]); err != nil {
					return hinted{fmt.Errorf("cannot set the password: %w", err), "try: wardline-cloud user list"}
				}
				password, err := readPassword(c.String("password-file"))
				if err != nil {
					return fmt.Errorf("cannot read the password: %w", err)
				}
				if err := a.SetPassword(c.Context, args[0], password); err != nil {
					return fmt.Errorf("cannot set the password: %w", err)
				}
				fmt.Println("new password of", args[0])
				return nil
			})
		},
	}
}

func userDisableCommand() *cli.Command {
	return userChangeCommand("disable", "keep an account from signing in, and end its sessions", "disabled",
		func(c *cli.Context, a *cloud.Admin, name string) error { return a.DisableAccount(c.Context, name) })
}

func userEnableCommand() *cli.Command {
	return userChangeCommand("enable", "let an account sign in again that is disabled or locked", "enabled",
		func(c *cli.Context, a *cloud.Admin, name string) error { return a.EnableAccount(c.Context, name) })
}

func userChangeCommand(word, usage, done string, change func(c *cli.Context, a *cloud.Admin, name string) error) *cli.Command {
	return &cli.Command{
		Name: word, Usage: usage, ArgsUsage: "NAME",
		Flags: []cli.Flag{configFlag},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "account's name")
			if err != nil {
				return err
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				if err := change(c, a, args[0]); err != nil {
					return hinted{fmt.Errorf("cannot %s %s: %w", word, args[0], err), "try: wardline-cloud user list"}
				}
				fmt.Println(done, args[0])
				return nil
			})
		},
	}
}
