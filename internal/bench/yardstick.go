package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/julienschmidt/httprouter"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Yardsticks are what leadrelay is measured beside: the same work by the least or by the usual means.
const (
	Bare  = "bare"  // accept: httprouter, the body decoded, an answer
	HSet  = "hset"  // accept: and one HSET
	Plain = "plain" // accept: and an HSET, then asynq.Client.Enqueue: two round trips
	Asynq = "asynq" // in step: asynq as it comes, one server, one queue, a handler that posts
	Post  = "post"  // in step: the HTTP posts with no queue at all
)

const (
	yardstickQueue = "bench"
	yardstickTask  = "post"

	// atOnce is how many posts a yardstick has in flight: as many as a connector of leadrelay by default.
	atOnce = 16
)

// ServeYardstick is a yardstick's process: it serves Bare, HSet or Plain, or drains by Asynq to a sink, until ctx
// ends. ready is told the address, "" for Asynq.
func ServeYardstick(ctx context.Context, kind, redisURL, sink string, ready func(address string)) error {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	switch kind {
	case Bare, HSet, Plain:
		return serveAccept(ctx, kind, client, ready)
	case Asynq:
		return drainAsynq(ctx, client, sink, ready)
	}
	return fmt.Errorf("there is no yardstick %q", kind)
}

func serveAccept(ctx context.Context, kind string, client *redis.Client, ready func(string)) error {
	jobs := asynq.NewClientFromRedisClient(client)
	router := httprouter.New()
	router.POST("/api/v1/leads", func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		var fields map[string]any
		if err == nil {
			err = json.Unmarshal(body, &fields)
		}
		if err != nil {
			http.Error(w, "not a lead", http.StatusBadRequest)
			return
		}
		id := lead.NewID(time.Now(), -1)
		if kind != Bare {
			err = client.HSet(r.Context(), "bench:"+id, "lead", body).Err()
		}
		if err == nil && kind == Plain {
			_, err = jobs.EnqueueContext(r.Context(), asynq.NewTask(yardstickTask, []byte(id)), asynq.Queue(yardstickQueue))
		}
		if err != nil {
			http.Error(w, "not stored", http.StatusServiceUnavailable)
			return
		}
		fields["lead_id"] = id
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"success": true, "data": fields, "message": "Lead added successfully"})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: router, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	ready(listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func drainAsynq(ctx context.Context, client *redis.Client, sink string, ready func(string)) error {
	post := newPoster(sink)
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency: atOnce, Queues: map[string]int{yardstickQueue: 1}, LogLevel: asynq.FatalLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		body, err := client.HGet(ctx, "bench:"+string(task.Payload()), "lead").Bytes()
		if err != nil {
			return err
		}
		return post(ctx, body)
	}))
	if err != nil {
		return err
	}
	ready("")
	<-ctx.Done()
	server.Shutdown()
	return nil
}

// newPoster posts to a sink as leadrelay's webhook does, but for the signature.
func newPoster(sink string) func(ctx context.Context, body []byte) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	return func(ctx context.Context, body []byte) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, sink, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

// fillPlain stores n leads and their jobs as Plain does, in pipelines.
func fillPlain(ctx context.Context, client redis.UniversalClient, n int) error {
	jobs := asynq.NewClientFromRedisClient(client)
	l := &load{}
	var group errgroup.Group
	group.SetLimit(64)
	for range n {
		id, body := lead.NewID(time.Now(), -1), l.appendLead(nil)
		group.Go(func() error {
			if err := client.HSet(ctx, "bench:"+id, "lead", body).Err(); err != nil {
				return err
			}
			_, err := jobs.EnqueueContext(ctx, asynq.NewTask(yardstickTask, []byte(id)), asynq.Queue(yardstickQueue))
			return err
		})
	}
	return group.Wait()
}

// postAlone posts n leads to a sink with no queue between.
func postAlone(ctx context.Context, sink string, n int) error {
	post, l := newPoster(sink), &load{}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for range n {
		body := l.appendLead(nil)
		group.Go(func() error { return post(ctx, body) })
	}
	return group.Wait()
}
