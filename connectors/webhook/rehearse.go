package webhook

import (
	"context"
	"net/http"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Rehearse shows the POST of a change. Its URL is a secret.
func (h *hook) Rehearse(ctx context.Context, change lead.Change, ref string) ([]connectors.Rehearsed, error) {
	receiver := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	sent, err := connectors.RehearseRequests(ctx, receiver, h.Secrets(), func(ctx context.Context) error {
		_, err := h.Push(ctx, change, ref)
		return err
	})
	for i := range sent {
		sent[i].Line = http.MethodPost + " " + connectors.Masked // however the URL is written in it
	}
	return sent, err
}
