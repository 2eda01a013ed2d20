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
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end; with it handled, a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		// What lives is small and what dies is much: by default the collector would run a hundred times a second.
		debug.SetGCPercent(400)
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program but for signals and exit: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := commands()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	understood := false // the command line was
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("told to stop before it was done")
	}
	fmt.Fprintln(stderr, "leadrelay:", strings.TrimSpace(err.Error()))
	if !understood {
		fmt.Fprintf(stderr, "usage: %s\n`%s --help` has examples\n", cmd.UseLine(), cmd.CommandPath())
	}
	return 1
}

func commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "leadrelay",
		Short: "Takes leads over HTTP and keeps every configured CRM, list, sheet and webhook in step with them",
		Example: `  leadrelay up                      # everything in one process, on an embedded Redis
  leadrelay check                   # is config.yaml right?
  leadrelay status                  # what is behind, and why`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().StringP("config", "c", "config.yaml", "the configuration file")
	root.AddCommand(
		upCommand(), ingestCommand(), workerCommand(), checkCommand(),
		statusCommand(), leadsCommand(), replayCommand(), syncCommand(), planCommand(), failedCommand(), dropCommand(), pauseCommand(), resumeCommand(), readyCommand(), connectorsCommand(), passwordCommand(), benchCommand(), receiveCommand(), versionCommand(),
		importCommand(), exportCommand(), inboxCommand(), alertsCommand(), configCommand(),
	)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: `  leadrelay version`,
		Args:    cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "leadrelay", version())
		},
	}
}

// version is that of the module, and the commit it was built from, as far as the build knows them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	words := info.Main.Version
	if words == "" {
		words = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && !strings.Contains(words, s.Value[:12]) {
			words += " " + s.Value[:12]
		}
	}
	return words + " " + info.GoVersion
}
