package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/internal/config"
)

func ingestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ingest",
		Short: "Run the HTTP front end: accept leads and keep them in Redis",
		Long: `Run the HTTP front end: accept leads and keep them in Redis. Run as many as you like, on one redis.url,
beside one or more "leadrelay worker".`,
		Example: `  leadrelay ingest --config /etc/leadrelay/config.yaml
  LEADRELAY_REDIS_URL=redis://10.0.0.5:6379 LEADRELAY_LISTEN=:8080 leadrelay ingest`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The front end needs the connectors' names, not their secrets.
			options := []config.Option{config.SkipConnectors(), config.SkipAlerts()}
			c, log, err := load(cmd, options...)
			if err != nil {
				return err
			}
			if c.Redis.URL == "" {
				return errNoRedis
			}
			listener, err := listen("listen", c.Listen)
			if err != nil {
				return err
			}
			defer listener.Close()
			ctx := cmd.Context()
			s, err := openStore(ctx, c.Redis, c, log)
			if err != nil {
				return err
			}
			defer closeStore(s)
			traces, endTraces, err := startTracing(c, log)
			if err != nil {
				return err
			}
			defer endTraces()
			tellPersistence(ctx, s, log)
			tellStopping(ctx, c, log)
			log.Info("accepting leads", "address", listener.Addr().String(), "connectors", len(c.Connectors))
			running := newLive(c, s, log, traces, func() (*config.Config, error) { c, _, err := load(cmd, options...); return c, err })
			running.options = options
			front, err := running.frontEnd()
			if err != nil {
				return err
			}
			go running.keep(ctx)
			go running.reportRefusals(ctx)
			return serve(ctx, listener, front, c, log)
		},
	}
}

func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Run a worker: push leads from Redis to the connectors",
		Long: `Run a worker: push leads from Redis to the connectors. Run as many as you like, on one redis.url; they share
the work and the vendors' limits.`,
		Example: `  leadrelay worker --config /etc/leadrelay/config.yaml
  LEADRELAY_WORKER_LISTEN=127.0.0.1:8081 leadrelay worker   # with health and metrics`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := load(cmd, config.SkipFrontEnd())
			if err != nil {
				return err
			}
			if c.Redis.URL == "" {
				return errors.Join(errNoRedis, c.Close())
			}
			ctx := cmd.Context()
			s, err := openStore(ctx, c.Redis, c, log)
			if err != nil {
				return errors.Join(err, c.Close())
			}
			defer closeStore(s)
			traces, endTraces, err := startTracing(c, log)
			if err != nil {
				return errors.Join(err, c.Close())
			}
			defer endTraces()
			running := newLive(c, s, log, traces, func() (*config.Config, error) { c, _, err := load(cmd, config.SkipFrontEnd()); return c, err })
			defer running.close()
			tellPersistence(ctx, s, log)
			tellStopping(ctx, c, log)
			w, watcher := running.work(), running.watch()
			group, ctx := errgroup.WithContext(ctx)
			if c.Worker.Listen != "" {
				listener, err := listen("worker.listen", c.Worker.Listen)
				if err != nil {
					return err
				}
				pages := *c
				pages.TLS = config.TLS{}
				group.Go(func() error { return serve(ctx, listener, workerPages(running), &pages, log) })
			}
			group.Go(func() error { return w.Run(ctx) })
			group.Go(func() error { running.keep(ctx); return nil })
			group.Go(func() error { running.reportRefusals(ctx); return nil })
			group.Go(func() error { watcher.Run(ctx); return nil })
			return group.Wait()
		},
	}
}

func readyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ready [URL]",
		Short: "Ask a running leadrelay on this machine whether it is ready",
		Long: `Ask a running leadrelay whether it is ready, for a health check where there is no curl, such as in a container.
Without a URL it asks for /readyz where the configuration says that up or ingest listens.`,
		Example: `  leadrelay ready
  leadrelay ready http://127.0.0.1:8081/readyz   # a worker with worker.listen`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var url string
			if len(args) == 1 {
				url = args[0]
			} else {
				c, _, err := load(cmd, orBuiltIn(cmd, config.AllowMissingKeys(), config.SkipSources(), config.SkipConnectors(), config.SkipAlerts())...)
				if err != nil {
					return err
				}
				url = baseURL(c, c.Listen) + "/readyz"
			}
			client := http.Client{
				Timeout: 4 * time.Second,
				// It asks its own machine, by an address that no certificate names, and sends nothing.
				Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
			}
			resp, err := client.Get(url)
			if err != nil {
				return fmt.Errorf("not ready: %w", err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("not ready: %s: %s", resp.Status, strings.TrimSpace(string(text)))
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ready")
			return nil
		},
	}
}
