package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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
	options := orBuiltIn(cmd, config.AllowMissingKeys())
	c, log, err := load(cmd, options...)
	if err != nil {
		return err
	}
	closeConfig := c.Close
	defer func() { closeConfig() }()
	listener, err := listen("listen", c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()

	ctx := cmd.Context()
	tellStopping(ctx, c, log)
	group, ctx := errgroup.WithContext(ctx)
	at, description := c.Redis, "the Redis of redis.url"
	if c.Redis.URL == "" {
		// It takes as long as what it kept takes to load.
		server, err := embedded.Start(ctx, embedded.Options{Dir: c.DataDir, Engine: c.Redis.Engine, Log: log})
		if errors.Is(err, embedded.ErrInUse) {
			return fmt.Errorf("data_dir: another leadrelay is running on %s; set data_dir or LEADRELAY_DATA_DIR to another folder", c.DataDir)
		}
		if err != nil {
			return inDataDir(err)
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
	key, isNew, err := ownKey(c, log) // by one process at a time: after the embedded Redis has taken the folder
	if err != nil {
		return err
	}
	s, err := openStore(ctx, at, c, log)
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

	running := newLive(c, s, log, traces, func() (*config.Config, error) {
		next, _, err := load(cmd, options...)
		if err == nil {
			_, _, err = ownKey(next, log)
		}
		return next, err
	})
	closeConfig = running.close
	running.options = options
	running.demo = true
	front, err := running.frontEnd()
	if err != nil {
		return err
	}
	w, watcher := running.work(), running.watch()
	group.Go(func() error { return serve(ctx, listener, front, c, log) })
	group.Go(func() error { return w.Run(ctx) })
	group.Go(func() error { running.keep(ctx); return nil })
	group.Go(func() error { running.reportRefusals(ctx); return nil })
	group.Go(func() error { watcher.Run(ctx); return nil })
	greet(cmd.OutOrStdout(), c, listener.Addr().String(), description, key, isNew)
	return group.Wait()
}

// inDataDir adds to an error what to do about the data directory, if it is at fault.
func inDataDir(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("data_dir: %w; let the user that leadrelay runs as write there, or set data_dir or "+
			"LEADRELAY_DATA_DIR to another folder", err)
	}
	return err
}

// madeByUp is the key that up makes: the first full one without a value, or one of its own where none are configured.
// A key for forms, which reads nothing, must not come to be one that does.
func madeByUp(c *config.Config) config.MissingKey {
	if len(c.APIKeys)+len(c.MissingKeys) == 0 {
		return config.MissingKey{Name: "up", Scope: config.ScopeFull}
	}
	for _, missing := range c.MissingKeys {
		if missing.Scope == config.ScopeFull {
			return missing
		}
	}
	return config.MissingKey{}
}

// ownKey adds the key that up makes to those of c and returns it, or "" if there is none to make. It is made once
// and kept under data_dir, readable by its owner alone.
func ownKey(c *config.Config, log *slog.Logger) (key string, isNew bool, err error) {
	made := madeByUp(c)
	for _, missing := range c.MissingKeys {
		if missing != made {
			log.Warn("an API key is left out: its variable is not set", "key", missing.Name, "variable", missing.Variable)
		}
	}
	if made.Name == "" {
		return "", false, nil
	}
	path := keyPath(c)
	kept, err := os.ReadFile(path)
	key = strings.TrimSpace(string(kept))
	if errors.Is(err, os.ErrNotExist) || err == nil && key == "" {
		key, isNew = "lr_"+rand.Text(), true
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return "", false, inDataDir(err)
		}
		err = os.WriteFile(path, []byte(key+"\n"), 0o600)
	}
	if err != nil {
		return "", false, fmt.Errorf("the API key cannot be kept: %w", inDataDir(err))
	}
	c.APIKeys = append(c.APIKeys, config.APIKey{Name: made.Name, Key: connectors.Secret(key), Scope: made.Scope})
	return key, isNew, nil
}

func keyPath(c *config.Config) string { return filepath.Join(c.DataDir, "api_key") }

// greet says where everything is. A key is printed once, when it is made: standard output often ends up in a log.
func greet(out io.Writer, c *config.Config, address, redis, key string, isNew bool) {
	file := c.Path
	if file == "" {
		file = "built in, as there is no config.yaml here"
	}
	base := baseURL(c, address)
	fmt.Fprintf(out, "leadrelay is up\n\n")
	fmt.Fprintf(out, "  leads API   %s/api/v1/leads\n", base)
	fmt.Fprintf(out, "  ready?      %s/readyz\n", base)
	fmt.Fprintf(out, "  metrics     %s/metrics\n", base)
	fmt.Fprintf(out, "  form demo   %s/demo\n", base)
	if len(c.Operators) > 0 || c.OIDC.Issuer != "" {
		fmt.Fprintf(out, "  console     %s/console\n", base)
	}
	fmt.Fprintf(out, "  settings    %s\n", file)
	fmt.Fprintf(out, "  runs on     %s\n", redis)
	for _, connector := range c.Connectors {
		fmt.Fprintf(out, "  connector   %s (%s)\n", connector.Name, connector.Type)
	}
	bearer := "YOUR_API_KEY"
	switch {
	case isNew:
		bearer = key
		fmt.Fprintf(out, "  API key     %s (made now, kept in %s)\n", key, keyPath(c))
	case key != "":
		path := keyPath(c)
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute // the curl is pasted elsewhere
		}
		bearer = "$(cat " + shellWord(path) + ")"
		fmt.Fprintf(out, "  API key     in %s\n", keyPath(c))
	case len(c.APIKeys) > 0:
		fmt.Fprintf(out, "  API key     %q of the settings\n", c.APIKeys[0].Name)
	}
	fmt.Fprintf(out, `
Post a lead:

  curl -X POST %s \
    -H "Authorization: Bearer %s" \
    -H "Content-Type: application/json" \
    -d '{"name": "John Doe", "email": "john@gmail.com", "source": "website", "note": "Might be interested in React course"}'

Ctrl-C ends it in good order.
`, shellWord(base+"/api/v1/leads"), bearer)
}

// baseURL is how a client on this machine reaches the address.
func baseURL(c *config.Config, address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// shellWord quotes a text for a shell where that reads anything but itself in it: zsh in the brackets of an IPv6
// address, each of them in a space.
func shellWord(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/:._-") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
