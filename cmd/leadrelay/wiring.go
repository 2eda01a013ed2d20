package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/worker"
)

// startTimeout is how long a process waits for its Redis before it gives up.
var startTimeout = 30 * time.Second

// load reads the configuration the command's flags name and reports its warnings.
func load(cmd *cobra.Command, options ...config.Option) (*config.Config, *slog.Logger, error) {
	path, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, nil, err
	}
	logTo := config.LogTo(func(l config.Log) *slog.Logger { return l.New(cmd.ErrOrStderr()) })
	if path == "" {
		return nil, nil, errors.New("--config: names no file")
	}
	c, err := config.Load(path, all.Kinds(), append(options, logTo)...)
	if invalid := (*config.Invalid)(nil); errors.As(err, &invalid) {
		for _, warning := range invalid.Warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "leadrelay:", warning)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	log := c.Log.New(cmd.ErrOrStderr())
	redisLogs.Do(func() { redis.SetLogger(redisLogger{log}) })
	for _, warning := range c.Warnings {
		log.Warn(warning)
	}
	return c, log, nil
}

// orBuiltIn adds DefaultIfMissing where the command line names no file: one that it names must be there.
func orBuiltIn(cmd *cobra.Command, options ...config.Option) []config.Option {
	if cmd.Flags().Changed("config") {
		return options
	}
	return append(options, config.DefaultIfMissing())
}

var redisLogs sync.Once // clients read the logger whenever they like

// redisLogger hands the Redis client's log to ours. What it tells of failed connections is told again, with more
// meaning, by whoever needed one.
type redisLogger struct{ log *slog.Logger }

func (l redisLogger) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug("redis: " + fmt.Sprintf(format, args...))
}

// openStore connects to a Redis.
func openStore(ctx context.Context, at config.Redis, c *config.Config, log *slog.Logger) (*store.Store, error) {
	client := store.Connect(at.Options())
	start, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s, err := store.New(start, client, storeConnectors(c), log)
	if err == nil {
		return s, nil
	}
	defer client.Close()
	if errors.Is(err, context.DeadlineExceeded) {
		again, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if reason := client.Ping(again).Err(); reason != nil {
			err = reason // it says more
		}
	}
	if ctx.Err() != nil {
		return nil, err
	}
	return nil, fmt.Errorf("redis.url: %w; see that a Redis runs there, and that address, password and database in "+
		"redis.url or LEADRELAY_REDIS_URL are right", err)
}

func storeConnectors(c *config.Config) (list []store.Connector) {
	for _, connector := range c.Connectors {
		list = append(list, store.Connector{Name: connector.Name, Event: connector.Event})
	}
	return list
}

// closeStore is called when the program ends: a Redis that is away must not hold that up.
func closeStore(s *store.Store) {
	if s.Close() == nil {
		s.Client().Close()
	}
}

// errNoRedis is said where an embedded Redis is of no use.
var errNoRedis = errors.New("redis.url: required here; only `leadrelay up` brings a Redis of its own")

// embeddedRedis is the address of an embedded Redis.
func embeddedRedis(url string) config.Redis { return config.Redis{URL: connectors.Secret(url)} }

// tellPersistence says once what an accepted lead survives on this Redis.
func tellPersistence(ctx context.Context, s *store.Store, log *slog.Logger) {
	if words, safe := s.Persistence(ctx).Survives(); safe {
		log.Info("persistence: " + words)
	} else {
		log.Warn("persistence: " + words)
	}
}

func newRegistry(s *store.Store) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		s.Collector(),
	)
	return registry
}

// frontEndOptions are those that follow from a configuration.
func frontEndOptions(c *config.Config, s *store.Store, log *slog.Logger) ingest.Options {
	options := ingest.Options{
		Store: s, Log: log, Dedupe: c.Leads.Dedupe == config.DedupeEmail,
		BodyBytes: int64(c.Limits.BodyBytes), Concurrent: c.Limits.ConcurrentRequests,
		Rate: c.Limits.RequestsPerSecond, Burst: c.Limits.Burst,
	}
	for _, key := range c.APIKeys {
		scope := ingest.Full
		if key.Scope == config.ScopeCreate {
			scope = ingest.CreateOnly
		}
		options.Keys = append(options.Keys, ingest.Key{Name: key.Name, Secret: key.Key.Reveal(), Scope: scope})
	}
	options.TrustedProxies = c.Proxies
	for _, form := range c.Forms {
		options.Forms = append(options.Forms, frontEndForm(form))
	}
	for _, source := range c.Sources {
		options.Sources = append(options.Sources, ingest.Source{Name: source.Name, Source: source.Source})
	}
	return options
}

