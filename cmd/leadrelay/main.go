// Command leadrelay takes leads over HTTP, keeps them in Redis and brings every configured CRM, mailing list,
// spreadsheet and webhook in step with them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end; with it handled, a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program but for signals and exit: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := commands()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(stderr, "leadrelay:", err)
		}
		return 1
	}
	return 0
}

// errReported ends a command that has said already what is wrong.
var errReported = errors.New("reported")

func commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "leadrelay",
		Short: "Takes leads over HTTP and keeps every configured CRM, list, sheet and webhook in step with them",
		Example: `  leadrelay up                      # everything in one process, on an embedded Redis
  leadrelay check                   # is config.yaml right?
  leadrelay status                  # what is behind, and why`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringP("config", "c", "config.yaml", "the configuration file")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		upCommand(), ingestCommand(), workerCommand(), checkCommand(),
		statusCommand(), leadsCommand(), replayCommand(), pauseCommand(), resumeCommand(),
	)
	return root
}
