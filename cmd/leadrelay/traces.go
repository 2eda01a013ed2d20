package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/tracing"
)

// startTracing begins to export traces where the configuration says so. What ends the program calls end, which exports
// what is left.
func startTracing(c *config.Config, log *slog.Logger) (traces *tracing.Tracing, end func(), err error) {
	if c.Tracing.Endpoint == "" {
		return nil, func() {}, nil
	}
	traces, err = tracing.Start(context.Background(), tracing.Options{
		Endpoint: c.Tracing.Endpoint, Headers: c.Tracing.Header(), Sample: c.Tracing.Sample, Version: version(), Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	return traces, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := traces.Close(ctx); err != nil {
			log.Warn("the last traces could not be exported", "error", err)
		}
	}, nil
}
