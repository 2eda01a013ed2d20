package main

import (
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
			c, log, err := load(cmd, config.SkipConnectors())
			if err != nil {
				return err
			}
			if c.Redis.URL == "" {
				return errNoRedis
			}
			listener, err := listen(c.Listen)
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
			tellPersistence(ctx, s, log)
			log.Info("accepting leads", "address", listener.Addr().String(), "connectors", len(c.Connectors))
			return serve(ctx, listener, newFrontEnd(c, s, newRegistry(s), log), c)
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
			defer c.Close()
			if c.Redis.URL == "" {
				return errNoRedis
			}
			ctx := cmd.Context()
			s, err := openStore(ctx, c.Redis, c, log)
			if err != nil {
				return err
			}
			defer closeStore(s)
			tellPersistence(ctx, s, log)
			registry := newRegistry(s)
			w := newWorker(c, s, registry, log)
			group, ctx := errgroup.WithContext(ctx)
			if c.Worker.Listen != "" {
				listener, err := listen(c.Worker.Listen)
				if err != nil {
					return err
				}
				pages := *c
				pages.TLS = config.TLS{}
				group.Go(func() error { return serve(ctx, listener, workerPages(s, registry), &pages) })
			}
			group.Go(func() error { return w.Run(ctx) })
			return group.Wait()
		},
	}
}
