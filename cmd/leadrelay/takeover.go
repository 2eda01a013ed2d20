package main

import (
	"context"
	"syscall"
	"time"
)

// takeOverTimeout bounds the wait for a configuration that was saved to be in use.
const takeOverTimeout = 15 * time.Second

// takeOver has the file read now, and waits until the program runs by the text of a revision. It says why it does not.
func (l *live) takeOver(ctx context.Context, revision string) (problem string) {
	ctx, cancel := context.WithTimeout(ctx, takeOverTimeout)
	defer cancel()
	// The first reload that ends may have begun before the file was what it is.
	for range 2 {
		l.mu.Lock()
		turned := l.turned
		l.mu.Unlock()
		select {
		case l.asked <- syscall.SIGHUP:
		default: // somebody asks already
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return "it has not been read yet; the overview says when it is"
		}
		if state := l.state(); state.Revision == revision {
			return ""
		}
	}
	if problem := l.state().Problem; problem != "" {
		return problem
	}
	return "the file has become another meanwhile"
}
