// Package embedded runs the Redis of a leadrelay that was given none: a redis-server of its own where that
// program is installed, else a store in the process. Both listen on a private Unix socket, both keep what they
// hold in a folder, and both speak to go-redis and asynq.
//
// # What survives
//
// A write that was answered was handed to the operating system first, so a crash or a kill -9 of leadrelay loses
// nothing. Files are synced every second, so a machine that dies loses that second at most. Two limits are Redis's
// own. While a sync is outstanding on a slow disk, redis-server holds writes back for up to two seconds, and a
// kill -9 of redis-server itself (not of leadrelay) may lose those. And the few writes that find the disk full have
// been answered when it notices: it keeps them in memory, refuses all others, and writes them down when there is
// room, so they are lost only if it ends before. The store in the process refuses these too.
//
// # What each is for
//
// redis-server is for everything real: fast, and its speed does not depend on how much it holds. The store in the
// process is for a first look and for small installations where nothing else can be installed: it keeps everything
// in memory, and its sorted sets and lists cost what they hold on each use.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"
)

// The engines.
const (
	RedisServer = "redis-server"
	InProcess   = "in-process"
)

// ErrInUse says that another process runs its embedded Redis in the same folder.
var ErrInUse = errors.New("in use by another leadrelay")

// Options say where the data live and what keeps them.
type Options struct {
	// Dir is the data directory. Everything is kept in its folder "redis", which only its owner can read.
	Dir string
	// Engine is RedisServer, InProcess or, to let what is there decide, empty: data found in Dir are kept by the
	// engine that wrote them, and a new store by redis-server if it is installed.
	Engine string
	// Log gets the few lines that an operator should see. It may be nil.
	Log *slog.Logger
}

// Server is a running embedded Redis.
type Server struct {
	engine      engine
	name        string
	description string
	socket      socket
	lock        *flock.Flock

	closing  sync.Once
	closeErr error
}

// engine is what a Server runs on.
type engine interface {
	// done is closed when the engine has stopped for good: after close, or with the error that err returns.
	done() <-chan struct{}
	err() error
	// close stops it with everything synced, by force when ctx ends.
	close(ctx context.Context) error
}

// Start starts an embedded Redis on the data in opts.Dir and returns when it answers. ctx bounds the start only.
// It fails with ErrInUse when another process has one there.
func Start(ctx context.Context, opts Options) (*Server, error) {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	shown := filepath.Join(opts.Dir, "redis")
	dir, err := privateDir(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded Redis: %w: set data_dir to a folder that can be written", err)
	}

	s := &Server{lock: flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))}
	switch got, err := s.lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("embedded Redis: lock %s: %w", shown, err)
	case !got:
		return nil, fmt.Errorf("embedded Redis: %s is %w", shown, ErrInUse)
	}
	defer func() {
		if s.engine == nil {
			s.socket.remove()
			s.lock.Close()
		}
	}()

	program, err := choose(ctx, dir, shown, opts.Engine, log)
	if err != nil {
		return nil, fmt.Errorf("embedded Redis: %w", err)
	}
	if program != nil {
		// What an earlier process left running is stopped before its address is forgotten.
		held, err := program.takeOver(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("embedded Redis: %w", err)
		}
		if s.socket, err = newSocket(dir); err != nil {
			held.Close()
			return nil, fmt.Errorf("embedded Redis: %w", err)
		}
		e, err := program.start(ctx, dir, s.socket.path, held, log)
		if err != nil {
			return nil, fmt.Errorf("embedded Redis: %w", err)
		}
		s.engine, s.name = e, RedisServer
		s.description = fmt.Sprintf("redis-server %s, append-only file in %s", program.version, shown)
		return s, nil
	}

	if s.socket, err = newSocket(dir); err != nil {
		return nil, fmt.Errorf("embedded Redis: %w", err)
	}
	e, err := startInProcess(ctx, dir, s.socket.path, log)
	if err != nil {
		return nil, fmt.Errorf("embedded Redis: %w", err)
	}
	s.engine, s.name = e, InProcess
	s.description = "in-process store, journal in " + shown
	return s, nil
}

