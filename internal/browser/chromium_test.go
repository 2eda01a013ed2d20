package browser

import (
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

// patience is how long a test waits for what must come; it is never waited out when all is well.
const patience = time.Minute

func TestMain(m *testing.M) {
	code := redistest.Main(m)
	chromium.Stop()
	os.Exit(code)
}

// tab is a page of a visitor.
type tab struct{ *chromium.Tab }

// visitor opens a browser.
func visitor(t *testing.T) *tab {
	t.Helper()
	v := &tab{chromium.Open(t, "form", patience)}
	v.Do(chromedp.EmulateViewport(900, 900))
	return v
}

func (v *tab) open(url string) {
	v.T.Helper()
	v.Do(chromedp.Navigate(url))
}

// wait waits for what a channel tells.
func (v *tab) wait(told <-chan struct{}) {
	v.T.Helper()
	select {
	case <-told:
	case <-time.After(patience):
		v.T.Fatal("never told")
	}
}

// arrive does what leads to another page and waits until that is loaded.
func (v *tab) arrive(actions ...chromedp.Action[chromedp.Void]) *network.Response {
	v.T.Helper()
	response, err := chromedp.RunResponse(v.Ctx, actions...)
	if err != nil {
		v.T.Fatal(err)
	}
	return response
}

func (v *tab) text(css string) string {
	v.T.Helper()
	return chromium.Eval[string](v.Tab, "(document.querySelector("+chromium.Quote(css)+")?.innerText ?? '').trim()")
}

// fill writes into fields by their names, as with a keyboard.
func (v *tab) fill(fields ...string) {
	v.T.Helper()
	for i := 0; i+1 < len(fields); i += 2 {
		v.Do(chromedp.SendKeys(chromedp.CSS("[name="+chromium.Quote(fields[i])+"]"), fields[i+1]))
	}
}

// refill replaces what a field has.
func (v *tab) refill(name, value string) {
	v.T.Helper()
	chromium.Eval[any](v.Tab, "document.querySelector('[name='+"+chromium.Quote(chromium.Quote(name))+"+']').select()")
	v.fill(name, value)
}

// offline cuts the tab from every network, or connects it again.
func (v *tab) offline(is bool) {
	v.T.Helper()
	chromium.Call(v.Tab, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
	chromium.Call(v.Tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}},
	})
}

// emulate sets what a visitor prefers, such as prefers-color-scheme.
func (v *tab) emulate(feature, value string) {
	v.T.Helper()
	chromium.Call(v.Tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	})
}

// scripts turns the JavaScript of pages on or off.
func (v *tab) scripts(on bool) {
	v.T.Helper()
	chromium.Call(v.Tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}
