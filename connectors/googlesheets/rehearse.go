package googlesheets

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Rehearse shows the calls of a push to a tab that has all columns, in the order of the configuration, and no lead but the
// one that ref names. In which row that would be only Google knows.
func (c *connector) Rehearse(ctx context.Context, change lead.Change, ref string) ([]connectors.Rehearsed, error) {
	// A push of the connector itself may be under way: what it remembers of the tab and its token are its own.
	double := &connector{
		Settings: c.Settings, client: c.client, fields: c.fields, columns: c.columns, log: slog.New(slog.DiscardHandler),
		turn: make(chan struct{}, 1), account: c.account, token: &oauth2.Token{AccessToken: connectors.Masked},
	}
	secrets := []string{c.Credentials.Reveal(), string(c.account.PrivateKey)}
	sent, err := connectors.RehearseRequests(ctx, rehearsedTab{c.columns, change.Lead.ID, ref != ""}, secrets, func(ctx context.Context) error {
		_, err := double.Push(ctx, change, ref)
		return err
	})
	for i := range sent {
		sent[i].Body = strings.ReplaceAll(sent[i].Body, fmt.Sprintf(`"sheetId": %d`, rehearsedID), `"sheetId": `+connectors.UnknownID)
	}
	return sent, err
}

// rehearsedID is the tab's id until somebody asks Google.
const rehearsedID = 770000001

// rehearsedTab answers in Google's place.
type rehearsedTab struct {
	columns []string
	leadID  string
	held    bool // it has the lead's row
}

// The size of a new spreadsheet's tab.
const newRows, newColumns = 1000, 26

func (t rehearsedTab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		json.NewEncoder(w).Encode(t.sheet(t.held))
		return
	}
	var b batch
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	replies := make([]any, len(b.Requests))
	for i := range replies {
		replies[i] = map[string]any{"findReplace": map[string]any{"occurrencesChanged": 1}}
	}
	json.NewEncoder(w).Encode(map[string]any{"replies": replies, "updatedSpreadsheet": t.sheet(true)})
}

// sheet is the tab, with the lead's row or without.
func (t rehearsedTab) sheet(held bool) any {
	row := func(texts ...string) any {
		values := make([]any, len(texts))
		for i, text := range texts {
			values[i] = map[string]any{"formattedValue": text}
		}
		return map[string]any{"values": values}
	}
	rows := []any{row(t.columns...)}
	if held {
		rows = append(rows, row(t.leadID))
	}
	return map[string]any{"sheets": []any{map[string]any{
		"properties": map[string]any{"sheetId": rehearsedID, "gridProperties": map[string]any{"rowCount": newRows, "columnCount": max(newColumns, len(t.columns))}},
		"data":       []any{map[string]any{"rowData": rows}},
	}}}
}