// choose settles on an engine: a program to run, or nil for the store in the process. It never starts an empty
// store beside data that the other engine has written.
func choose(ctx context.Context, dir, shown, engine string, log *slog.Logger) (*program, error) {
	aof, err := exists(dir, "appendonlydir*", "appendonly.aof*")
	if err != nil {
		return nil, err
	}
	journal, err := exists(dir, "journal.*", "snapshot.*")
	if err != nil {
		return nil, err
	}
	switch engine {
	case "", RedisServer, InProcess:
	default:
		return nil, fmt.Errorf("unknown engine %q: it is %q, %q or empty", engine, RedisServer, InProcess)
	}
	switch {
	case aof && journal && engine == "":
		return nil, fmt.Errorf("%s holds data of both %s and the %s store: choose one", shown, RedisServer, InProcess)
	case aof && !journal && engine == InProcess:
		return nil, fmt.Errorf("%s holds data written by %s, which the %s store cannot read", shown, RedisServer, InProcess)
	case journal && !aof && engine == RedisServer:
		return nil, fmt.Errorf("%s holds data written by the %s store, which %s cannot read", shown, InProcess, RedisServer)
	}
	if engine == InProcess || journal && engine == "" {
		return nil, nil
	}
	program, err := findRedisServer(ctx)
	switch {
	case err == nil:
		return program, program.reads(dir)
	case engine == RedisServer:
		return nil, err
	case aof:
		return nil, fmt.Errorf("%s holds data written by %s: %w", shown, RedisServer, err)
	}
	log.Info("keeping leads in the process: install redis-server for more than a first look", "reason", err)
	return nil, nil
}

func exists(dir string, patterns ...string) (bool, error) {
	for _, pattern := range patterns {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if ok, _ := filepath.Match(pattern, e.Name()); ok {
				return true, nil
			}
		}
	}
	return false, nil
}

// URL is where the server answers, as redis.ParseURL reads it: unix:///….
func (s *Server) URL() string { return s.socket.url() }

// Engine is RedisServer or InProcess.
func (s *Server) Engine() string { return s.name }

// Description says in a few words what keeps the data, and where.
func (s *Server) Description() string { return s.description }

// Persistence says in plain words what an accepted write survives.
func (s *Server) Persistence() string {
	return "what was accepted survives a crash or kill of leadrelay; the last second may be lost when the machine itself dies"
}

// Done is closed when the server has stopped for good: because it was closed, or with an error that Err tells.
func (s *Server) Done() <-chan struct{} { return s.engine.done() }

// Err is why the server stopped by itself, and nil before Done and after Close.
func (s *Server) Err() error { return s.engine.err() }

// Close stops the server with everything on disk. When ctx ends first it is stopped by force, with what it
// already promised.
func (s *Server) Close(ctx context.Context) error {
	s.closing.Do(func() {
		s.closeErr = s.engine.close(ctx)
		s.socket.remove()
		s.lock.Close()
	})
	return s.closeErr
}

// Running finds the embedded Redis that another process runs on the data in dir.
func Running(dir string) (url string, ok bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	s, err := lastSocket(filepath.Join(dir, "redis"))
	if err != nil {
		return "", false
	}
	// One that is loading, refuses writes, or has too much to do to answer runs.
	if _, err := ask(s.path, "PING"); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "", false
	}
	return s.url(), true
}

// privateDir makes the folder that holds the data, readable by its owner only.
func privateDir(data string) (string, error) {
	data, err := filepath.Abs(data)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(data, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o700)
}

func socketURL(path string) string {
	return (&url.URL{Scheme: "unix", Path: filepath.ToSlash(path)}).String()
}
