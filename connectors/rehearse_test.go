package connectors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// asking is a connector that makes one request for each push.
type asking struct {
	client  *connectors.Client
	request func() *http.Request
	stages  bool // it rehearses as it should
}

func (a asking) Push(ctx context.Context, _ lead.Change, _ string) (string, error) {
	_, err := a.client.Do(a.request().WithContext(ctx))
	return "", err
}

func (a asking) Rehearse(ctx context.Context, change lead.Change, ref string) ([]connectors.Rehearsed, error) {
	if !a.stages {
		_, err := a.Push(ctx, change, ref)
		return nil, err
	}
	vendor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unknown" {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		io.WriteString(w, "{}")
	})
	return connectors.RehearseRequests(ctx, vendor, []string{secret, "pw"}, func(ctx context.Context) error {
		_, err := a.Push(ctx, change, ref)
		return err
	})
}

// secret is written otherwise in each place where it may stand.
const secret = `k3y one/two+three="<&>`

func TestARehearsalMasksSecretsWhereverTheyStand(t *testing.T) {
	client := connectors.NewClient(connectors.ClientOptions{})
	of := func(method, address string, body io.Reader, header ...string) func() *http.Request {
		return func() *http.Request {
			req, err := http.NewRequest(method, address, body)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			return req
		}
	}
	asJSON := func() *http.Request {
		req, err := connectors.NewJSONRequest(context.Background(), "POST", "https://crm.example/", map[string]any{"key": secret, "name": "Zoë"})
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	for name, c := range map[string]struct {
		request func() *http.Request
		want    connectors.Rehearsed // what is to be seen; of the header what is named
	}{
		"in a path":        {of("GET", "https://crm.example/a/"+url.PathEscape(secret)+"/b", nil), connectors.Rehearsed{Line: "GET https://crm.example/a/••••/b"}},
		"in a query":       {of("GET", "https://crm.example/?"+url.Values{"key": {secret}}.Encode(), nil), connectors.Rehearsed{Line: "GET https://crm.example/?key=••••"}},
		"in a form":        {of("POST", "https://crm.example/", strings.NewReader(url.Values{"key": {secret}, "x": {"1"}}.Encode())), connectors.Rehearsed{Body: "key=••••&x=1"}},
		"in JSON":          {asJSON, connectors.Rehearsed{Body: "{\n  \"key\": \"••••\",\n  \"name\": \"Zoë\"\n}"}},
		"in a header":      {of("GET", "https://crm.example/", nil, "X-Key", "v1 "+secret), connectors.Rehearsed{Header: http.Header{"X-Key": {"v1 ••••"}}}},
		"a bearer's token": {of("GET", "https://crm.example/", nil, "Authorization", "Bearer unheard-of"), connectors.Rehearsed{Header: http.Header{"Authorization": {"Bearer ••••"}}}},
		"all of a header":  {of("GET", "https://crm.example/", nil, "Authorization", secret), connectors.Rehearsed{Header: http.Header{"Authorization": {"••••"}}}},
		"a signature":      {of("GET", "https://crm.example/", nil, "Webhook-Signature", "v1,abc v1,def"), connectors.Rehearsed{Header: http.Header{"Webhook-Signature": {"••••"}}}},
		"a short one":      {of("POST", "https://crm.example/", strings.NewReader("user&pw")), connectors.Rehearsed{Body: "user&••••"}},
	} {
		sent, err := connectors.Rehearse(t.Context(), asking{client, c.request, true}, lead.Change{}, "")
		if err != nil || len(sent) != 1 {
			t.Fatalf("%s: %v %+v", name, err, sent)
		}
		if got := sent[0]; c.want.Line != "" && got.Line != c.want.Line || c.want.Body != "" && got.Body != c.want.Body {
			t.Errorf("%s: got %q and %q, want %+v", name, got.Line, got.Body, c.want)
		}
		for header, want := range c.want.Header {
			if got := fmt.Sprint(sent[0].Header[header]); got != fmt.Sprint(want) {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
		if text := fmt.Sprint(sent); strings.Contains(text, "k3y") || strings.Contains(text, "three") {
			t.Errorf("%s: got %s", name, text)
		}
	}
}

func TestNothingIsSentOnAStageWhateverAConnectorDoes(t *testing.T) {
	var visits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer server.Close()
	for name, c := range map[string]struct {
		path    string
		stages  bool
		refused func(error) bool
	}{
		"as it should":       {"/", true, func(err error) bool { return err == nil }},
		"without its vendor": {"/", false, func(err error) bool { return err != nil && strings.Contains(err.Error(), "a rehearsal sends nothing") }},
		"without an answer":  {"/unknown", true, func(err error) bool { return errors.Is(err, connectors.ErrUnanswered) }},
	} {
		request := func() *http.Request {
			req, err := http.NewRequest("POST", server.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return req
		}
		if _, err := connectors.Rehearse(t.Context(), asking{connectors.NewClient(connectors.ClientOptions{}), request, c.stages}, lead.Change{}, ""); !c.refused(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
