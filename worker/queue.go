package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// serve takes the jobs of the connector's queue until ctx ends; then stop is to be called.
func (r *runner) serve(ctx context.Context, opts Options) (stop func(), err error) {
	client := &attentiveClient{UniversalClient: opts.Store.Client(), bell: r.bell, done: ctx.Done()}
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Queues:            map[string]int{r.Name: 1},
		Concurrency:       lead.Shards, // a job is a round over one shard; the runner bounds the pushes
		TaskCheckInterval: time.Millisecond,
		ShutdownTimeout:   time.Second, // pushes outlive their job, see Worker.Run
		BaseContext:       func() context.Context { return ctx },
		Logger:            asynqLogger{r.log},
		LogLevel:          asynq.WarnLevel,
	})
	err = server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		var job store.Job
		if err := json.Unmarshal(task.Payload(), &job); err != nil || job.Shard < 0 || job.Shard >= lead.Shards {
			return fmt.Errorf("not a job of ours: %w", asynq.SkipRetry)
		}
		r.round(ctx, job.Shard)
		return nil // outcomes are in the sync records; the sweeper finds what a round left
	}))
	if err != nil {
		return func() {}, fmt.Errorf("queue %s: %w", r.Name, err)
	}
	return server.Shutdown, nil
}

// lookAnyway is how long an empty queue is left alone when no bell rings.
const lookAnyway = time.Second

// attentiveClient makes an asynq server attentive: where asynq polls an empty queue, its look at the queue
// waits here until the bell rings, so that a job is taken at once and an idle queue costs nothing.
type attentiveClient struct {
	redis.UniversalClient
	bell  <-chan struct{}
	done  <-chan struct{}
	empty atomic.Bool // what the last look found
}

// EvalSha waits before a look at a queue that was empty.
func (c *attentiveClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	// Of asynq's scripts only the one that takes a job names the queue's list of pending jobs first.
	look := len(keys) > 0 && strings.HasSuffix(keys[0], ":pending")
	if look && c.empty.Load() {
		timeout := time.NewTimer(lookAnyway)
		select {
		case <-c.bell:
		case <-timeout.C:
		case <-c.done:
		}
		timeout.Stop()
	}
	cmd := c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	if look {
		c.empty.Store(errors.Is(cmd.Err(), redis.Nil))
	}
	return cmd
}

// asynqLogger hands asynq's log to ours, a level lower where it only tells its life.
type asynqLogger struct{ log *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.log.Debug("asynq: " + fmt.Sprint(args...)) }
func (l asynqLogger) Info(args ...any)  { l.log.Debug("asynq: " + fmt.Sprint(args...)) }
func (l asynqLogger) Warn(args ...any)  { l.log.Warn("asynq: " + fmt.Sprint(args...)) }
func (l asynqLogger) Error(args ...any) { l.log.Error("asynq: " + fmt.Sprint(args...)) }
func (l asynqLogger) Fatal(args ...any) { l.log.Error("asynq: " + fmt.Sprint(args...)) }
