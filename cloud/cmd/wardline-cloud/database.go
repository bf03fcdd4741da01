package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"wardline/cloud"
)

func migrateCommand() *cli.Command {
	return &cli.Command{
		Name: "migrate", Usage: "bring the database forward to this version's schema (serve does it too)",
		Flags: []cli.Flag{configFlag, jsonFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg, err := load(c)
			if err != nil {
				return err
			}
			from, to, err := cloud.Migrate(cfg)
			if err != nil {
				return noDatabase("migrate", err)
			}
			if c.Bool("json") {
				return printJSON(map[string]int{"from": from, "to": to})
			}
			fmt.Printf("schema %d, was %d\n", to, from)
			return nil
		},
	}
}

// noDatabase adds what to do to the error of a folder that is empty yet.
func noDatabase(doing string, err error) error {
	err = fmt.Errorf("cannot %s: %w", doing, err)
	if errors.Is(err, cloud.ErrNoDatabase) {
		return hinted{err, "start the cloud once: wardline-cloud serve"}
	}
	return err
}

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "copy the database to a file, also while the cloud runs", ArgsUsage: "FILE",
		Flags: []cli.Flag{configFlag},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "file to write")
			if err != nil {
				return err
			}
			cfg, err := load(c)
			if err != nil {
				return err
			}
			if err := cloud.Found(cfg); err != nil {
				return noDatabase("back up", err)
			}
			return withAdmin(c, func(a *cloud.Admin) error {
				if err := a.Backup(c.Context, cfg, args[0]); err != nil {
					return fmt.Errorf("cannot back up: %w", err)
				}
				fmt.Println("wrote", args[0])
				return nil
			})
		},
	}
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "put a backup where there is no database", ArgsUsage: "FILE",
		Flags: []cli.Flag{configFlag},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "backup to restore")
			if err != nil {
				return err
			}
			cfg, err := load(c)
			if err != nil {
				return err
			}
			if cloud.Exists(cfg) {
				return hinted{fmt.Errorf("cannot restore: there is a database in %s already", cfg.Data), "stop the cloud and move cloud.db, cloud.db-wal and cloud.db-shm away first"}
			}
			if err := cloud.Restore(c.Context, cfg, args[0]); err != nil {
				return fmt.Errorf("cannot restore: %w", err)
			}
			fmt.Println("restored", args[0])
			return nil
		},
	}
}

func newCACommand() *cli.Command {
	return &cli.Command{
		Name: "new-ca", Usage: "make a CA where it was lost for good; every gateway must be enrolled again",
		Flags: []cli.Flag{configFlag},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg, err := load(c)
			if err != nil {
				return err
			}
			if err := cloud.NewCA(c.Context, cfg); err != nil {
				return noDatabase("make a CA", err)
			}
			fmt.Println("made a CA")
			fmt.Fprintln(os.Stderr, "Keep ca.pem and ca-key.pem with the backups. Each gateway needs a new token: wardline-cloud gateway token.")
			return nil
		},
	}
}
