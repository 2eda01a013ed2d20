package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
)

// liveTimeout bounds one connector's live check.
const liveTimeout = 30 * time.Second

func checkCommand() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with the configuration, if anything",
		Long: `Load the configuration as every other command does, and say everything that is wrong with it at once. Nothing is
started or written. With --live each connector also signs in to its system and looks whether what the settings
name is there.`,
		Example: `  leadrelay check
  leadrelay check --live new-config.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			failed := 0
			for _, connector := range c.Connectors {
				verdict := "settings are valid"
				if live {
					var ok bool
					if verdict, ok = checkLive(cmd.Context(), connector); !ok {
						failed++
					}
				}
				fmt.Fprintf(out, "%s (%s): %s\n", connector.Name, connector.Type, verdict)
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
			if failed > 0 {
				return fmt.Errorf("%d of %d connectors are not ready", failed, len(c.Connectors))
			}
			fmt.Fprintln(out, "the configuration is valid")
			return nil
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "also sign in to each connector's system, without writing")
	return cmd
}

func checkLive(ctx context.Context, c config.Connector) (verdict string, ok bool) {
	checker, can := c.Connector.(connectors.Checker)
	if !can {
		return "settings are valid; its system cannot be asked without writing", true
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	if err := checker.Check(ctx); err != nil {
		fault, _ := connectors.FaultOf(err)
		return fmt.Sprintf("NOT READY (%s): %s", fault, connectors.Redact(err.Error())), false
	}
	return "signed in, what the settings name is there", true
}
