package console_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/store"
)

// wouldSend is of a connector hubspot, and of others that send nothing of what they hold.
func wouldSend(_ context.Context, connector string, held store.Held) console.Sending {
	if connector != "hubspot" && connector != "crm" {
		return console.Sending{Verdict: console.VerdictRejected, Note: "field FNAME: the template does not fit this lead"}
	}
	return console.Sending{Requests: []console.SendingRequest{
		{
			Line:   "POST https://api." + connector + ".com/crm/v3/objects/contacts/batch/upsert",
			Header: http.Header{"Authorization": {"Bearer ••••"}, "Content-Type": {"application/json"}},
			Body:   fmt.Sprintf("{\n  \"email\": %q,\n  \"revision\": %d\n}\n%s", held.Lead.Email, held.Lead.Revision, strings.Repeat("a long line of what is sent ", 60)),
		},
		{Line: "DELETE https://api." + connector + ".com/crm/v3/objects/contacts/" + held.Record.Ref},
	}}
}

func TestWhatWouldBeSentIsShownBeforeItIs(t *testing.T) {
	w := newWorld(t, func(_ *world, o *console.Options) { o.WouldSend = wouldSend })
	l := w.add("Jane", "jane@example.com", "web", nil)
	w.work("newsletter", parked("newsletter: field FNAME: does not fit"))
	w.work("crm", done)
	b := w.operator()

	for page, link := range map[string]string{b.page("/console/leads/" + l.ID): "/sends/crm", b.page("/console/failed"): "/sends/newsletter"} {
		if !strings.Contains(page, `href="/console/leads/`+l.ID+link+`"`) {
			t.Errorf("there is no link to %s in %s", link, words(page))
		}
	}
	page := b.page("/console/leads/" + l.ID + "/sends/crm")
	says(t, page, "What would be sent to crm", "POST https://api.crm.com/crm/v3/objects/contacts/batch/upsert", "2 headers", "Authorization Bearer ••••",
		`&#34;email&#34;: &#34;jane@example.com&#34;, &#34;revision&#34;: 1`, "DELETE https://api.crm.com/crm/v3/objects/contacts/remote-", "Push it now")
	page = b.page("/console/leads/" + l.ID + "/sends/newsletter")
	says(t, page, "It failed last time: newsletter: field FNAME: does not fit", "The lead does not fit.", "field FNAME: the template does not fit this lead")
	if strings.Contains(page, "Push it now") {
		t.Error("what does not fit is to be pushed")
	}
	for _, path := range []string{"/console/leads/" + l.ID + "/sends/nobody", "/console/leads/lead_none/sends/crm"} {
		if a := b.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: got %d", path, a.status)
		}
	}
	if acts := w.acts(); len(acts) != 1 {
		t.Errorf("to look is an act: %v", acts)
	}

	// A lead that is deleted is shown until each connector has confirmed.
	if err := w.store.Delete(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	page = b.page("/console/leads/" + l.ID + "/sends/crm")
	says(t, page, "A deleted lead", "&#34;revision&#34;: 2")
}
