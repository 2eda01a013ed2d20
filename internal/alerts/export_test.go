package alerts

import (
	"context"
	"sync"
)

// Look looks once.
func (w *Watcher) Look(ctx context.Context) error { return w.look(ctx) }

// Deliver makes the attempts that are due, and waits for them.
func (w *Watcher) Deliver(ctx context.Context) error {
	var sending sync.WaitGroup
	defer sending.Wait()
	return w.deliver(ctx, sending.Go)
}
