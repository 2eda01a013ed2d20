package connectors_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// callTo makes one request and returns what is told of it.
func callTo(t *testing.T, opts connectors.ClientOptions, answer http.HandlerFunc, method, path, body string) connectors.Call {
	t.Helper()
	vendor := httptest.NewServer(answer)
	defer vendor.Close()
	client := connectors.NewClient(opts)
	defer client.Close()
	var calls connectors.Calls
	ctx := connectors.WithCalls(t.Context(), &calls)
	req, err := http.NewRequestWithContext(ctx, method, vendor.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client.Do(req)
	list := calls.List()
	if len(list) != 1 {
		t.Fatalf("%d calls are told of, want 1: %+v", len(list), list)
	}
	return list[0]
}

func TestP7ACallIsToldOfWithoutSecretsAndPersonalData(t *testing.T) {
	refuse := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"status":400,"errors":[{"code":"INVALID","message":"Jane Roe <jane@example.com> is not valid","owner":"Bob Stone"}],
			"record":{"id":123456789,"nickname":"Bobby","token":"hunter2-hunter2"},"detail":"token hunter2-hunter2 was used"}`)
	}
	call := callTo(t, connectors.ClientOptions{Secrets: []string{"hunter2-hunter2"}}, refuse, http.MethodPost,
		"/crm/hunter2-hunter2/contacts/jane%40example.com?email=jane@example.com&limit=1", `{"name":"Jane Roe","email":"jane@example.com"}`)
	if call.Line != "POST /crm/<redacted>/contacts/<redacted>?email=•••&limit=•••" {
		t.Errorf("the line is %q", call.Line)
	}
	for _, secret := range []string{"hunter2", "jane", "Jane", "Roe", "Bob", "123456789"} {
		if strings.Contains(call.Line+call.Said, secret) {
			t.Errorf("%q is told: %s: %s", secret, call.Line, call.Said)
		}
	}
	for _, telling := range []string{"INVALID", "is not valid", "nickname", "400"} {
		if !strings.Contains(call.Said, telling) {
			t.Errorf("%q is not told: %s", telling, call.Said)
		}
	}
	if call.Status != http.StatusBadRequest {
		t.Errorf("the status is %d", call.Status)
	}
}

func TestACallThatSucceedsIsToldOfWithoutItsAnswer(t *testing.T) {
	call := callTo(t, connectors.ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"7"}`)
	}, http.MethodPut, "/lists/7/members/abc", `{}`)
	if call.Line != "PUT /lists/7/members/abc" || call.Status != http.StatusCreated || call.Said != "" {
		t.Errorf("told of %+v", call)
	}
}

func TestACallToASecretAddressIsToldOfWithoutIt(t *testing.T) {
	call := callTo(t, connectors.ClientOptions{SecretURL: true}, func(w http.ResponseWriter, r *http.Request) {}, http.MethodPost, "/T0/B0/x", `{}`)
	if call.Line != "POST" {
		t.Errorf("the line is %q", call.Line)
	}
}

func TestACallWithoutAnAnswerSaysWhy(t *testing.T) {
	call := callTo(t, connectors.ClientOptions{Timeout: 100 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}, http.MethodGet, "/contacts", ``)
	if call.Status != 0 || !strings.Contains(call.Said, "no answer: timed out") {
		t.Errorf("told of %+v", call)
	}
}
