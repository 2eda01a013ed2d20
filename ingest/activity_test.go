package ingest_test

import (
	"maps"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/sources"
	"github.com/leadrelay/leadrelay/internal/store"
)

// accepted counts the leads accepted in the last hour, by source.
func (a *api) accepted() map[string]int64 {
	a.t.Helper()
	activity, err := a.store.Activity(a.t.Context(), store.LastHour)
	if err != nil {
		a.t.Fatal(err)
	}
	counts := map[string]int64{}
	for name, steps := range activity.Sources {
		for _, n := range steps {
			counts[name] += n
		}
	}
	return counts
}

func TestAcceptedLeadsAreCountedBySourceHoweverTheyCome(t *testing.T) {
	for _, dedupe := range []bool{false, true} {
		name := map[bool]string{false: "each a lead", true: "dedupe"}[dedupe]
		t.Run(name, func(t *testing.T) {
			a := start(t, func(o *ingest.Options) {
				f := contact()
				f.Source = "site"
				o.Forms = []ingest.Form{f}
				o.Sources = []ingest.Source{openSource(t, "typeform", map[string]any{"secret": typeformSecret}, sources.Options{})}
				o.Dedupe = dedupe
			})
			if got := a.do("POST", "/api/v1/leads", full, `{"email":"one@example.com","source":"shop"}`); got.status != 200 {
				t.Fatalf("got %+v", got)
			}
			if got := a.do("POST", "/api/v1/leads", full, `{"email":"two@example.com"}`); got.status != 200 {
				t.Fatalf("got %+v", got)
			}
			if got := a.do("POST", "/api/v1/leads", full, `{"email":"no address","source":"shop"}`); got.status != 422 {
				t.Fatalf("got %+v", got)
			}
			if got := a.batch(array(`{"email":"three@example.com","source":"shop"}`, `{"email":"four@example.com","source":"fair"}`, `{"source":"fair"}`)); got.status != 200 {
				t.Fatalf("got %+v", got)
			}
			if got := a.fill("email=five@example.com"); got.status >= 400 {
				t.Fatalf("the form was answered %+v", got)
			}
			body := submission("t1", "six@example.com")
			if got := a.deliver(body, typeformSign(body)); got.status != 200 {
				t.Fatalf("got %+v", got)
			}
			want := map[string]int64{"shop": 2, "": 1, "fair": 1, "site": 1, "test": 1}
			var got map[string]int64
			for end := time.Now().Add(time.Minute); !maps.Equal(got, want); {
				if got = a.accepted(); time.Now().After(end) {
					t.Fatalf("got %v, want %v", got, want)
				}
			}
		})
	}
}
