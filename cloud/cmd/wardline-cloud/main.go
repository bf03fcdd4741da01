// Command wardline-cloud serves the cloud and is what its operator administers
// it with, whether it runs or not.
//
// Results go to stdout, all else to stderr. It exits with 0 when done, 1 when
// that failed and 2 when it was asked wrongly. A password is read from a terminal,
// a file or a pipe, never from the arguments.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"wardline/cloud"
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

func run(ctx context.Context, args []string) int {
	err := app().RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "wardline-cloud: %v\n", err)
	if h, ok := errors.AsType[hinted](err); ok {
		fmt.Fprintf(os.Stderr, "hint: %s\n", h.hint)
	}
	if _, ok := errors.AsType[asked](err); ok {
		return 2
	}
	return 1
}

func app() *cli.App {
	a := &cli.App{
		Name: "wardline-cloud", Usage: "brings the alerts of a site's wards to its clinicians",
		HideVersion: true, HideHelpCommand: true,
		ExitErrHandler: func(*cli.Context, error) {},
		Action:         groupAction,
		OnUsageError:   usageError,
		Commands: []*cli.Command{
			serveCommand(), statusCommand(), checkConfigCommand(), gatewayCommand(), userCommand(), auditCommand(),
			migrateCommand(), backupCommand(), restoreCommand(), newCACommand(), versionCommand(),
		},
	}
	polish(a.Commands)
	return a
}

func polish(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError, c.HideHelpCommand = usageError, true
		if len(c.Subcommands) > 0 {
			c.Action = groupAction
			polish(c.Subcommands)
		}
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	return hinted{asked{err}, "try: " + strings.TrimSpace(c.Command.HelpName) + " --help"}
}

// groupAction answers for a command that only has others under it.
func groupAction(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		if c.Command.Name == "" || c.Command.Name == c.App.Name {
			return cli.ShowAppHelp(c)
		}
		return cli.ShowSubcommandHelp(c)
	}
	return hinted{asked{fmt.Errorf("there is no command %q", name)}, "try: " + strings.TrimSpace(c.Command.HelpName) + " --help"}
}

var configFlag = &cli.StringFlag{
	Name: "config", Aliases: []string{"c"}, EnvVars: []string{"WARDLINE_CONFIG"},
	Value: "/etc/wardline/cloud.yaml", Usage: "the cloud's configuration `FILE`",
}

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON for programs"}

// arguments takes exactly the named arguments.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	given := c.Args().Slice()
	for i, a := range given {
		if strings.HasPrefix(a, "-") {
			return nil, hinted{asked{fmt.Errorf("the option %s comes too late", a)}, fmt.Sprintf("put options before %q", given[max(i-1, 0)])}
		}
	}
	if len(given) < len(names) {
		return nil, hinted{asked{fmt.Errorf("say the %s", names[len(given)])}, "try: " + c.Command.HelpName + " --help"}
	}
	if len(given) > len(names) {
		return nil, asked{fmt.Errorf("%s takes no argument %q", c.Command.Name, given[len(names)])}
	}
	return given, nil
}

// needs says when an option that a command cannot do without is not there.
func needs(c *cli.Context, option string) error {
	if c.IsSet(option) {
		return nil
	}
	return hinted{asked{fmt.Errorf("say --%s", option)}, "try: " + c.Command.HelpName + " --help"}
}

func load(c *cli.Context) (cloud.Config, error) {
	path := c.String("config")
	cfg, err := cloud.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, hinted{fmt.Errorf("cannot find the configuration: %w", err), "name the file with --config; deploy/cloud has an example"}
	}
	if err != nil {
		return cfg, hinted{fmt.Errorf("cannot use the configuration: %w", err), "after mending it: wardline-cloud check-config --config " + path}
	}
	return cfg, nil
}

// withAdmin opens the data folder for f.
func withAdmin(c *cli.Context, f func(*cloud.Admin) error) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	a, err := cloud.OpenAdmin(cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("cannot open the cloud's data: %w", err), "start the cloud once: wardline-cloud serve"}
	}
	if errors.Is(err, fs.ErrPermission) {
		return hinted{fmt.Errorf("cannot open the cloud's data: %w", err), "run this as the account that the cloud runs as"}
	}
	if err != nil {
		return fmt.Errorf("cannot open the cloud's data: %w", err)
	}
	return errors.Join(f(a), a.Close())
}

func printJSON(x any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(x)
}
