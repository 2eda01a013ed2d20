package webhook

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func checked(t *testing.T, settings map[string]any) error {
	t.Helper()
	c, err := Kind.Open(settings, connectors.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.(*hook).Close() })
	return c.(connectors.Checker).Check(context.Background())
}

// TestACheckReachesTheAddressAndTellsNoEvent: whatever the receiver says to what is no event.
func TestACheckReachesTheAddressAndTellsNoEvent(t *testing.T) {
	for _, status := range []int{200, 204, 302, 401, 404, 405, 500} {
		var asked atomic.Value
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength != 0 || r.Header.Get("webhook-id") != "" || r.Header.Get("webhook-signature") != "" {
				t.Errorf("it looks like an event: %d bytes, %v", r.ContentLength, r.Header)
			}
			asked.Store(r.Method)
			w.WriteHeader(status)
		}))
		if err := checked(t, map[string]any{"url": server.URL, "secret": testSecret, "allow_private": true}); err != nil || asked.Load() != "OPTIONS" {
			t.Errorf("%d: %v, asked %v", status, err, asked.Load())
		}
		server.Close()
	}
}

func TestACheckSaysWhyTheAddressIsNotReached(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, row := range map[string]struct {
		settings map[string]any
		fault    connectors.Fault
		says     string
	}{
		"a certificate that is not trusted": {map[string]any{"url": server.URL, "allow_private": true}, connectors.Setup, "certificate"},
		"a private address":                 {map[string]any{"url": server.URL}, connectors.Setup, "allow_private"},
		"nobody listens":                    {map[string]any{"url": "http://" + closed.Addr().String() + "/t0ken", "allow_private": true}, connectors.Remote, "refused"},
	} {
		err := checked(t, row.settings)
		if fault, _ := connectors.FaultOf(err); err == nil || fault != row.fault || !strings.HasPrefix(err.Error(), "webhook: check: ") || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: the fault %v: %v, want %v with %q", name, fault, err, row.fault, row.says)
		}
		if err != nil && strings.Contains(err.Error(), "t0ken") {
			t.Errorf("%s: it tells the address: %v", name, err)
		}
	}
}
