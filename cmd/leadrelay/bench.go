package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/internal/bench"
)

func benchCommand() *cobra.Command {
	var opts bench.Options
	var at bench.Running
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: leads accepted and in step, beside yardsticks",
		Long: `Measure leadrelay on this machine beside yardsticks: how fast leads are accepted and get in step, how soon a lone
lead arrives, what it costs in memory. It starts everything it measures itself (redis-server, ingest, worker, a sink
for the webhook), touches nothing that is configured, and leaves nothing behind. Candidates take turns on a fresh
Redis each: read the ratios, for the absolute figures are this machine's, at this moment.

The yardsticks: bare (a router that decodes and answers), hset (and one HSET), plain (an HSET, then an asynq
enqueue), asynq (a server of its own that posts), post (the same HTTP posts with no queue at all).

With --url it measures a running instance instead, with no yardsticks. That instance's connectors get the benchmark's
leads, of source leadrelay-bench, which are deleted again at the end: not for a CRM that people work in.`,
		Example: `  leadrelay bench
  leadrelay bench --only accept --fsync always
  leadrelay bench --leads 100000 --json >figures.json
  LEADRELAY_API_KEY=… leadrelay bench --url http://127.0.0.1:8080 --for 10s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, section := range opts.Only {
				if !slices.Contains(bench.Sections, section) {
					return fmt.Errorf("--only %s: there are %s", section, strings.Join(bench.Sections, ", "))
				}
			}
			if opts.Fsync != "always" && opts.Fsync != "everysec" && opts.Fsync != "no" {
				return fmt.Errorf("--fsync %s: must be always, everysec or no", opts.Fsync)
			}
			opts.Progress = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), what) }
			report, err := measure(cmd, at, opts)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(report)
			}
			return showReport(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&opts.Connections, "connections", []int{64, 256}, "how many connections post at once")
	flags.DurationVar(&opts.For, "for", 3*time.Second, "how long one measurement of accepting takes")
	flags.IntVar(&opts.Rounds, "rounds", 3, "how often each candidate has its turn; the median counts")
	flags.IntVar(&opts.Leads, "leads", 20_000, "how many leads the measurements of draining and of memory have")
	flags.IntVar(&opts.Samples, "samples", 200, "how many lone leads are posted at idle")
	flags.StringVar(&opts.Fsync, "fsync", "everysec", "appendfsync of the redis-server it starts: always, everysec or no")
	flags.StringSliceVar(&opts.Only, "only", nil, "sections to run: "+strings.Join(bench.Sections, ", "))
	flags.StringVar(&at.URL, "url", "", "a running instance to measure; its API key is taken from LEADRELAY_API_KEY")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(yardstickCommand())
	return cmd
}

func measure(cmd *cobra.Command, at bench.Running, opts bench.Options) (*bench.Report, error) {
	if at.URL != "" {
		if at.Key = os.Getenv("LEADRELAY_API_KEY"); at.Key == "" {
			return nil, errors.New("set LEADRELAY_API_KEY to an API key of the instance, of scope full")
		}
		return bench.RunOn(cmd.Context(), at, opts)
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	opts.Program = program
	return bench.Run(cmd.Context(), opts)
}

// yardstickCommand is how bench runs a yardstick in a process of its own.
func yardstickCommand() *cobra.Command {
	var redis, sink string
	cmd := &cobra.Command{
		Use: "yardstick KIND", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.ServeYardstick(cmd.Context(), args[0], redis, sink, func(address string) {
				fmt.Fprintln(cmd.OutOrStdout(), "ready", address)
			})
		},
	}
	cmd.Flags().StringVar(&redis, "redis", "", "the Redis to use")
	cmd.Flags().StringVar(&sink, "sink", "", "where to post")
	return cmd
}

func showReport(out io.Writer, r *bench.Report) error {
	fmt.Fprintf(out, "%d CPUs, %s, %s, appendfsync %s, measured in %s\n", r.Machine.CPUs, r.Machine.System, r.Machine.Go, r.Machine.AppendFsync, r.Duration)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if r.Accept != nil {
		fmt.Fprintln(table, "\nACCEPT\tCONNECTIONS\tLEADS/S\tP50\tP99")
		for _, a := range r.Accept {
			fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\n", a.Candidate, a.Connections, a.PerSecond, short(a.P50), short(a.P99))
		}
	}
	if r.Ways != nil {
		fmt.Fprintln(table, "\nWAYS\tCONNECTIONS\tLEADS/S\tINGEST CPU/LEAD")
		for _, w := range r.Ways {
			cpu := "-"
			if w.CPU != nil {
				cpu = w.CPU.Round(100 * time.Nanosecond).String()
			}
			fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\n", w.Way, w.Connections, w.PerSecond, cpu)
		}
	}
	if r.Drain != nil {
		fmt.Fprintln(table, "\nDRAIN\tLEADS\tLEADS/S")
		for _, d := range r.Drain {
			fmt.Fprintf(table, "%s\t%d\t%.0f\n", d.Candidate, d.Leads, d.PerSecond)
		}
	}
	if r.Both != nil {
		fmt.Fprintf(table, "\nBOTH AT ONCE\taccepted %.0f/s\tin step %.0f/s\n", r.Both.AcceptedPerSecond, r.Both.InStepPerSecond)
	}
	if r.Idle != nil {
		fmt.Fprintln(table, "\nIDLE\tP50\tP99")
		for _, row := range []struct {
			name string
			bench.Latency
		}{{"POST to its answer", r.Idle.Post}, {"POST to arrival", r.Idle.Arrival}, {"POST to arrival, after a restart", r.Idle.Restarted}} {
			fmt.Fprintf(table, "%s\t%s\t%s\n", row.name, short(row.P50), short(row.P99))
		}
		if r.Idle.CPU != nil {
			fmt.Fprintf(table, "processor\t%.1f %% of a core\n", *r.Idle.CPU)
		}
		fmt.Fprintf(table, "start to ready\t%s\n", short(r.Idle.Ready))
	}
	if r.Kill != nil {
		fmt.Fprintf(table, "\nKILLED WORKER\t%d leads in step after %s\n", r.Kill.Leads, short(r.Kill.InStep))
	}
	if r.Memory != nil {
		fmt.Fprintf(table, "\nMEMORY\nRedis, a lead\t%.0f bytes\nRedis, a further connector\t%.0f bytes\n", r.Memory.BytesPerLead, r.Memory.BytesPerConnector)
		if r.Memory.IngestPeak > 0 {
			fmt.Fprintf(table, "ingest, at most\t%d MB\nworker, at most\t%d MB\n", r.Memory.IngestPeak>>20, r.Memory.WorkerPeak>>20)
		}
	}
	fmt.Fprintln(table, "\nRATIO")
	for _, ratio := range r.Ratios {
		fmt.Fprintf(table, "%s\t%.2f\n", ratio.Name, ratio.Value)
	}
	return table.Flush()
}

func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
