package ingest_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// BenchmarkCreate accepts leads on a real Redis, 64 at once, without the network in front.
func BenchmarkCreate(b *testing.B) {
	benchmark(b, "/api/v1/leads", 1, benchLead)
}

// BenchmarkBatch accepts the same leads by the thousand. Of each benchmark cpu-µs/lead is what is to be compared: what a
// lead costs this process and Redis together.
func BenchmarkBatch(b *testing.B) {
	const each = 1000
	benchmark(b, "/api/v1/leads/batch", each, func(n int64) string {
		leads := make([]string, each)
		for i := range leads {
			leads[i] = benchLead(n*each + int64(i))
		}
		return "[" + strings.Join(leads, ",") + "]"
	})
}

func benchLead(n int64) string {
	return fmt.Sprintf(`{"name":"John Doe","email":"john%d@gmail.com","source":"website","note":"Might be interested in React course"}`, n)
}

// benchmark sends bodies that hold so many leads each.
func benchmark(b *testing.B, path string, each int, body func(n int64) string) {
	benchmarkRequests(b, each, func(n int64) *http.Request {
		req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body(n)))
		req.Header.Set("Authorization", "Bearer "+full)
		req.Header.Set("Content-Type", "application/json")
		return req
	})
}

// benchmarkRequests sends requests that hold so many leads each.
func benchmarkRequests(b *testing.B, each int, request func(n int64) *http.Request, forms ...ingest.Form) {
	r := redistest.StartAlone(b)
	r.Configure(b, "appendfsync", "everysec")
	client := store.Connect(r.Options())
	defer client.Close()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := store.New(context.Background(), client, []store.Connector{{Name: "hook", Event: true}}, log)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	handler := ingest.New(ingest.Options{Store: s, Log: log, Metrics: prometheus.NewRegistry(), Forms: forms, Keys: []ingest.Key{{Name: "full", Secret: full, Scope: ingest.Full}}})
	spent := func() time.Duration {
		var own syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
			b.Fatal(err)
		}
		var user, system float64
		for line := range strings.Lines(client.Info(context.Background(), "cpu").Val()) {
			fmt.Sscanf(line, "used_cpu_sys:%f", &system)
			fmt.Sscanf(line, "used_cpu_user:%f", &user)
		}
		return time.Duration(own.Utime.Nano()+own.Stime.Nano()) + time.Duration((user+system)*float64(time.Second))
	}
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32) // per core
	b.ResetTimer()
	before := spent()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request(n.Add(1)))
			if w.Code != 200 {
				b.Fatal(w.Code, w.Body.String())
			}
		}
	})
	b.ReportMetric(float64((spent()-before).Microseconds())/float64(n.Load())/float64(each), "cpu-µs/lead")
}
