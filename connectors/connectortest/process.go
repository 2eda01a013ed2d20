package connectortest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// processChecks are about many goroutines, many instances, and the end.
var processChecks = []check{
	{"twenty goroutines with as many leads do not disturb each other", needsChanges, in(func(w *world) {
		const people = 20
		failures := make(chan string, people)
		var group sync.WaitGroup
		for i := range people {
			w.meet(Sample(i))
			group.Go(func() {
				fail := func(step string, err error) { failures <- fmt.Sprintf("lead %d: %s: %v", i, step, err) }
				ctx := context.Background()
				l := Sample(i)
				ref, err := w.connector.Push(ctx, Created(l), "")
				if err != nil {
					fail("create", err)
					return
				}
				l = Edited(l)
				if ref, err = w.connector.Push(ctx, Updated(l), ref); err != nil {
					fail("update", err)
					return
				}
				if i%2 == 0 {
					if _, err = w.connector.Push(ctx, Deleted(l), ref); err != nil {
						fail("delete", err)
					}
				}
			})
		}
		w.guarded("Push in many goroutines", group.Wait)
		close(failures)
		for failure := range failures {
			w.Errorf("%s", failure)
		}
		if w.Failed() {
			return
		}
		w.count(people / 2)
		for i := 1; i < people; i += 2 {
			w.holds(Edited(Sample(i)))
		}
	})},
	{"two connectors of one kind do not mix", nil, func(t testing.TB, h Harness) {
		first, second := newWorld(t, h), newWorld(t, h)
		first.pushed(Created(Sample(1)), "")
		second.pushed(Created(Sample(2)), "")
		first.count(1)
		first.holds(Sample(1))
		second.count(1)
		second.holds(Sample(2))
	}},
	{"a connector opened anew goes on where the last one stopped", needsChanges, func(t testing.TB, h Harness) {
		first := newWorld(t, h)
		l := Sample(1)
		ref := first.pushed(Created(l), "")
		baseURL := ""
		if first.front != nil {
			baseURL = first.front.server.URL
		}
		second := openWorld(t, h, first.vendor, first.front, baseURL)
		l = Edited(l)
		ref = second.pushed(Updated(l), ref)
		first.count(1)
		first.holds(l)
		second.pushed(Deleted(l), ref)
		first.count(0)
	}},
	{"connections are used again", needsHTTP, in(func(w *world) {
		for i := range 10 {
			w.pushed(Created(Sample(i)), "")
		}
		if made := w.front.connected(); made > 3 {
			w.Errorf("%d connections for 10 pushes, one after the other", made)
		}
	})},
	{"nothing runs on after Close, nor of a connector that has none", nil, func(t testing.TB, h Harness) {
		before := goleak.IgnoreCurrent()
		w := newWorld(t, h)
		w.pushed(Created(Sample(1)), "")
		w.close()
		if w.front != nil {
			w.front.close()
		}
		if err := goleak.Find(before); err != nil {
			t.Errorf("%v", err)
		}
	}},
}
