package sources

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// metaSettings are what config.yaml may say of lead ads on Facebook and Instagram.
type metaSettings struct {
	// AppSecret is what Meta signs deliveries with.
	AppSecret connectors.Secret `mapstructure:"app_secret" required:"true" help:"the app's secret, by which Meta signs"`

	// VerifyToken is asked for when the callback address is set up.
	VerifyToken connectors.Secret `mapstructure:"verify_token" required:"true" help:"any text; Meta is given the same when the callback address is set up"`

	// AccessToken reads the leads. It must be of the same app.
	AccessToken connectors.Secret `mapstructure:"access_token" required:"true" help:"a token of the page or of a system user, of the same app, with leads_retrieval"`

	GraphVersion string `mapstructure:"graph_version" help:"the version of the Graph API"`

	// LeadFields are what is asked for of a lead; those about the ad need more permissions.
	LeadFields []string `mapstructure:"lead_fields" help:"what is asked for of a lead; campaign_name, adset_name and ad_name need ads_management"`

	BaseURL string        `mapstructure:"base_url" help:"the Graph API"`
	Timeout time.Duration `mapstructure:"timeout" help:"of one request to it"`
}

// meta signs the body with the app's secret, and names leads without saying what is in them
// (https://developers.facebook.com/docs/graph-api/webhooks/getting-started/webhooks-for-leadgen).
var meta = define(Kind{
	Name:  "meta",
	Title: "lead ads on Facebook and Instagram",
	Docs:  "https://developers.facebook.com/docs/marketing-api/guides/lead-ads/retrieving",
	Settings: metaSettings{
		GraphVersion: "v25.0",
		LeadFields:   []string{"created_time", "field_data", "form_id", "is_organic", "platform"},
		BaseURL:      "https://graph.facebook.com",
		Timeout:      30 * time.Second,
	},
	Fields: append([]Rule{
		{To: "leadgen_id", From: "leadgen_id"},
		{To: "form_id", From: "form_id"},
		{To: "ad_id", From: "ad_id"},
		{To: "ad_name", From: "ad_name"},
		{To: "adset_name", From: "adset_name"},
		{To: "campaign_name", From: "campaign_name"},
		{To: "platform", From: "platform"},
	}, recognised...),
	Fetches: true,
}, openMeta)

var (
	graphVersion = regexp.MustCompile(`^v\d{1,3}\.\d{1,2}$`)
	leadField    = regexp.MustCompile(`^[a-z_]{1,64}$`)
	leadgenID    = regexp.MustCompile(`^\d{1,32}$`)
)

// notified are the members of a delivery; the lead's own are not there yet.
var notified = []string{"body", "leadgen_id", "form_id", "page_id", "ad_id", "adgroup_id", "created_time"}

func openMeta(s metaSettings) (preset, error) {
	var problems []error
	problem := func(text string) { problems = append(problems, errors.New(text)) }
	if s.AppSecret == "" {
		problem("app_secret: required, or app_secret_file: without it anyone could send leads")
	}
	if s.VerifyToken == "" {
		problem("verify_token: required, or verify_token_file: any text, the same as in the app's webhook settings")
	}
	if s.AccessToken == "" {
		problem("access_token: required, or access_token_file: it reads the leads")
	}
	if !graphVersion.MatchString(s.GraphVersion) {
		problem(`graph_version: must be as in "v25.0"`)
	}
	if u, err := url.Parse(s.BaseURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		problem("base_url: must be an address such as https://graph.facebook.com")
	}
	if !slices.Contains(s.LeadFields, "field_data") {
		problem("lead_fields: must have field_data, the answers")
	}
	for _, field := range s.LeadFields {
		if !leadField.MatchString(field) {
			problem("lead_fields: must be names such as field_data and campaign_name")
			break
		}
	}
	if s.Timeout <= 0 {
		problem(`timeout: must be above 0, such as "30s"`)
	}
	if problems != nil {
		return preset{}, errors.Join(problems...)
	}
	signer := hexSigner([][]byte{[]byte(s.AppSecret.Reveal())})
	g := &graph{settings: s, client: connectors.NewClient(connectors.ClientOptions{Timeout: s.Timeout})}
	return preset{
		verify: func(r request) error {
			header, _ := r.one("X-Hub-Signature-256")
			claim, ok := strings.CutPrefix(header, "sha256=")
			if !ok || !signer.signed([]string{claim}, r.body) {
				return ErrUnverified
			}
			return nil
		},
		read:      readMeta,
		answers:   metaAnswers,
		whenKnows: notified,
		challenge: func(query url.Values) (string, bool) {
			asked := len(query["hub.verify_token"]) == 1 && same(query.Get("hub.verify_token"), s.VerifyToken) == 1
			challenge := query.Get("hub.challenge")
			if !asked || query.Get("hub.mode") != "subscribe" || challenge == "" || len(challenge) > maxKey {
				return "", false
			}
			return challenge, true
		},
		fetch: g.fetch,
		close: g.client.Close,
	}, nil
}

