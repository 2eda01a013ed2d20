package ingest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/ingest"
)

// BenchmarkForm posts the leads of BenchmarkCreate as a browser does, each looked at for double submits.
func BenchmarkForm(b *testing.B) {
	benchmarkRequests(b, 1, func(n int64) *http.Request {
		req := httptest.NewRequest(http.MethodPost, "/f/contact", strings.NewReader(fmt.Sprintf(
			"name=John+Doe&email=john%d%%40gmail.com&note=Might+be+interested+in+React+course", n)))
		req.Header.Set("Origin", "https://www.example.com")
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req
	}, ingest.Form{Name: "contact", Origins: []string{"https://www.example.com"}, Source: "website", DoubleSubmit: 10 * time.Minute})
}

// BenchmarkCreateOnce is BenchmarkCreate with idempotency keys.
func BenchmarkCreateOnce(b *testing.B) {
	benchmarkRequests(b, 1, func(n int64) *http.Request {
		req := httptest.NewRequest(http.MethodPost, "/api/v1/leads", strings.NewReader(benchLead(n)))
		req.Header.Set("Authorization", "Bearer "+full)
		req.Header.Set("Idempotency-Key", fmt.Sprint(n))
		req.Header.Set("Content-Type", "application/json")
		return req
	})
}
