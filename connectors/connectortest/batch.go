package connectortest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// batchChecks are about PushBatch being Push for several.
var batchChecks = []check{
	{"a batch of everything does what single pushes do, in order", needsBatcher, func(t testing.TB, h Harness) {
		single, batch := newWorld(t, h), newWorld(t, h)
		for _, w := range []*world{single, batch} {
			items := w.mixture()
			var results []connectors.Result
			if w == batch {
				results = w.pushBatch(items)
			} else {
				for _, item := range items {
					ref, err := w.push(item.Change, item.Ref)
					results = append(results, connectors.Result{Ref: ref, Err: err})
				}
			}
			for i, result := range results {
				c := items[i].Change
				if result.Err != nil {
					w.Errorf("item %d, %s: %v", i, c.Op, result.Err)
					continue
				}
				if c.Op == lead.Delete {
					if left := w.of(c.Lead); len(left) != 0 {
						w.Errorf("item %d is deleted, and still there: %q", i, left)
					}
					continue
				}
				w.holds(c.Lead)
				// The ref must be this lead's: an update through it changes this record and no other.
				edited := Edited(c.Lead)
				w.pushed(Updated(edited), result.Ref)
				w.holds(edited)
			}
		}
		if single.Failed() {
			return
		}
		if one, many := len(single.vendor.Records()), len(batch.vendor.Records()); one != many {
			t.Errorf("single pushes leave %d records, the batch %d", one, many)
		}
	}},
	{"a batch again changes nothing", needsBatcher, in(func(w *world) {
		items := w.mixture()
		first := w.pushBatch(items)
		before := canonical(w.vendor.Records())
		for i := range items {
			items[i].Ref = first[i].Ref
		}
		for i, result := range w.pushBatch(items) {
			if result.Err != nil {
				w.Errorf("item %d: %v", i, result.Err)
			}
		}
		if after := canonical(w.vendor.Records()); after != before {
			w.Errorf("the vendor holds\n%s\nafter the first time\n%s", after, before)
		}
	})},
	{"an empty batch is no call", needsBatcher, in(func(w *world) {
		if got := w.pushBatch(nil); len(got) != 0 {
			w.Errorf("%d results for no items", len(got))
		}
		if w.front != nil && w.front.seen() != 0 {
			w.Errorf("%d requests were sent", w.front.seen())
		}
	})},
	{"the largest batch arrives whole", needsBatcher, in(func(w *world) {
		size := min(w.connector.(connectors.Batcher).MaxBatch(), 500)
		items := make([]connectors.Item, size)
		for i := range items {
			items[i].Change = Created(Sample(i))
		}
		for i, result := range w.pushBatch(items) {
			if result.Err != nil {
				w.Fatalf("item %d: %v", i, result.Err)
			}
		}
		w.count(size)
		w.holds(Sample(0))
		w.holds(Sample(size - 1))
	})},
	{"a bad item fails alone", func(can abilities) bool { return can.batcher && can.badLead }, in(func(w *world) {
		if w.connector.(connectors.Batcher).MaxBatch() < 3 {
			return
		}
		items := []connectors.Item{
			{Change: Created(Sample(1))}, {Change: Created(w.h.BadLead(Sample(2)))}, {Change: Created(Sample(3))},
		}
		results := w.pushBatch(items)
		w.wantFault("the bad item", results[1].Err, connectors.Lead)
		for _, i := range []int{0, 2} {
			switch fault, _ := connectors.FaultOf(results[i].Err); {
			case results[i].Err == nil:
				w.holds(items[i].Change.Lead)
			case fault == connectors.Lead || fault == connectors.Setup:
				w.Errorf("item %d is good and is refused: %v", i, results[i].Err)
			}
		}
	})},
	{"two leads of one address in one batch are not refused", func(can abilities) bool { return can.batcher && !can.event }, in(func(w *world) {
		if w.connector.(connectors.Batcher).MaxBatch() < 2 {
			return
		}
		first, second := Sample(1), Sample(2)
		second.Email = first.Email
		for i, result := range w.pushBatch([]connectors.Item{{Change: Created(first)}, {Change: Created(second)}}) {
			if fault, _ := connectors.FaultOf(result.Err); result.Err != nil && (fault == connectors.Lead || fault == connectors.Setup) {
				w.Errorf("item %d: %v", i, result.Err)
			}
		}
		if w.h.KeyedByEmail {
			w.count(1)
		}
	})},
	{"a batch that fails as a whole fails in each item, with the fault a single push has", both(needsHTTP, needsBatcher), in(func(w *world) {
		items := w.mixture()
		for _, status := range errorStatuses() {
			want := w.status(&connectors.Response{Status: status})
			for _, body := range errorBodies {
				w.front.set(instead(status, http.Header{}, false, body.text(items[0].Change.Lead)))
				for i, result := range w.pushBatch(items) {
					when := fmt.Sprintf("%d with %s: item %d, %s", status, body.name, i, items[i].Change.Op)
					if items[i].Change.Op == lead.Delete {
						continue // of what is not there, it may be no call
					}
					if result.Err == nil {
						w.Errorf("%s: no error", when)
					} else if body.json && want != connectors.Lead {
						// A refusal of the batch may be one item's; the others' must then be tried again.
						w.wantFault(when, result.Err, want)
					}
				}
				if w.Failed() {
					w.Fatalf("stopped at status %d", status)
				}
			}
		}
	})},
	{"a batch whose answer is lost, cut or nonsense claims no record that is not there", both(needsHTTP, needsBatcher), func(t testing.TB, h Harness) {
		answers := map[string]func(http.ResponseWriter, *httptest.ResponseRecorder){
			"lost": lose, "cut": cut, "a page": replaced("text/html", page),
			"empty": replaced("application/json", ""), "null": replaced("application/json", "null"),
			"an object": replaced("application/json", "{}"), "no results": replaced("application/json", `{"results":[],"errors":[]}`),
		}
		for name, answer := range answers {
			w := newWorld(t, h)
			items := w.mixture()
			spoil, _ := w.front.onChange(1, answer)
			w.front.set(spoil)
			results := w.pushBatch(items)
			w.front.set(nil)
			for i, result := range results {
				c := items[i].Change
				if result.Err == nil {
					if c.Op != lead.Delete {
						w.holds(c.Lead)
					}
					continue
				}
				if fault, _ := connectors.FaultOf(result.Err); fault == connectors.Lead || fault == connectors.Setup {
					w.Errorf("%s: item %d: the fault is %v: %v", name, i, fault, result.Err)
				}
				ref := items[i].Ref
				if ref == "" && c.Op != lead.Delete {
					ref = w.recovered(c.Lead)
				}
				w.pushed(c, ref)
				if c.Op != lead.Delete {
					w.holds(c.Lead)
				}
			}
		}
	}},
}

