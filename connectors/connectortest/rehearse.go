package connectortest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// rehearsalChecks are about what operators are shown before anything is sent.
var rehearsalChecks = []check{
	{"a rehearsal changes nothing and tells no secret", needsRehearser, in(func(w *world) {
		w.eachStep(func(ahead *world, change lead.Change, ref string) string {
			before, calls := canonical(w.vendor.Records()), w.calls()
			for _, one := range ahead.rehearsed(change, ref) {
				text := fmt.Sprint(one.Line, one.Header, one.Body)
				for _, secret := range w.h.Secrets {
					if secret != "" && strings.Contains(text, secret) {
						w.Errorf("a %s shows a secret: %s", change.Op, text)
					}
				}
			}
			if after := canonical(w.vendor.Records()); after != before || w.calls() != calls {
				w.Errorf("the rehearsal of a %s reached the vendor", change.Op)
			}
			return ahead.pushed(change, ref)
		})
	})},
	{"a rehearsal shows what the push then sends", both(needsRehearser, needsHTTP), in(func(w *world) {
		w.eachStep(func(ahead *world, change lead.Change, ref string) string {
			want := ahead.rehearsed(change, ref)
			listen, heard := recorded(w.front.server.URL)
			w.front.set(listen)
			newRef := ahead.pushed(change, ref)
			w.front.set(nil)
			got := heard()
			if len(got) != len(want) {
				w.Errorf("a %s sends %d requests, its rehearsal shows %d:\n%s\n%s", change.Op, len(got), len(want), lines(got), lines(want))
				return newRef
			}
			for i := range got {
				if differs := unlike(want[i], got[i]); differs != "" {
					w.Errorf("request %d of a %s is not as rehearsed: %s\nrehearsed: %+v\nsent: %+v", i+1, change.Op, differs, want[i], got[i])
				}
			}
			return newRef
		})
	})},
}

func needsRehearser(can abilities) bool { return can.rehearser }

// calls is how often somebody connected to the vendor or asked it something.
func (w *world) calls() int {
	if w.front == nil {
		return 0
	}
	return w.front.connected() + w.front.seen()
}

// eachStep calls do with a create, an update and a delete of one lead, each with a connector that was just opened, at a
// vendor that had another lead before. do returns the ref.
func (w *world) eachStep(do func(ahead *world, change lead.Change, ref string) string) {
	w.Helper()
	former, l := Sample(1), Sample(2)
	ref := w.pushed(Created(former), "")
	changes := []lead.Change{Created(l)}
	if !w.h.CreatesOnly {
		w.pushed(Deleted(former), ref)
		changes = append(changes, Updated(Edited(l)), Deleted(Edited(l)))
	}
	ref = ""
	for _, change := range changes {
		url := ""
		if w.front != nil {
			url = w.front.server.URL
		}
		ahead := openWorld(w.TB, w.h, w.vendor, w.front, url)
		ref = do(ahead, change, ref)
		ahead.close()
	}
}

func (w *world) rehearsed(change lead.Change, ref string) (shown []connectors.Rehearsed) {
	w.Helper()
	var err error
	w.guarded("Rehearse", func() { shown, err = connectors.Rehearse(context.Background(), w.connector, change, ref) })
	if err != nil {
		w.Errorf("Rehearse of a %s: %v", change.Op, err)
	}
	return shown
}

// recorded passes requests on and keeps them as a rehearsal shows them.
func recorded(base string) (m misbehaviour, heard func() []connectors.Rehearsed) {
	var mu sync.Mutex
	var all []connectors.Rehearsed
	return func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if indented := (&bytes.Buffer{}); json.Indent(indented, body, "", "  ") == nil {
				body = indented.Bytes()
			}
			mu.Lock()
			all = append(all, connectors.Rehearsed{Line: r.Method + " " + base + r.URL.RequestURI(), Header: r.Header.Clone(), Body: string(body)})
			mu.Unlock()
			vendor.ServeHTTP(w, r)
		}, func() []connectors.Rehearsed {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
}

// unlike says what of a request is not as it was rehearsed. Anything may stand where a secret is masked, and any id where
// the rehearsal leaves it open.
func unlike(rehearsed, sent connectors.Rehearsed) string {
	same := func(want, got string) bool {
		pattern := strings.NewReplacer(regexp.QuoteMeta(connectors.Masked), ".+", regexp.QuoteMeta(connectors.UnknownID), `\w+`).Replace(regexp.QuoteMeta(want))
		return regexp.MustCompile("(?s)^" + pattern + "$").MatchString(got)
	}
	for _, name := range slices.Sorted(maps.Keys(rehearsed.Header)) {
		if strings.HasSuffix(name, "Timestamp") {
			continue
		}
		if want, got := rehearsed.Header.Get(name), sent.Header.Get(name); !same(want, got) {
			return "the header " + name
		}
	}
	for name := range sent.Header {
		if rehearsed.Header.Get(name) == "" && !slices.Contains([]string{"Accept-Encoding", "Content-Length"}, name) {
			return "the header " + name
		}
	}
	switch {
	case !same(rehearsed.Line, sent.Line):
		return "its line"
	case !same(rehearsed.Body, sent.Body):
		return "its body"
	}
	return ""
}

func lines(requests []connectors.Rehearsed) string {
	var all []string
	for _, r := range requests {
		all = append(all, r.Line)
	}
	return strings.Join(all, "\n")
}
