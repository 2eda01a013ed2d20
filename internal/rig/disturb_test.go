package rig

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// pastFence is longer than a fence holds (9 s): who is paused for so long has lost all its leads to others.
const pastFence = 11 * time.Second

// usualDisturbances is how often what is done, by weight.
var usualDisturbances = map[string]int{
	"kill ingest": 6, "kill worker": 8, "kill redis": 4, "kill all": 1, "end worker": 2, "pause worker past its fence": 3,
	"pause ingest": 1, "pause redis": 2, "pause redis past all fences": 1, "fill redis": 2, "forget scripts": 1, "lose jobs": 2, "outage": 4, "lock file": 2,
	"snoop": 2,
}

// disturbAll does one thing after another to the processes until over.
func (r *round) disturbAll(over <-chan struct{}) {
	dice := r.dice(3)
	var paused sync.WaitGroup
	defer paused.Wait()
	for len(r.disturb) > 0 {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(dice.Int64N(int64(r.pace)))):
		}
		what := weighed(dice, r.disturb)
		r.done[what]++
		r.disturbOnce(what, dice, over, &paused)
	}
}

func weighed(dice *rand.Rand, weights map[string]int) string {
	total := 0
	for _, w := range weights {
		total += w
	}
	n := dice.IntN(total)
	for _, what := range slices.Sorted(maps.Keys(weights)) {
		if n -= weights[what]; n < 0 {
			return what
		}
	}
	panic("no weight")
}

func (r *round) disturbOnce(what string, dice *rand.Rand, over <-chan struct{}, paused *sync.WaitGroup) {
	// Drawn whatever is done, so that one thing's needs do not shift what follows.
	which, down := dice.IntN(1<<20), time.Duration(dice.Int64N(int64(time.Second)))
	front, worker := r.fronts[which%len(r.fronts)], r.workers[which%len(r.workers)]
	again := func(p *process) {
		time.Sleep(down)
		if err := p.Start(); err != nil {
			r.failed("%v", err)
		}
	}
	ctx := context.Background()
	switch what {
	case "kill ingest":
		front.Kill()
		again(front)
	case "kill worker":
		worker.Kill()
		again(worker)
	case "end worker":
		worker.Signal(syscall.SIGCONT) // a paused one would not hear it
		worker.Signal(syscall.SIGTERM)
		if !within(40*time.Second, func() bool { return !worker.Running() }) {
			r.failed("%s does not end when asked to", worker.Name)
			worker.Kill()
		}
		again(worker)
	case "kill redis":
		r.topology.Kill(which, down)
	case "kill all":
		for _, p := range r.processes() {
			p.Signal(syscall.SIGKILL)
		}
		for _, p := range r.processes() {
			p.Wait()
		}
		for _, p := range r.topology.Servers() {
			if err := p.Start(); err != nil {
				r.failed("%v", err)
			}
		}
		for _, p := range append(slices.Clone(r.fronts), r.workers...) {
			p.Start()
		}
	case "pause worker past its fence":
		worker.Signal(syscall.SIGSTOP)
		paused.Go(func() {
			select {
			case <-time.After(pastFence):
			case <-over:
			}
			worker.Signal(syscall.SIGCONT)
		})
	case "pause ingest":
		front.Signal(syscall.SIGSTOP)
		time.Sleep(down)
		front.Signal(syscall.SIGCONT)
	case "pause redis", "pause redis past all fences":
		if what != "pause redis" {
			down = pastFence
		}
		for _, p := range r.topology.Servers() {
			p.Signal(syscall.SIGSTOP)
		}
		select {
		case <-time.After(down):
		case <-over:
		}
		for _, p := range r.topology.Servers() {
			p.Signal(syscall.SIGCONT)
		}
	case "fill redis":
		if one, ok := r.topology.(*redistest.Standalone); ok {
			one.Server.Client.ConfigSet(ctx, "maxmemory", "1")
			time.Sleep(down)
			one.Server.Client.ConfigSet(ctx, "maxmemory", "0")
		}
	case "forget scripts":
		r.redis.ScriptFlush(ctx)
	case "lose jobs":
		for _, name := range append([]string{"file"}, remotes...) {
			r.redis.Del(ctx, "asynq:{"+name+"}:pending")
		}
	case "outage":
		r.troubles[remotes[which%len(remotes)]].breakDown(3 * down)
	case "lock file":
		lock := flock.New(r.file + ".lock")
		if ok, _ := lock.TryLock(); ok {
			time.Sleep(2 * down)
			lock.Unlock()
		}
	case "snoop":
		for _, problem := range r.snoop() {
			r.failed("%s", problem)
		}
	}
}