// readMeta makes an item of each lead that is named: a delivery may hold many.
func readMeta(r request, body map[string]any) Delivery {
	var d Delivery
	seen := map[string]bool{}
	for _, entry := range list(body, "entry") {
		for _, change := range list(entry, "changes") {
			if text(change, "field") != "leadgen" {
				continue
			}
			value, ok := member(change, "value").(map[string]any)
			if !ok {
				value = map[string]any{}
			}
			for name := range value {
				if strings.HasSuffix(name, "_id") { // some are numbers, some texts
					value[name] = text(value[name])
				}
			}
			payload, err := json.Marshal(value)
			if err != nil {
				continue
			}
			key := text(change, "value", "leadgen_id")
			if key == "" || len(key) > maxKey {
				key = digest(payload)
			}
			if !seen[key] {
				seen[key] = true
				d.Items = append(d.Items, Item{Key: key, Payload: payload, Fetch: true})
			}
		}
	}
	return d
}

func metaAnswers(payload map[string]any) []answer {
	var answers []answer
	for _, field := range list(payload, "field_data") {
		a := answer{name: text(field, "name")}
		switch values := list(field, "values"); len(values) {
		case 0:
		case 1:
			a.value = values[0]
		default:
			a.value = values
		}
		answers = append(answers, a)
	}
	return answers
}

// graph reads leads by the Graph API.
type graph struct {
	settings metaSettings
	client   *connectors.Client
}

func (g *graph) fetch(ctx context.Context, payload []byte) ([]byte, error) {
	named, err := decode(payload)
	id := text(named, "leadgen_id")
	if err != nil || !leadgenID.MatchString(id) {
		return nil, &connectors.Error{Fault: connectors.Lead, NotSent: true, Err: errors.New("meta: the delivery names no lead")}
	}
	token := g.settings.AccessToken.Reveal()
	// The proof is needed where the app requires it, and is of no use without the token
	// (https://developers.facebook.com/docs/graph-api/guides/secure-requests).
	proof := hmac.New(sha256.New, []byte(g.settings.AppSecret.Reveal()))
	proof.Write([]byte(token))
	query := url.Values{
		"fields":          {strings.Join(g.settings.LeadFields, ",")},
		"appsecret_proof": {hex.EncodeToString(proof.Sum(nil))},
	}
	address := strings.TrimSuffix(g.settings.BaseURL, "/") + "/" + g.settings.GraphVersion + "/" + id + "?" + query.Encode()
	req, err := connectors.NewJSONRequest(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	answer, err := g.client.Do(req)
	if answer == nil {
		return nil, fmt.Errorf("meta: get lead: %w", err)
	}
	if err := graphError(answer, err, token, id); err != nil {
		return nil, fmt.Errorf("meta: get lead: %w", err)
	}
	lead, err := decode(answer.Body)
	if _, answered := lead["field_data"].([]any); err != nil || !answered || text(lead, "id") != id {
		return nil, &connectors.Error{Err: fmt.Errorf("meta: get lead: %d answer is not the lead", answer.Status)}
	}
	maps.Copy(lead, named) // what the delivery said stays as when saw it
	return json.Marshal(lead)
}

// graphError classifies what the Graph API says, whatever the status; plain is what the status alone says
// (https://developers.facebook.com/docs/graph-api/guides/error-handling, .../overview/rate-limiting).
func graphError(answer *connectors.Response, plain error, token, id string) error {
	var said struct {
		Error *struct {
			Code      int  `json:"code"`
			Subcode   int  `json:"error_subcode"`
			Transient bool `json:"is_transient"`
		} `json:"error"`
	}
	if json.Unmarshal(answer.Body, &said) != nil || said.Error == nil || said.Error.Code == 0 {
		return plain
	}
	fault, advice := connectors.Setup, ""
	switch code := said.Error.Code; {
	case code == 4, code == 17, code == 32, code == 341, code == 368, code == 613, code >= 80000 && code <= 80014:
		fault = connectors.Throttled
	case code == 190, code == 102:
		advice = "; access_token has expired or was revoked: set a new one"
	case code == 3, code == 10, code >= 200 && code < 300:
		advice = "; access_token needs leads_retrieval, and its owner access to the page's leads"
	case code == 100 && said.Error.Subcode == 33, code == 803, answer.Status == http.StatusNotFound:
		fault, advice = connectors.Lead, "; the lead is deleted or too old, or access_token may not read it"
	case code == 1, code == 2, said.Error.Transient, answer.Status >= 500:
		fault = connectors.Remote
	}
	wait := connectors.RetryAfter(answer.Header, time.Now())
	if fault == connectors.Throttled {
		wait = max(wait, regainAccess(answer.Header))
	}
	reason := answer.Redact(connectors.Explain(answer.Body), token, id)
	return &connectors.Error{
		Fault:      fault,
		RetryAfter: wait,
		Err:        fmt.Errorf("%d error %d %s%s", answer.Status, said.Error.Code, reason, advice),
	}
}

// regainAccess is how long the Graph API wants calls to wait.
func regainAccess(header http.Header) time.Duration {
	var usage map[string][]struct {
		Minutes int `json:"estimated_time_to_regain_access"`
	}
	if json.Unmarshal([]byte(header.Get("X-Business-Use-Case-Usage")), &usage) != nil {
		return 0
	}
	longest := 0
	for _, cases := range usage {
		for _, c := range cases {
			longest = max(longest, min(c.Minutes, 24*60))
		}
	}
	return time.Duration(longest) * time.Minute
}
