// Command wardline-agent is the gateway's daemon and the field technician's tool.
//
// Results go to stdout, all else to stderr. It exits with 0 when done, 1 when
// that failed and 2 when it was asked wrongly.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"wardline/agent"
	"wardline/agent/internal/control"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

// asked marks an error of the person who typed.
type asked struct{ error }

func (e asked) Unwrap() error { return e.error }

// hinted adds what to do next.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// failure is what --json prints when a command fails: one line, also where a
// command that cannot be parsed asks for it (a documented contract).
type failure struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

// flagName is a flag as package flag writes it in its errors.
var flagName = regexp.MustCompile(` -([a-z][a-z-]+)`)

func run(ctx context.Context, args []string) int {
	err := app().RunContext(ctx, args)
	if err == nil {
		return 0
	}
	said := failure{Error: err.Error()}
	fmt.Fprintf(os.Stderr, "wardline-agent: %v\n", err)
	if h, ok := errors.AsType[hinted](err); ok {
		said.Hint = h.hint
		fmt.Fprintf(os.Stderr, "hint: %s\n", h.hint)
	}
	if slices.ContainsFunc(args, func(a string) bool { return a == "--json" || a == "-json" }) {
		json.NewEncoder(os.Stdout).Encode(said) // the exit code says it to whoever cannot read it
	}
	if _, ok := errors.AsType[asked](err); ok {
		return 2
	}
	return 1
}

func app() *cli.App {
	usage := func(c *cli.Context, err error, _ bool) error {
		of := "wardline-agent "
		if c.Command.Name != c.App.Name {
			of += c.Command.Name + " "
		}
		return hinted{asked{errors.New(flagName.ReplaceAllString(err.Error(), " --$1"))}, "try: " + of + "--help"}
	}
	a := &cli.App{
		Name:            "wardline-agent",
		Usage:           "watches a ward's patients on its gateway, with or without a cloud",
		Version:         agent.Version,
		HideVersion:     true,
		HideHelpCommand: true,
		OnUsageError:    usage,
		ExitErrHandler:  func(*cli.Context, error) {},
		CommandNotFound: nil,
		Flags: []cli.Flag{cli.HelpFlag, // which the library leaves out beside a help command of ours
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return printVersion(os.Stdout)
			}
			if name := c.Args().First(); name != "" {
				return noCommand(name)
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			runCommand(), checkConfigCommand(), enrolCommand(), statusCommand(), tailCommand(), outboxCommand(), virtualCommand(), versionCommand(), helpCommand(),
		},
	}
	for _, c := range a.Commands {
		c.OnUsageError = usage
	}
	return a
}

func noCommand(name string) error {
	return hinted{asked{fmt.Errorf("there is no command %q", name)}, "try: wardline-agent --help"}
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "say what the commands are, or what one does", ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			name := c.Args().First()
			switch {
			case name == "":
				return cli.ShowAppHelp(c)
			case c.App.Command(name) == nil:
				return noCommand(name)
			}
			return cli.ShowCommandHelp(c.Lineage()[1], name)
		},
	}
}

// configFlag names the configuration file.
var configFlag = &cli.StringFlag{
	Name: "config", Aliases: []string{"c"}, EnvVars: []string{"WARDLINE_CONFIG"},
	Value: "/etc/wardline/agent.yaml", Usage: "the gateway's configuration `FILE`",
}

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON for programs", DisableDefaultText: true}

// load reads and checks the configuration.
func load(c *cli.Context) (agent.Config, error) { return read(c, agent.Load) }