// pushBatch checks what every answer to a batch must be.
func (w *world) pushBatch(items []connectors.Item) (results []connectors.Result) {
	w.Helper()
	batcher := w.connector.(connectors.Batcher)
	if most := batcher.MaxBatch(); most < 1 {
		w.Fatalf("MaxBatch is %d", most)
	}
	for _, item := range items {
		w.meet(item.Change.Lead)
	}
	w.guarded("PushBatch", func() { results = batcher.PushBatch(context.Background(), items) })
	if len(results) != len(items) {
		w.Fatalf("%d results for %d items", len(results), len(items))
	}
	for _, result := range results {
		w.inspect("PushBatch", result.Err)
	}
	return results
}

// mixture prepares as many different changes as fit into a batch, creates among them.
func (w *world) mixture() []connectors.Item {
	w.Helper()
	create, other := connectors.Item{Change: Created(Sample(1))}, connectors.Item{Change: Created(Sample(2))}
	known, gone := Sample(3), Sample(4)
	update := connectors.Item{Change: Updated(Edited(known)), Ref: w.pushed(Created(known), "")}
	remove := connectors.Item{Change: Deleted(gone), Ref: w.pushed(Created(gone), "")}
	moved := Sample(5)
	movedRef := w.pushed(Created(moved), "")
	moved = Edited(moved)
	moved.Email = "somebody.else@example.org"
	items := []connectors.Item{
		create, update, remove,
		{Change: Deleted(Sample(6))},         // never pushed
		{Change: Updated(Edited(Sample(7)))}, // not there
		{Change: Updated(moved), Ref: movedRef},
		other,
	}
	return items[:min(len(items), w.connector.(connectors.Batcher).MaxBatch())]
}
