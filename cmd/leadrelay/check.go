package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/internal/config"
)

func checkCommand() *cobra.Command {
	var live, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with the configuration, if anything",
		Long: `Load the configuration as every other command does, and say everything that is wrong with it at once. Nothing is
started or written. With --live each connector also signs in to its system and asks, without writing, whether the list
or table is there, the fields are and take what is mapped to them, and the account may create, change and delete; all
that is missing is named, with how to mend it.`,
		Example: `  leadrelay check
  leadrelay check --live new-config.yaml
  leadrelay check --live --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && !live {
				return errors.New("--json goes with --live")
			}
			if len(args) == 1 {
				if cmd.Flags().Changed("config") {
					return errors.New("name one file: check FILE, or --config FILE")
				}
				if err := cmd.Flags().Set("config", args[0]); err != nil {
					return err
				}
			}
			c, _, err := load(cmd, config.AllowMissingKeys())
			if err != nil {
				return err
			}
			defer c.Close()
			out := cmd.OutOrStdout()
			var checks []liveCheck
			if live {
				checks = checkLive(cmd.Context(), c.Connectors)
			}
			switch {
			case asJSON:
				return errors.Join(showLiveJSON(out, checks), notReady(checks))
			case live:
				showLive(out, checks)
			default:
				for _, connector := range c.Connectors {
					fmt.Fprintf(out, "%s (%s): settings are valid\n", connector.Name, connector.Type)
				}
			}
			for _, d := range c.Alerts.To {
				fmt.Fprintf(out, "alerts to %s (%s): settings are valid; `leadrelay alerts test %s` tries them\n", d.Name, d.Type, d.Name)
			}
			for _, missing := range c.MissingKeys {
				remedy := "set it for `leadrelay ingest`; `leadrelay up` leaves the key out"
				if missing == madeByUp(c) {
					remedy = "set it for `leadrelay ingest`; `leadrelay up` makes a key"
				}
				fmt.Fprintf(out, "api key %q has no value, since %s is not set: %s\n", missing.Name, missing.Variable, remedy)
			}
			if err := notReady(checks); err != nil {
				return err
			}
			fmt.Fprintln(out, "the configuration is valid")
			return nil
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "also sign in to each connector's system, without writing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --live: print JSON")
	return cmd
}
