package store

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// pipe sends the commands of concurrent callers in shared round trips. Each caller waits for its own no longer than
// its context: a Redis that hangs would else hold callers for as long as the client tries again.
type pipe struct{ shared *redis.AutoPipeliner }

// maxQueued bounds the commands that wait for a Redis that hangs; more are refused at once.
const maxQueued = 8192

func newPipe(client redis.UniversalClient) (pipe, error) {
	options := &redis.AutoPipelineOptions{MaxBatchSize: 300, MaxConcurrentBatches: 1, MaxQueuedCommands: maxQueued}
	var shared *redis.AutoPipeliner
	err := errors.New("unsupported kind of client")
	switch c := client.(type) {
	case *redis.Client:
		shared, err = c.AsyncAutoPipelineWithOptions(options)
	case *redis.ClusterClient:
		shared, err = c.AsyncAutoPipelineWithOptions(options)
	}
	return pipe{shared}, err
}

func (p pipe) close() error { return p.shared.Close() }

// do carries a command out. Its result may be read when the error is nil alone: a command that was given up is still
// under way.
func (p pipe) do(ctx context.Context, cmd redis.Cmder) error {
	return p.shared.Submit(ctx, cmd).WaitContext(ctx)
}

func (p pipe) get(ctx context.Context, key string) (string, error) {
	cmd := redis.NewStringCmd(ctx, "get", key)
	if err := p.do(ctx, cmd); err != nil {
		return "", err
	}
	return cmd.Val(), nil
}

func (p pipe) hget(ctx context.Context, key, field string) (string, error) {
	cmd := redis.NewStringCmd(ctx, "hget", key, field)
	if err := p.do(ctx, cmd); err != nil {
		return "", err
	}
	return cmd.Val(), nil
}

// run runs a script, by its name where Redis has it already.
func (p pipe) run(ctx context.Context, s script, keys []string, args ...any) (*redis.Cmd, error) {
	cmd := scriptCmd(ctx, "evalsha", s.Hash(), keys, args)
	err := p.do(ctx, cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = scriptCmd(ctx, "eval", s.text, keys, args)
		err = p.do(ctx, cmd)
	}
	return cmd, err
}

func scriptCmd(ctx context.Context, verb, what string, keys []string, args []any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, verb, what, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	return cmd
}
