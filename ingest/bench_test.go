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
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// BenchmarkCreate accepts leads on a real Redis, 64 at once, without the network in front.
func BenchmarkCreate(b *testing.B) {
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
	handler := ingest.New(ingest.Options{Store: s, Log: log, Metrics: prometheus.NewRegistry(), Keys: []ingest.Key{{Name: "full", Secret: full, Scope: ingest.Full}}})
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32) // per core
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := fmt.Sprintf(`{"name":"John Doe","email":"john%d@gmail.com","source":"website","note":"Might be interested in React course"}`, n.Add(1))
			req := httptest.NewRequest(http.MethodPost, "/api/v1/leads", strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+full)
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			if w.Code != 200 {
				b.Fatal(w.Code, w.Body.String())
			}
		}
	})
}
