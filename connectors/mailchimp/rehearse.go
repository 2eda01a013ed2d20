package mailchimp

import (
	"context"
	"encoding/json"
	"net/http"
	"path"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Rehearse shows the requests of a push to an audience in which everybody who is known is subscribed.
func (c *connector) Rehearse(ctx context.Context, change lead.Change, ref string) ([]connectors.Rehearsed, error) {
	return connectors.RehearseRequests(ctx, http.HandlerFunc(c.audience), []string{c.APIKey.Reveal()}, func(ctx context.Context) error {
		_, err := c.Push(ctx, change, ref)
		return err
	})
}

// audience answers in Mailchimp's place: whatever it is asked to do, it does.
func (c *connector) audience(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodDelete, http.MethodPost:
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		json.NewEncoder(w).Encode(map[string]any{"id": c.ListID, "status": subscribed})
	default:
		var m member
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		a := answer{ID: path.Base(r.URL.Path), Status: subscribed, MergeFields: m.MergeFields}
		if m.EmailAddress != "" {
			a.ID = hash(m.EmailAddress)
		}
		json.NewEncoder(w).Encode(a)
	}
}
