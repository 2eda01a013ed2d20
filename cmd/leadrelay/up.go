package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/embedded"
)

func upCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process: front end, worker, and a Redis if none is configured",
		Long: `Run everything in one process: the front end, a worker, and, when redis.url is empty, a Redis of its own under
data_dir: a redis-server it looks after where that program is installed, else a store inside the process.
On the first start it makes an API key and keeps it in data_dir.`,
		Example: `  leadrelay up
  LEADRELAY_LISTEN=:8080 LEADRELAY_DATA_DIR=/var/lib/leadrelay leadrelay up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd) },
	}
}

func up(cmd *cobra.Command) (err error) {
	c, log, err := load(cmd, config.AllowMissingKeys(), config.DefaultIfMissing())
	if err != nil {
		return err
	}
	defer c.Close()
	listener, err := listen(c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	ownKey, isNew, err := generatedKey(c)
	if err != nil {
		return err
	}

	ctx := cmd.Context()
	group, ctx := errgroup.WithContext(ctx)
	at, description := c.Redis, "the Redis of redis.url"
	if c.Redis.URL == "" {
		start, cancel := context.WithTimeout(ctx, startTimeout)
		server, err := embedded.Start(start, embedded.Options{Dir: c.DataDir, Engine: c.Redis.Engine, Log: log})
		cancel()
		if errors.Is(err, embedded.ErrInUse) {
			return fmt.Errorf("data_dir %s: another leadrelay is running on it", c.DataDir)
		}
		if err != nil {
			return err
		}
		defer func() {
			finish, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
			defer cancel()
			err = errors.Join(err, server.Close(finish))
		}()
		group.Go(func() error {
			select {
			case <-ctx.Done():
				return nil
			case <-server.Done():
				return fmt.Errorf("the embedded Redis ended: %w", server.Err())
			}
		})
		at, description = embeddedRedis(server.URL()), server.Description()
	}
	s, err := openStore(ctx, at, c, log)
	if err != nil {
		return err
	}
	defer closeStore(s)
	tellPersistence(ctx, s, log)

	registry := newRegistry(s)
	w := newWorker(c, s, registry, log)
	group.Go(func() error { return serve(ctx, listener, newFrontEnd(c, s, registry, log), c) })
	group.Go(func() error { return w.Run(ctx) })
	greet(cmd.OutOrStdout(), c, listener.Addr().String(), description, ownKey, isNew)
	err = group.Wait()
	return err
}

// generatedKey returns the API key that up made for itself, if a configured one has no value. It is made once
// and kept under data_dir, readable by its owner alone.
func generatedKey(c *config.Config) (key string, isNew bool, err error) {
	if len(c.MissingKeys) == 0 {
		return "", false, nil
	}
	path := keyPath(c)
	kept, err := os.ReadFile(path)
	key = strings.TrimSpace(string(kept))
	if errors.Is(err, os.ErrNotExist) || err == nil && key == "" {
		key, isNew = "lr_"+rand.Text(), true
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return "", false, fmt.Errorf("data_dir: %w", err)
		}
		err = os.WriteFile(path, []byte(key+"\n"), 0o600)
	}
	if err != nil {
		return "", false, fmt.Errorf("the API key cannot be kept: %w", err)
	}
	for _, name := range c.MissingKeys[:1] {
		c.APIKeys = append(c.APIKeys, config.APIKey{Name: name, Key: connectors.Secret(key), Scope: config.ScopeFull})
	}
	return key, isNew, nil
}

func keyPath(c *config.Config) string { return filepath.Join(c.DataDir, "api_key") }

func greet(out io.Writer, c *config.Config, address, redis, ownKey string, isNew bool) {
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	if host, port, ok := strings.Cut(address, "[::]:"); ok && host == "" {
		address = "127.0.0.1:" + port
	}
	base := scheme + "://" + address
	key := "YOUR_API_KEY"
	fmt.Fprintf(out, "leadrelay is up\n\n")
	fmt.Fprintf(out, "  leads API   %s/api/v1/leads\n", base)
	fmt.Fprintf(out, "  ready?      %s/readyz\n", base)
	fmt.Fprintf(out, "  metrics     %s/metrics\n", base)
	fmt.Fprintf(out, "  runs on     %s\n", redis)
	for _, connector := range c.Connectors {
		fmt.Fprintf(out, "  connector   %s (%s)\n", connector.Name, connector.Type)
	}
	if ownKey != "" {
		key = ownKey
		origin := "kept in"
		if isNew {
			origin = "made now, kept in"
		}
		fmt.Fprintf(out, "  API key     %s (%s %s)\n", ownKey, origin, keyPath(c))
	}
	fmt.Fprintf(out, `
Post a lead:

  curl -X POST %s/api/v1/leads \
    -H "Authorization: Bearer %s" \
    -H "Content-Type: application/json" \
    -d '{"name": "John Doe", "email": "john@gmail.com", "source": "website", "note": "Might be interested in React course"}'

Ctrl-C ends it in good order.
`, base, key)
}
