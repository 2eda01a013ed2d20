package store

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// TaskType is the asynq type of all jobs.
const TaskType = "sync"

// bellChannel carries each new job, for workers that listen, as its Job's text.
const bellChannel = "lr:bell"

// Job is a job's payload: a wake-up call that carries no data. It says that leads of a shard wait for a
// connector; which, and what for, the worker reads from the store.
type Job struct {
	Connector string `json:"connector"`
	Shard     int    `json:"shard"`
}

// bell enqueues the jobs that accepted changes are owed, and rings for a worker to look now. It works behind
// the accepting request: what it fails to enqueue the sweeper finds.
type bell struct {
	client *asynq.Client
	redis  redis.UniversalClient
	log    *slog.Logger

	mu     sync.Mutex
	owed   map[Job]bool
	filled chan struct{} // has a value when owed is not empty
	done   chan struct{}
	cancel context.CancelFunc
}

func newBell(ctx context.Context, client *asynq.Client, r redis.UniversalClient, log *slog.Logger) *bell {
	ctx, cancel := context.WithCancel(ctx)
	b := &bell{
		client: client, redis: r, log: log,
		owed: map[Job]bool{}, filled: make(chan struct{}, 1), done: make(chan struct{}), cancel: cancel,
	}
	go b.run(ctx)
	return b
}

// owe notes that each of the connectors is owed a job for the shard.
func (b *bell) owe(shard int, connectors ...string) {
	if len(connectors) == 0 {
		return
	}
	b.mu.Lock()
	for _, name := range connectors {
		b.owed[Job{name, shard}] = true
	}
	b.mu.Unlock()
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

func (b *bell) run(ctx context.Context) {
	defer close(b.done)
	for {
		select {
		case <-b.filled:
			b.enqueue()
		case <-ctx.Done():
			b.enqueue()
			return
		}
	}
}

func (b *bell) enqueue() {
	b.mu.Lock()
	jobs := b.owed
	b.owed = make(map[Job]bool, len(jobs))
	b.mu.Unlock()
	if len(jobs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	payloads := make(map[Job][]byte, len(jobs))
	// The bell first: a worker that hears it is there before the job is.
	_, err := b.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for job := range jobs {
			payloads[job], _ = json.Marshal(job)
			p.Publish(ctx, bellChannel, payloads[job])
		}
		return nil
	})
	for job, payload := range payloads {
		if err == nil {
			_, err = b.client.EnqueueContext(ctx, asynq.NewTask(TaskType, payload),
				asynq.Queue(job.Connector), asynq.MaxRetry(0), asynq.Timeout(jobTimeout))
		}
		if err != nil {
			b.log.Warn("a job could not be enqueued; the sweeper will find its work", "connector", job.Connector, "error", err)
			return
		}
	}
}

// jobTimeout is far beyond what a job takes: a worker ends its round itself.
const jobTimeout = time.Hour

// close enqueues what is owed and ends.
func (b *bell) close() {
	b.cancel()
	<-b.done
}

// Bell calls listening once it hears, rung with each new job, and gates when a gate changed, until ctx ends. While
// Redis is away nothing is heard: whoever listens also looks by itself from time to time.
func (s *Store) Bell(ctx context.Context, listening func(), rung func(Job), gates func()) {
	subscription := s.client.Subscribe(ctx, bellChannel)
	defer subscription.Close()
	if _, err := subscription.Receive(ctx); err == nil {
		listening()
	}
	messages := subscription.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			var job Job
			switch {
			case m.Payload == gatesRing:
				gates()
			case json.Unmarshal([]byte(m.Payload), &job) == nil:
				rung(job)
			}
		}
	}
}

// Ring enqueues a job for a connector's leads of one shard.
func (s *Store) Ring(connector string, shard int) { s.bell.owe(shard, connector) }

// gatesRing is the bell's word for a gate that changed.
const gatesRing = "gates"