func read(c *cli.Context, how func(path string) (agent.Config, error)) (agent.Config, error) {
	if c.Args().Present() {
		return agent.Config{}, asked{fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First())}
	}
	path := c.String("config")
	cfg, err := how(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, hinted{fmt.Errorf("cannot use the configuration: %w", err), "name the file with --config; deploy/edge has an example"}
	}
	if errors.Is(err, fs.ErrPermission) {
		return cfg, hinted{fmt.Errorf("cannot use the configuration: %w", err), asOwner}
	}
	if err != nil {
		return cfg, hinted{fmt.Errorf("cannot use the configuration: %w", err), "after mending it: wardline-agent check-config --config " + path}
	}
	return cfg, nil
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "watch the ward until told to stop (what the service runs)",
		Flags: []cli.Flag{configFlag},
		Action: func(c *cli.Context) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			cfg.Log = logger(os.Stderr, cfg.LogLevel)
			if err := agent.Run(c.Context, cfg); err != nil {
				return fmt.Errorf("cannot go on: %w", err)
			}
			return nil
		},
	}
}

func checkConfigCommand() *cli.Command {
	return &cli.Command{
		Name: "check-config", Usage: "say whether a configuration can be used, and what is wrong with it",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			if err := cfg.TestPacks(); err != nil {
				return fmt.Errorf("cannot trust the rule packs: %w", err)
			}
			if err := cfg.CheckKey(); err != nil {
				return fmt.Errorf("cannot use the configuration: %w", err)
			}
			if err := cfg.TryData(); errors.Is(err, fs.ErrPermission) { // it is the agent's, whose account need not be this one
				fmt.Fprintf(os.Stderr, "note: %v: is it the agent's own?\n", err)
			} else if err != nil {
				return fmt.Errorf("cannot use the configuration: %w", err)
			}
			return printConfig(os.Stdout, cfg, c.Bool("json"))
		},
	}
}

func enrolCommand() *cli.Command {
	return &cli.Command{
		Name: "enrol", Usage: "make this gateway known to a cloud", ArgsUsage: "TOKEN",
		Description: "TOKEN is the line that an operator made with: wardline-cloud gateway token\nGive - to have it read from standard input.",
		Flags: []cli.Flag{configFlag, jsonFlag,
			&cli.StringFlag{Name: "data", Usage: "the data `FOLDER`, when there is no configuration yet"},
			&cli.BoolFlag{Name: "replace", Usage: "give up the identity that this gateway has", DisableDefaultText: true}},
		Action: enrol,
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version",
		Flags: []cli.Flag{jsonFlag},
		Action: func(c *cli.Context) error {
			if c.Bool("json") {
				return printJSON(os.Stdout, map[string]string{"version": agent.Version})
			}
			return printVersion(os.Stdout)
		},
	}
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say how the agent on this gateway is",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			client, err := dial(c)
			if err != nil {
				return err
			}
			s, err := client.Status(c.Context)
			if err != nil {
				return notReached(err)
			}
			if c.Bool("json") {
				return printJSON(os.Stdout, s)
			}
			return printStatus(os.Stdout, s)
		},
	}
}

func tailCommand() *cli.Command {
	return &cli.Command{
		Name: "tail", Usage: "print what happens at the agent as it happens, until Ctrl-C",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			client, err := dial(c)
			if err != nil {
				return err
			}
			out := tailWriter(os.Stdout, c.Bool("json"))
			if err := client.Tail(c.Context, out); errors.Is(err, control.ErrStopped) {
				return err
			} else if err != nil {
				return notReached(err)
			}
			return nil
		},
	}
}

// dial finds the running agent, also by a configuration that it would not take
// any more.
func dial(c *cli.Context) (*control.Client, error) {
	cfg, err := read(c, agent.Read)
	if err != nil {
		return nil, err
	}
	return control.Dial(cfg.ControlSocket()), nil
}

// asOwner is what to do when the account that asks may not.
const asOwner = "this account may not: ask as the agent's own, sudo -u wardline wardline-agent …"

func notReached(err error) error {
	err2 := fmt.Errorf("cannot reach the agent: %w", err)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return hinted{err2, "is it running? try: systemctl status wardline-agent"}
	case errors.Is(err, fs.ErrPermission):
		return hinted{err2, asOwner}
	}
	return err2
}
