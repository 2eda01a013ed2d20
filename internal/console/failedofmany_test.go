package console_test

import (
	"fmt"
	"testing"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// However many connectors have failed leads, the page looks at no more than it can show in time.
func TestTheFailedOfManyConnectorsShareAPage(t *testing.T) {
	var names []store.Connector
	for i := range 20 {
		names = append(names, store.Connector{Name: fmt.Sprintf("connector-%02d", i)})
	}
	w := newWorld(t, func(w *world, _ *console.Options) { w.store.SetConnectors(names) })
	leads := make([]store.NewLead, 130)
	for i := range leads {
		email := fmt.Sprintf("person%d@example.com", i)
		leads[i].Patch = lead.Patch{Email: &email}
	}
	for _, made := range w.store.CreateMany(t.Context(), leads) {
		if made.Err != nil {
			t.Fatal(made.Err)
		}
	}
	for _, c := range names {
		w.work(c.Name, parked("400 Bad Request"))
	}
	b := w.operator()
	says(t, b.page("/console/failed"), "connector-00 130 leads", "connector-19 130 leads", "Grouped are the latest 100; pushing again takes them all.", "100 400 Bad Request")
	if said, _ := b.say("/console/failed/push", "connector", "connector-07"); said != "130 leads will be pushed to connector-07 again." {
		t.Errorf("said %q", said)
	}
}
