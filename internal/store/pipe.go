package store

import (
	"context"
	"errors"
	"slices"
	"time"

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

// closeWithin bounds the wait for what is under way at the end, when nobody waits for it any more. The client would go on
// for half a minute to reach a Redis that is away.
const closeWithin = time.Second

func (p pipe) close() error {
	closed := make(chan error, 1)
	go func() { closed <- p.shared.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeWithin):
		return errors.New("redis: commands were still under way at the end")
	}
}

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

// run runs a script, by its name where Redis has it already. keys and args are its arguments, in one list that begins
// with room for what EVALSHA needs before them.
func (p pipe) run(ctx context.Context, s script, args scriptArgs) (*redis.Cmd, error) {
	args[0], args[1] = "evalsha", s.name
	cmd := args.cmd(ctx)
	err := p.do(ctx, cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		args = slices.Clone(args)
		args[0], args[1] = "eval", s.text
		cmd = args.cmd(ctx)
		err = p.do(ctx, cmd)
	}
	return cmd, err
}

// scriptArgs are EVALSHA's arguments.
type scriptArgs []any

// newScriptArgs begins the arguments of a script with its keys and leaves room for so many more.
func newScriptArgs(room int, keys ...any) scriptArgs {
	args := make(scriptArgs, 3, 3+len(keys)+room)
	args[2] = len(keys)
	return append(args, keys...)
}

func (args scriptArgs) cmd(ctx context.Context) *redis.Cmd {
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetFirstKeyPos(3)
	return cmd
}