func frontEndForm(f config.Form) ingest.Form {
	form := ingest.Form{
		Name: f.Name, Origins: f.Origins, Required: f.Required, Source: f.Source, Set: map[string]any{},
		Success: f.Redirect.Success, Error: f.Redirect.Error,
		Honeypot: f.Honeypot, MinFill: f.MinFill, RequireToken: f.RequireToken,
		Posts: f.Rate.Posts, Per: f.Rate.Per, DoubleSubmit: f.DoubleSubmit,
	}
	for _, field := range f.Fields {
		form.Fields = append(form.Fields, ingest.FormField(field))
	}
	for _, constant := range f.Set {
		form.Set[constant.To] = constant.Value
	}
	if c := f.Captcha; c != nil {
		form.Captcha = &ingest.Captcha{Provider: c.Provider, Secret: c.Secret.Reveal(), FailOpen: c.OnFailure == config.FailOpen, URL: c.URL}
	}
	if c := f.Consent; c != nil {
		form.Consent = &ingest.Consent{Field: c.Field, Text: c.Text, Version: c.Version, Required: c.Required}
	}
	return form
}

func workerConnectors(c *config.Config) (list []worker.Connector) {
	for _, connector := range c.Connectors {
		list = append(list, worker.Connector{
			Name: connector.Name, Kind: connector.Type, Event: connector.Event, Fingerprint: connector.Fingerprint,
			Connector: connector.Connector, Filter: connector.Filter, Fields: connector.Fields,
			Concurrency: connector.Concurrency, Limits: connector.Limits,
			Retry: worker.Retry(connector.Retry), Breaker: worker.Breaker(connector.Breaker),
		})
	}
	return list
}

// workerIntake is how a worker makes leads of what only names them.
func workerIntake(c *config.Config) worker.Intake {
	intake := worker.Intake{Sources: map[string]worker.Source{}, Dedupe: c.Leads.Dedupe == config.DedupeEmail}
	for _, source := range c.Sources {
		if !source.Fetches {
			continue // its deliveries are leads already, or an operator's
		}
		intake.Sources[ingest.SourceOrigin(source.Name)] = source.Source
	}
	return intake
}

// listen binds the address of a setting, so that a wrong one is known before anything else starts.
func listen(setting, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		return listener, nil
	}
	variable := "LEADRELAY_" + strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))
	hint := "set %s or %s to an address of this machine"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "is another leadrelay running? set %s or %s to another address"
	case errors.Is(err, syscall.EACCES):
		hint = "a port below 1024 needs the right to it (CAP_NET_BIND_SERVICE); set %s or %s to another address"
	}
	return nil, fmt.Errorf("%s: %w; "+hint, setting, err, setting, variable)
}

// tellStopping says, once ctx ends, what the wait is for.
func tellStopping(ctx context.Context, c *config.Config, log *slog.Logger) {
	context.AfterFunc(ctx, func() {
		log.Info("stopping: what is in flight may finish; a second signal ends it at once", "within", c.ShutdownTimeout)
	})
}

// serve answers HTTP on a listener until ctx ends, then lets requests in flight finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, c *config.Config, log *slog.Logger) error {
	server := ingest.Serving(handler)
	if live, ok := handler.(interface{ Close() }); ok {
		server.RegisterOnShutdown(live.Close)
	}
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug) // broken handshakes and the like, with addresses
	ended := make(chan error, 1)
	go func() {
		if c.TLS.CertFile != "" {
			ended <- server.ServeTLS(listener, c.TLS.CertFile, c.TLS.KeyFile)
		} else {
			ended <- server.Serve(listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(finish); err != nil {
		server.Close()
	}
	return nil
}

// workerPages are the health and metrics of a worker process.
func workerPages(running *live) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := running.store.Ping(ctx); err != nil {
			http.Error(w, "redis does not answer", http.StatusServiceUnavailable)
			return
		}
		state := running.state()
		fmt.Fprintf(w, "ready\nconfiguration %s, loaded at %s\n", state.Revision, state.Loaded.UTC().Format(time.RFC3339))
		if state.Problem != "" {
			fmt.Fprintf(w, "a newer one is not taken over: %s\n", state.Problem)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(running.registry, promhttp.HandlerOpts{}))
	return mux
}
