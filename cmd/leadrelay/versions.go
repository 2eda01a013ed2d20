package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show what the configuration was before it was changed by the program, and go back to that",
		Long: `Show what the configuration was before it was changed in the console or by "restore", and go back to that. What was
edited by hand is not kept.`,
		Example: `  leadrelay config history
  leadrelay config diff
  leadrelay config restore 20260101T120000.000000000Z-0123456789ab`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q; there are history, show, diff and restore", args[0], cmd.CommandPath())
			}
			return errors.New("say what: history, show, diff or restore")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.PersistentFlags().String("data-dir", "", "what data_dir is, for a configuration that cannot be read")
	cmd.AddCommand(historyCommand(), showVersionCommand(), diffCommand(), restoreCommand())
	return cmd
}

// configFile is the configuration that the command's flags name, with its versions.
func configFile(cmd *cobra.Command) (*config.File, string, error) {
	path, _ := cmd.Flags().GetString("config")
	dataDir, _ := cmd.Flags().GetString("data-dir")
	if dataDir == "" {
		c, err := config.Load(path, all.Kinds(), namesAlone()...)
		if err != nil {
			return nil, "", fmt.Errorf("%w\nwhere it cannot be read, name its data_dir by --data-dir", err)
		}
		c.Close()
		dataDir = c.DataDir
	}
	return config.OpenFile(path, config.VersionsIn(dataDir)), path, nil
}

type shownVersion struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Who      string    `json:"who"`
	Revision string    `json:"revision"`
}

func historyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the versions, the newest first: until when each was in the file, and who replaced it",
		Example: `  leadrelay config history
  leadrelay config history --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, _, err := configFile(cmd)
			if err != nil {
				return err
			}
			versions, err := file.Versions()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				shown := []shownVersion{}
				for _, v := range versions {
					shown = append(shown, shownVersion(v))
				}
				return json.NewEncoder(out).Encode(shown)
			}
			if len(versions) == 0 {
				fmt.Fprintln(out, "the program has not changed it")
				return nil
			}
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "VERSION\tREPLACED\tBY")
			for _, v := range versions {
				fmt.Fprintf(table, "%s\t%s\t%s\n", v.ID, v.At.Local().Format(time.DateTime), printable(v.Who))
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showVersionCommand() *cobra.Command {
	var secrets bool
	cmd := &cobra.Command{
		Use:   "show VERSION",
		Short: "Print a version's text, its secrets hidden",
		Example: `  leadrelay config show 20260101T120000.000000000Z-0123456789ab
  leadrelay config show --secrets 20260101T120000.000000000Z-0123456789ab > config.yaml.old`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, _, err := configFile(cmd)
			if err != nil {
				return err
			}
			text, err := versionOf(file, args[0])
			if err != nil {
				return err
			}
			shown := string(text)
			if !secrets {
				if shown, err = config.Mask(text, all.Kinds()); err != nil {
					return fmt.Errorf("%w; --secrets prints it as it is", err)
				}
			}
			_, err = io.WriteString(cmd.OutOrStdout(), shown)
			return err
		},
	}
	cmd.Flags().BoolVar(&secrets, "secrets", false, "print it as it is")
	return cmd
}

func versionOf(file *config.File, id string) ([]byte, error) {
	text, err := file.Version(id)
	if errors.Is(err, config.ErrNoVersion) {
		return nil, fmt.Errorf("%s: %w; `leadrelay config history` lists them", id, err)
	}
	return text, err
}

func diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff [VERSION]",
		Short: "Show what has changed in the file since a version, or since the newest, secrets hidden",
		Example: `  leadrelay config diff
  leadrelay config diff 20260101T120000.000000000Z-0123456789ab`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, _, err := configFile(cmd)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				versions, err := file.Versions()
				if err != nil {
					return err
				}
				if len(versions) == 0 {
					return errors.New("there is no version to compare with: the program has not changed the file")
				}
				args = []string{versions[0].ID}
			}
			before, err := versionOf(file, args[0])
			if err != nil {
				return err
			}
			after, _, err := file.Read()
			if err != nil {
				return err
			}
			diff, err := config.MaskedDiff(before, after, all.Kinds())
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), diff)
			return err
		},
	}
}

func restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore VERSION",
		Short: "Put a version in the place of what the file holds, which becomes a version itself",
		Long: `Put a version in the place of what the file holds, which becomes a version itself. What runs takes it over as any other
change. A version that would be refused is not restored.`,
		Example: `  leadrelay config restore 20260101T120000.000000000Z-0123456789ab
  leadrelay config restore 20260101T120000.000000000Z-0123456789ab --data-dir data    # the file is broken`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, path, err := configFile(cmd)
			if err != nil {
				return err
			}
			text, err := versionOf(file, args[0])
			if err != nil {
				return err
			}
			c, err := config.LoadText(text, path, all.Kinds(), namesAlone()...) // the secrets may be elsewhere
			if err != nil {
				return fmt.Errorf("%s is not restored: %w", args[0], err)
			}
			c.Close()
			_, revision, err := file.Read()
			if err != nil {
				return err
			}
			who := "the command line"
			if u, err := user.Current(); err == nil {
				who = u.Username + " on the command line"
			}
			if err := file.Save(text, revision, who); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is as it was in %s\n", path, args[0])
			return nil
		},
	}
}
