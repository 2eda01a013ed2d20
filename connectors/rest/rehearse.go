package rest

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// newRef is how the stand-in of a rehearsal names a new record: it is nothing that a lead would say.
const newRef = "770000000001"

// Rehearse shows the requests of a push to the recipe's own stand-in, which has nothing of a new lead, and the record that
// ref names. A recipe without examples answers nothing: then the first request is shown.
func (c *connector) Rehearse(ctx context.Context, change lead.Change, ref string) ([]connectors.Rehearsed, error) {
	var vendor http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotImplemented) })
	if s, err := c.recipe.StandIn(c.given.values); err == nil {
		s.Ref = func(int) string { return newRef }
		if ref != "" {
			s.keep(ref, change.Lead)
		}
		vendor = s
	}
	secrets := append(slices.Clone(c.given.secrets), c.sign.query[1])
	if c.sign.header != "Authorization" { // which is masked but for its scheme
		secrets = append(secrets, c.sign.value)
	}
	var verbs []*verb
	double := c.onStage()
	double.told = func(v *verb) { verbs = append(verbs, v) }
	sent, err := connectors.RehearseRequests(ctx, vendor, secrets, func(ctx context.Context) error {
		_, err := double.Push(ctx, change, ref)
		return err
	})
	for i := range sent {
		sent[i].Cost = verbs[i].cost
		if verbs[i].max > 1 {
			sent[i].Leads = verbs[i].max
		}
		sent[i].Line = strings.ReplaceAll(sent[i].Line, newRef, connectors.UnknownID)
		sent[i].Body = strings.ReplaceAll(sent[i].Body, newRef, connectors.UnknownID)
	}
	return sent, err
}

// onStage is the connector for a rehearsal. It signs in nowhere, and what a stand-in answers is not taken for what the
// vendor says of its fields.
func (c *connector) onStage() *connector {
	double := &connector{
		recipe: c.recipe, fields: c.fields, log: slog.New(slog.DiscardHandler), given: c.given,
		client: c.client, baseURL: c.baseURL, headers: c.headers, sign: c.sign,
	}
	if tokens := c.sign.tokens; tokens != nil {
		double.sign = credentials{header: "Authorization", value: tokens.scheme + " " + accessToken}
	}
	return double
}

// keep has the stand-in hold a lead's record from the beginning, as a create leaves one: with its further steps done.
func (s *StandIn) keep(ref string, l lead.Lead) {
	fields, err := s.engine.fieldsOf(l)
	if err != nil {
		fields = map[string]any{}
	}
	steps := map[string]string{}
	for _, name := range []string{upsert, create} {
		if v := s.recipe.verbs[name]; v != nil {
			for _, step := range slices.Concat(v.before, v.then) {
				steps[step.name()] = "done"
			}
		}
	}
	s.entries = append(s.entries, &entry{ref: ref, lead: l.NumericValues(), fields: fields, texts: map[string]string{}, steps: steps})
}
