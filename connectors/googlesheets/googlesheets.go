package googlesheets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	Credentials   connectors.Secret `mapstructure:"credentials" required:"true" help:"the service account's JSON key; share the spreadsheet with its client_email as an editor"`
	SpreadsheetID string            `mapstructure:"spreadsheet_id" required:"true" help:"from its address: …/spreadsheets/d/<this>/edit"`
	Sheet         string            `mapstructure:"sheet" help:"the tab's title; it must be there"`
	BaseURL       string            `mapstructure:"base_url" help:"where the API is"`
	Timeout       time.Duration     `mapstructure:"timeout" help:"of one request"`
}

var defaults = Settings{Sheet: "Leads", BaseURL: "https://sheets.googleapis.com", Timeout: time.Minute}

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("googlesheets", defaults, open)
	k.Title = "a tab of a Google spreadsheet"
	k.Docs = "https://developers.google.com/workspace/sheets/api/guides/concepts"
	k.Limits, k.MaxBatch = limits, maxBatch
	k.Fields = []connectors.FieldRule{
		{To: "name", From: "name"}, {To: "email", From: "email"}, {To: "source", From: "source"},
		{To: "note", From: "note"}, {To: "created_at", From: "created_at"}, {To: "updated_at", From: "updated_at"},
	}
	return k
}()

const (
	idColumn  = "lead_id"
	maxBatch  = 500
	maxText   = 1_500_000 // bytes of cells in one write; 2 MB is advised: https://developers.google.com/workspace/sheets/api/limits
	perMinute = 30        // batches
	maxWrites = 2         // in each of them
)

var limits = connectors.Limits{Concurrency: 1, Rates: []connectors.Rate{{Most: perMinute, Per: time.Minute}}}

// connector embeds Settings, so that fmt sees the key in an exported field and hides it.
type connector struct {
	Settings
	client  *connectors.Client
	fields  connectors.Mapping
	columns []string // that we write, lead_id first
	log     *slog.Logger

	// turn is held through a read and the write that follows from it, and guards what is below.
	turn    chan struct{}
	account *jwt.Config
	token   *oauth2.Token // nil: none yet
	guess   *shape        // nil: none yet
}

var _ interface {
	connectors.Connector
	connectors.Keyed
	connectors.Batcher
	connectors.Checker
	connectors.Limited
	connectors.Linked
} = (*connector)(nil)

var spreadsheetID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	c := &connector{fields: env.Fields, columns: []string{idColumn}, log: env.Log, turn: make(chan struct{}, 1)}
	if s.Credentials == "" {
		problem("credentials: required")
	} else {
		var err error
		if c.account, err = parseAccount(s.Credentials); err != nil {
			problem("credentials: %w", err)
		}
	}
	switch {
	case s.SpreadsheetID == "":
		problem("spreadsheet_id: required")
	case !spreadsheetID.MatchString(s.SpreadsheetID):
		problem("spreadsheet_id: must be the part of the spreadsheet's address between /d/ and /edit")
	}
	if s.Sheet == "" {
		problem("sheet: required")
	}
	if u, err := url.Parse(s.BaseURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		problem("base_url: must be a URL such as https://sheets.googleapis.com")
	}
	s.BaseURL = strings.TrimRight(s.BaseURL, "/")
	if s.Timeout <= 0 {
		problem("timeout: must be above 0")
	}
	for _, name := range env.Fields.Names() {
		switch {
		case name == idColumn:
			problem("fields: lead_id is always written, remove its rule")
		case name != strings.TrimSpace(name):
			problem("fields: %q begins or ends with white space", name)
		}
		c.columns = append(c.columns, name)
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	c.Settings = s
	c.client = connectors.NewClient(connectors.ClientOptions{Timeout: s.Timeout})
	return c, nil
}

// Close closes idle connections.
func (c *connector) Close() error { return c.client.Close() }

// Key is the lead's id: it locates the row.
func (c *connector) Key(l lead.Lead) string { return l.ID }

// MaxBatch is what a write of usual leads carries well.
func (c *connector) MaxBatch() int { return maxBatch }

// Limits: see Limits in the package comment.
func (c *connector) Limits() connectors.Limits {
	l := limits
	l.Scope = "googlesheets:" + c.SpreadsheetID + "/" + c.Sheet
	l.RateScope = "googlesheets:" + c.account.Email
	return l
}

func (c *connector) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	result := c.PushBatch(ctx, []connectors.Item{{Change: change, Ref: ref}})[0]
	return result.Ref, result.Err
}

// PushBatch writes as many items at once as one write carries. Each write fails or succeeds by itself, but after
// one that failed as a whole the rest is not tried; and what two writes do not carry is left for the next batch.
func (c *connector) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	results := make([]connectors.Result, len(items))
	var edits []edit
	var whose []int // the item of each edit
	text, writes := 0, 0
	var failed error
	flush := func() {
		if len(edits) == 0 {
			return
		}
		var errs []error
		var spoilt []string
		if failed == nil && writes == maxWrites {
			failed = fail("write", &connectors.Error{
				Fault: connectors.Throttled, RetryAfter: time.Second, Err: errors.New("the batch is too large for the writes it may take"),
			})
		}
		if failed == nil {
			writes++
			errs, spoilt, failed = c.write(ctx, edits)
			results[whose[0]].Spoilt = spoilt
		}
		for k, i := range whose {
			switch {
			case failed != nil:
				results[i].Err = failed
			case errs[k] != nil:
				results[i].Err = errs[k]
			case edits[k].op == put:
				results[i].Ref = edits[k].id
			}
		}
		edits, whose, text = nil, nil, 0
	}
	for i, item := range items {
		e, err := c.edit(item.Change)
		if err != nil {
			results[i].Err = fail("row", err)
			continue
		}
		if text += e.size(); text > maxText {
			flush()
			text = e.size()
		}
		edits, whose = append(edits, e), append(whose, i)
	}
	flush()
	return results
}

// begin waits for the turn; end gives it back.
func (c *connector) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not sent: %w", err)
	}
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not sent: %w", ctx.Err())
	}
}

func (c *connector) end() { <-c.turn }

// fail puts an error's place before it; its fault stays.
func fail(what string, err error) error { return fmt.Errorf("googlesheets: %s: %w", what, err) }

// failure is a new error of that fault.
func failure(fault connectors.Fault, what, format string, args ...any) error {
	return fail(what, &connectors.Error{Fault: fault, Err: fmt.Errorf(format, args...)})
}
