package connectortest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// privacyChecks are about what must never show. Besides them, every world reads every error, log line and URL.
var privacyChecks = []check{
	{"printing the connector shows no secret", nil, in(func(w *world) {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			w.shown(verb, fmt.Sprintf(verb, w.connector))
		}
		if text, err := json.Marshal(w.connector); err == nil {
			w.shown("JSON", string(text))
		}
		if limited, ok := w.connector.(connectors.Limited); ok {
			w.shown("the limits' scope", limited.Limits().Scope)
		}
	})},
	{"a reason that repeats the request shows nothing of the lead", needsHTTP, in(func(w *world) {
		for _, status := range []int{400, 401, 403, 409, 422, 429, 500} {
			for _, m := range w.h.mutations()[:min(2, len(w.h.mutations()))] {
				l := Sample(status)
				w.meet(l)
				w.front.set(nil)
				change, ref := m.prepare(w, l)
				w.front.set(instead(status, http.Header{"Content-Type": {"application/json"}}, true, errorBodies[0].text(change.Lead)))
				w.push(change, ref) // push reads the error
			}
		}
	})},
	{"limits make sense", nil, in(func(w *world) {
		limited, ok := w.connector.(connectors.Limited)
		if !ok {
			return
		}
		limits := limited.Limits()
		senseless := func(rate connectors.Rate) bool { return rate.Most < 1 || rate.Per < time.Millisecond }
		if limits.Concurrency < 0 || slices.ContainsFunc(limits.Rates, senseless) {
			w.Errorf("got %+v", limits)
		}
	})},
}

func (w *world) shown(where, text string) {
	w.Helper()
	for _, secret := range w.h.Secrets {
		if secret != "" && strings.Contains(text, secret) {
			w.Errorf("%s shows a secret", where)
		}
	}
}
