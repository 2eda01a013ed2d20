package console

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/leadrelay/leadrelay/internal/store"
)

// activityFor is how old the charts are at most.
const activityFor = 10 * time.Second

// activity is the charts of a span, as they stand in the overview.
type activity struct {
	Span     string                   `json:"-"`
	Pushes   map[string]template.HTML `json:"pushes"` // by connector
	Accepted template.HTML            `json:"accepted"`

	event []byte // all of it, for who watches
}

// drawn keeps the charts for all who look at them.
type drawn struct {
	drawing *semaphore.Weighted // of one: others wait for what is drawn
	last    map[string]*activity
	at      map[string]time.Time
}

func (d *drawn) init() {
	d.drawing, d.last, d.at = semaphore.NewWeighted(1), map[string]*activity{}, map[string]time.Time{}
}

// spanOf is the span that is asked for.
func spanOf(r *http.Request) store.Span {
	if r.URL.Query().Get("span") == store.LastDay.Name {
		return store.LastDay
	}
	return store.LastHour
}

// activity returns the charts of a span, a moment old.
func (s *site) activity(ctx context.Context, span store.Span) (*activity, error) {
	d := &s.drawn
	if err := d.drawing.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer d.drawing.Release(1)
	if d.last[span.Name] != nil && time.Since(d.at[span.Name]) < activityFor {
		return d.last[span.Name], nil
	}
	began := time.Now()
	counted, err := s.Store.Activity(ctx, span)
	if err != nil {
		return nil, err
	}
	a := &activity{Span: span.Name, Pushes: map[string]template.HTML{}, Accepted: fragment("accepted", newAcceptedChart(counted))}
	for _, c := range s.Store.Connectors() {
		a.Pushes[c.Name] = fragment("pushes", newPushesChart(c.Name, counted))
	}
	if a.event, err = json.Marshal(a); err != nil {
		return nil, err
	}
	d.last[span.Name], d.at[span.Name] = a, began
	return a, nil
}

// fragment renders a part of the overview.
func fragment(name string, data any) template.HTML {
	var out bytes.Buffer
	if err := pages()["overview"].ExecuteTemplate(&out, name, data); err != nil {
		panic(err) // of templates that are ours
	}
	return template.HTML(bytes.TrimSpace(out.Bytes())) // which escaped what it was given
}
