package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/store"
)

// went notes what went on in a step of a span so many steps ago, as the processes of then did: of what, "connectors" or
// "sources", of which name, and its counters.
func (w *world) went(span store.Span, ago int64, of, name, counters string) {
	w.t.Helper()
	step := w.store.Now().UnixMilli()/span.Step.Milliseconds() - ago
	key := fmt.Sprintf("lr:{activity}:%s:%s:%d", of, span.Name, step/int64(span.Steps))
	if err := w.redis.Client.HSet(w.t.Context(), key, fmt.Sprint(step, " ", name), counters).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// lively lets a lot have gone on lately.
func (w *world) lively() {
	w.t.Helper()
	for _, span := range []store.Span{store.LastHour, store.LastDay} {
		for ago := range int64(span.Steps) {
			wave := (ago*ago/7 + 13*ago) % 40
			w.went(span, ago, "connectors", "hubspot", fmt.Sprintf("%d 0 0 0 %d %d 2 %d", 20+wave, 10+wave, wave, wave%3))
			if ago > 25 {
				w.went(span, ago, "connectors", "erp", fmt.Sprintf("%d %d 0 0 0 0 0 0 3 8 %d", 30-wave/2, max(0, wave-36), wave%9))
			} else if ago%3 == 0 {
				w.went(span, ago, "connectors", "erp", "0 12 0 0 0 0 0 0 0 0 0 0 0 0 0 1")
			}
			if ago%9 == 2 {
				w.went(span, ago, "connectors", "mailchimp", "1 0 0 0 0 0 0 1")
			}
			w.went(span, ago, "sources", "website", fmt.Sprint(15+wave))
			if ago%11 < 4 {
				w.went(span, ago, "sources", "webinar-2026", fmt.Sprint(wave/3))
			}
			w.went(span, ago, "sources", "", "1")
		}
	}
	for i := range int64(20) {
		w.went(store.LastHour, i, "sources", fmt.Sprint("fair number ", i), "1")
	}
}

func TestTheOverviewShowsWhatWentOn(t *testing.T) {
	w := newWorld(t, nil)
	w.went(store.LastHour, 3, "connectors", "crm", "1200 0 0 0 8 2")
	w.went(store.LastHour, 1, "connectors", "crm", "34 5 0 0 8 2")
	w.went(store.LastDay, 3, "connectors", "crm", "4000 7 0 0 0 0 0 0 0 0 1")
	w.went(store.LastDay, 100, "connectors", "newsletter", "5")
	w.went(store.LastHour, 70, "connectors", "newsletter", "5")
	w.went(store.LastHour, 2, "connectors", "taken-out", "777")
	for i := range int64(12) {
		w.went(store.LastHour, 5, "sources", fmt.Sprintf("fair-%02d <b>", i), fmt.Sprint(100-i))
	}
	w.went(store.LastDay, 5, "sources", "", "2500")
	b := w.operator()
	page := b.page("/console")
	says(t, page,
		"1 234 synced, at most 1 200/min 5 failed", "Calls: half within 19 ms , 95 % within 43 ms",
		"Nothing was pushed in the last hour.", "fair-00 &lt;b&gt; 100", "fair-09 &lt;b&gt; 91", "2 more sources 179",
	)
	day := b.page("/console?span=day")
	says(t, day, "4 000 synced, at most 400/min 7 failed", "5 synced, at most 0.5/min", "without a source 2 500")
	for page, has := range map[string][]string{
		page: {
			`aria-label="Synced per minute to crm over the last hour: 1` + "\u202f" + `234 in all, at most 1` + "\u202f" + `200 a minute. 5 failed."`,
			`aria-label="How long calls to crm took over the last hour: half of them 19 ms at most, 95 of 100 43 ms at most."`,
			`<a href="/console" aria-current="true">Last hour</a>`, `data-live="/console/live?span=hour"`,
		},
		day: {`<a href="/console?span=day" aria-current="true">Last day</a>`, `data-live="/console/live?span=day"`},
	} {
		for _, part := range has {
			if !strings.Contains(page, part) {
				t.Errorf("%s is not in %s", part, page)
			}
		}
		for _, part := range []string{"777", "<b>", "fair-11", "style="} {
			if strings.Contains(page, part) {
				t.Errorf("%s is in the page", part)
			}
		}
	}
}

func TestChartsAreAccessibleInEveryLook(t *testing.T) {
	if axe() == "" {
		missing(t, "axe-core, found by NODE_PATH: npm install axe-core")
	}
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 390, 844}, {"phone-dark", "dark", 360, 740}} {
		t.Run(look.name, func(t *testing.T) {
			w, _, _ := furnished(t)
			w.lively()
			v := w.tab(t)
			v.look(look.scheme, look.width, look.height)
			v.login()
			for _, span := range []string{"hour", "day"} {
				v.open("/console?span=" + span)
				v.Until("document.querySelector('.live.on')")
				v.Picture(span)
				v.accessible(span)
				// What is drawn is there to be seen.
				if n := chromium.Eval[int](v.Tab, `[...document.querySelectorAll("[data-connector=erp] svg, [data-accepted] svg")].filter((s) => s.getBoundingClientRect().width > 60 && s.getBoundingClientRect().height > 20).length`); n < 4 {
					t.Errorf("%d charts are drawn", n)
				}
				if !chromium.Eval[bool](v.Tab, `document.querySelector("[data-connector=erp] path.failures").getBBox().height > 1`) {
					t.Error("failures are not seen")
				}
			}
			v.quiet()
		})
	}
}

func TestChartsFollowWhatHappens(t *testing.T) {
	w := newWorld(t, nil)
	v := w.tab(t)
	v.login()
	v.Until("document.querySelector('.live.on')")
	v.reads("[data-pushes=crm]", "Nothing was pushed in the last hour.")
	v.reads("[data-accepted]", "No lead was accepted in the last hour.")
	chromium.Eval[any](v.Tab, "window.same = true; null")
	other := w.process("crm", "newsletter")
	for range 7 {
		other.CountSynced("crm")
		other.CountAccepted("<i>website</i>")
	}
	other.CountFailed("newsletter", "lead", "400")
	other.CountCall("crm", 30*time.Millisecond)
	v.reads("[data-pushes=crm]", "7 synced, at most 7/min")
	v.reads("[data-pushes=crm]", "half within")
	v.reads("[data-pushes=newsletter]", "1 failed")
	v.reads("[data-accepted] tbody", "<i>website</i>")
	if !chromium.Eval[bool](v.Tab, "window.same") {
		t.Error("the page was loaded again")
	}
	v.quiet()
}

func TestTheSpanIsChosenWithoutScripts(t *testing.T) {
	w := newWorld(t, func(w *world, _ *console.Options) { w.went(store.LastDay, 100, "connectors", "crm", "5") })
	v := w.tab(t)
	if _, err := chromedp.Call(v.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	v.login()
	v.reads("[data-pushes=crm]", "Nothing was pushed in the last hour.")
	v.click(".spans a[href='/console?span=day']")
	v.reads("[data-pushes=crm]", "5 synced")
	v.click(".spans a[href='/console']")
	v.reads("[data-pushes=crm]", "Nothing was pushed")
}
