package recipes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var slackSettings = map[string]any{"bot_token": "xoxb-s3cret", "channel": "C1"}

// slackSends checks requests against the parameters of Slack's description: no OpenAPI reader takes what it says of
// answers. It knows the token in a header of its own, which is now the Authorization header; client_msg_id it does not
// know.
func slackSends(t *testing.T) func(*http.Request) error {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "slack/slack_chat_users_lookup.json"))
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		BasePath string
		Paths    map[string]map[string]struct {
			Parameters []struct {
				Name, In, Type string
				Required       bool
			}
		}
	}
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	return func(r *http.Request) error {
		call, known := described.Paths[strings.TrimPrefix(r.URL.Path, described.BasePath)][strings.ToLower(r.Method)]
		if !known {
			return fmt.Errorf("there is no %s %s", r.Method, r.URL.Path)
		}
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			return fmt.Errorf("signed in by %q", r.Header.Get("Authorization"))
		}
		body, _ := io.ReadAll(r.Body)
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return err
		}
		form.Del("client_msg_id")
		for _, p := range call.Parameters {
			switch value := form.Get(p.Name); {
			case p.In != "formData":
			case value == "" && p.Required, value != "" && p.Type == "boolean" && value != "true" && value != "false":
				return fmt.Errorf("%s is %q", p.Name, value)
			default:
				form.Del(p.Name)
			}
		}
		if len(form) > 0 {
			return fmt.Errorf("not in the description: %v", form)
		}
		return nil
	}
}

func TestSlackConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "slack"), conformance.Options{Check: slackSends(t)})
}

const (
	slackPost = `POST /api/chat.postMessage`
	slackAuth = `GET /api/auth.test`
)

// https://docs.slack.dev/reference/methods/chat.postMessage#examples
var slackDone = says{status: 200, body: `{"ok":true,"channel":"C1H9RESGL","ts":"1503435956.000247","message":{"text":"New lead","type":"message","subtype":"bot_message","ts":"1503435956.000247"}}`}

func slackRefuses(code string) says {
	return says{status: 200, body: `{"ok":false,"error":"` + code + `"}`}
}

