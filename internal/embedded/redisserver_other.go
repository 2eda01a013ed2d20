//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
)

type program struct{ version string }

var errNoRedisServer = errors.New("redis-server does not run on this system")

func findRedisServer(context.Context) (*program, error) { return nil, errNoRedisServer }

func (*program) reads(string) error { return errNoRedisServer }

func (*program) takeOver(context.Context, string) (*os.File, error) { return nil, errNoRedisServer }

func (*program) start(context.Context, string, string, *os.File, *slog.Logger) (engine, error) {
	return nil, errNoRedisServer
}