// slackForm pushes a lead and returns the form that Slack got.
func slackForm(t *testing.T, fields []connectors.FieldRule, change lead.Change) url.Values {
	t.Helper()
	c := converse(t, "slack", slackSettings, fields, slackSends(t), slackDone)
	if _, err := c.Push(t.Context(), change, ""); err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(c.requests()[0].body)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

func TestSlackIsToldOfANewLead(t *testing.T) {
	form := slackForm(t, nil, connectortest.Created(connectortest.Sample(1)))
	want := "*New lead*\nZenobia Quillfeather1\nzenobia.quillfeather1@example.com\n+44 20 7946 0001\nQuillfeather &amp; Daughters 1\n\nPlease ring after teatime, case 1."
	if form.Get("channel") != "C1" || form.Get("text") != want || form.Get("unfurl_links") != "false" || form.Get("unfurl_media") != "false" || len(form) != 5 {
		t.Errorf("sent %v", form)
	}
	// The same as Slack's own client was recorded to send: a form, signed in by a header.
	_, path, _ := recorded(t, "slack post")
	c := converse(t, "slack", slackSettings, nil, nil, slackDone)
	c.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
	if got := c.requests()[0]; got.uri != path || got.header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.header.Get("Authorization") != "Bearer xoxb-s3cret" {
		t.Errorf("sent %s with %v", got.uri, got.header)
	}
}

// TestSlackMessagesMentionNobody: https://docs.slack.dev/messaging/formatting-message-text#escaping
func TestSlackMessagesMentionNobody(t *testing.T) {
	l := connectortest.Sample(1)
	l.Note = `<!channel> & <https://evil.example|"you"> isn't &amp;`
	form := slackForm(t, []connectors.FieldRule{{To: "text", Template: "{{.note}}"}}, connectortest.Created(l))
	if got, want := form.Get("text"), `&lt;!channel&gt; &amp; &lt;https://evil.example|"you"&gt; isn't &amp;amp;`; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// TestSlackARepeatedMessageHasTheSameID, and another message another.
func TestSlackARepeatedMessageHasTheSameID(t *testing.T) {
	first, second := connectortest.Created(connectortest.Sample(1)), connectortest.Created(connectortest.Sample(2))
	id := func(change lead.Change) string { return slackForm(t, nil, change).Get("client_msg_id") }
	if once := id(first); once != id(first) || once == id(second) || len(once) != 36 || once[14] != '4' || once[19] != 'a' {
		t.Errorf("the id is %q", once)
	}
}

func TestSlackIsNotToldOfUpdatesAndDeletes(t *testing.T) {
	plays(t, "slack", slackSettings, nil, nil, map[string]episode{
		"update": {do: "update"},
		"delete": {do: "delete"},
	})
}

func TestSlackCheck(t *testing.T) {
	ok := says{status: 200, body: `{"ok":true,"url":"https://acme.slack.com/","team":"Acme","user":"relay","team_id":"T12345678","user_id":"W12345678","bot_id":"B1"}`}
	plays(t, "slack", slackSettings, nil, slackSends(t), map[string]episode{
		"signs in":      {do: "check", answers: []says{ok}, asks: []string{slackAuth}},
		"a wrong token": {do: "check", answers: []says{slackRefuses("invalid_auth")}, asks: []string{slackAuth}, fault: connectors.Setup, fails: "slack: check: 200 invalid_auth"},
	})
	plays(t, "slack", slackSettings, []connectors.FieldRule{{To: "text", From: "name"}, {To: "txet", From: "name"}}, nil, map[string]episode{
		"a field that is none": {do: "check", answers: []says{ok}, asks: []string{slackAuth}, fault: connectors.Setup, fails: "there is no field txet"},
	})
}

// TestT23SlackErrorsAreWithinA200: https://docs.slack.dev/reference/methods/chat.postMessage#errors
func TestT23SlackErrorsAreWithinA200(t *testing.T) {
	one := func(answer says, fault connectors.Fault, fails string, wait time.Duration) episode {
		return episode{do: "create", answers: []says{answer}, asks: []string{slackPost}, fault: fault, fails: fails, wait: wait}
	}
	episodes := map[string]episode{
		"too many, by status":        one(says{status: 429, body: `{"ok":false,"error":"ratelimited"}`, header: map[string]string{"Retry-After": "30"}}, connectors.Throttled, "429 ratelimited", 30*time.Second),
		"too many, without a reason": one(says{status: 429, header: map[string]string{"Retry-After": "30"}}, connectors.Throttled, "429", 30*time.Second),
		"trouble of Slack's":         one(says{status: 503, body: `<html>`}, connectors.Remote, "503", 0),
		"a page":                     one(says{status: 200, body: `<html>`}, connectors.Unknown, "200", 0),
		"no time stamp":              one(says{status: 200, body: `{"ok":true}`}, connectors.Unknown, "200", 0),
		"a lost answer":              one(says{}, connectors.Unknown, "no whole answer", 0),
	}
	for fault, codes := range map[connectors.Fault]string{
		connectors.Setup: "invalid_auth not_authed account_inactive token_revoked token_expired missing_scope no_permission ekm_access_denied " +
			"channel_not_found not_in_channel is_archived restricted_action org_login_required team_access_not_granted invalid_arguments",
		connectors.Throttled: "ratelimited rate_limited message_limit_exceeded",
		connectors.Lead:      "msg_too_long no_text",
		connectors.Remote:    "internal_error service_unavailable request_timeout team_added_to_org",
		connectors.Unknown:   "fatal_error",
	} {
		for code := range strings.FieldsSeq(codes) {
			episodes[code] = one(slackRefuses(code), fault, "slack: create: 200 "+code, 0)
		}
	}
	plays(t, "slack", slackSettings, nil, slackSends(t), episodes)
}

func TestSlackSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"no token":   {map[string]any{"channel": "C1"}, "bot_token: required"},
		"no channel": {map[string]any{"bot_token": "t"}, "channel: required"},
		"a webhook":  {map[string]any{"bot_token": "t", "channel": "C1", "url": "https://hooks.slack.com/x"}, "url: unknown setting"},
	} {
		if _, err := recipe(t, "slack").Kind().Open(c.settings, connectors.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if got, want := recipe(t, "slack").Kind().Limits.Rates, (connectors.Rate{Most: 1, Per: time.Second}); len(got) != 1 || got[0] != want {
		t.Errorf("the rates are %v", got)
	}
}
