package mailchimp

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	APIKey           connectors.Secret `mapstructure:"api_key" required:"true" help:"ends in the data centre, as in …-us21: Profile, Extras, API keys"`
	ListID           string            `mapstructure:"list_id" required:"true" help:"Audience, Settings, Audience name and defaults: Audience ID"`
	BaseURL          string            `mapstructure:"base_url" help:"where the API is; empty: follows from the key's data centre"`
	StatusIfNew      string            `mapstructure:"status_if_new" oneof:"subscribed pending unsubscribed transactional cleaned" help:"what a new member becomes; pending: Mailchimp asks by mail first"`
	StatusIfArchived string            `mapstructure:"status_if_archived" oneof:"subscribed pending unsubscribed transactional cleaned" help:"what a returning member becomes; empty: pending where status_if_new is subscribed, else the same"`
	OnDelete         string            `mapstructure:"on_delete" oneof:"archive delete-permanent" help:"delete-permanent erases, after which the address cannot be imported again"`
	Timeout          time.Duration     `mapstructure:"timeout" help:"of one request"`
}

// The statuses of a member: https://mailchimp.com/developer/marketing/api/list-members/
const (
	subscribed    = "subscribed"
	unsubscribed  = "unsubscribed"
	pending       = "pending" // asked by mail, not yet confirmed
	transactional = "transactional"
	cleaned       = "cleaned"  // bounced
	archived      = "archived" // only ever in answers
)

var statuses = []string{subscribed, pending, unsubscribed, transactional, cleaned}

// What a deleted lead's member becomes.
const (
	archive         = "archive"
	deletePermanent = "delete-permanent"
)

var defaults = Settings{StatusIfNew: subscribed, OnDelete: archive, Timeout: 30 * time.Second}

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("mailchimp", defaults, open)
	k.Title = "Mailchimp audience"
	k.Docs = "https://mailchimp.com/developer/marketing/api/list-members/"
	k.Limits = connectors.Limits{Concurrency: concurrency}
	k.Fields = []connectors.FieldRule{{To: "FNAME", From: "first_name"}, {To: "LNAME", From: "last_name"}}
	return k
}()

// connector embeds Settings, so that fmt sees the key in an exported field and hides it.
type connector struct {
	Settings
	client *connectors.Client
	fields connectors.Mapping
	log    *slog.Logger
	warned sync.Map // merge tags the audience was found to lack
}

var _ interface {
	connectors.Connector
	connectors.Keyed
	connectors.Checker
	connectors.Limited
} = (*connector)(nil)

var dataCentre = regexp.MustCompile(`-([a-z]+[0-9]+)$`)

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.APIKey == "" {
		problem("api_key: required")
	} else if s.BaseURL == "" {
		if suffix := dataCentre.FindStringSubmatch(s.APIKey.Reveal()); suffix != nil {
			s.BaseURL = "https://" + suffix[1] + ".api.mailchimp.com"
		} else {
			problem("api_key: must end in the data centre, as in …-us21; or set base_url")
		}
	}
	if s.BaseURL != "" {
		u, err := url.Parse(s.BaseURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			problem("base_url: must be a URL such as https://us21.api.mailchimp.com")
		}
		// The vendor's pages give the root with its version; both spellings are meant.
		s.BaseURL = strings.TrimSuffix(strings.TrimRight(s.BaseURL, "/"), "/3.0")
	}
	if s.ListID == "" {
		problem("list_id: required")
	}
	if s.StatusIfArchived == "" {
		s.StatusIfArchived = returning(s.StatusIfNew)
	}
	if !slices.Contains(statuses, s.StatusIfNew) {
		problem("status_if_new: must be one of %s", strings.Join(statuses, ", "))
	} else if !slices.Contains(statuses, s.StatusIfArchived) {
		problem("status_if_archived: must be one of %s", strings.Join(statuses, ", "))
	}
	if s.OnDelete != archive && s.OnDelete != deletePermanent {
		problem("on_delete: must be %s or %s", archive, deletePermanent)
	}
	if s.Timeout <= 0 {
		problem("timeout: must be above 0")
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return &connector{
		Settings: s,
		client:   connectors.NewClient(connectors.ClientOptions{Timeout: s.Timeout}),
		fields:   env.Fields,
		log:      env.Log,
	}, nil
}

// returning is what an archived member becomes where a new one would become status; see Consent in the package
// comment.
func returning(status string) string {
	if status == subscribed {
		return pending
	}
	return status
}

// Close closes idle connections.
func (c *connector) Close() error { return c.client.Close() }

// concurrency is of simultaneous connections per user, over all applications
// (https://mailchimp.com/developer/marketing/docs/fundamentals/#api-limits).
const concurrency = 10

// Limits: which keys are one user's only Mailchimp knows; each is counted by itself.
func (c *connector) Limits() connectors.Limits {
	sum := sha256.Sum256([]byte(c.APIKey.Reveal()))
	return connectors.Limits{Scope: "mailchimp:" + hex.EncodeToString(sum[:6]), Concurrency: concurrency}
}

// Key is the subscriber hash of l's address, "" where it has none.
func (c *connector) Key(l lead.Lead) string {
	if l.Email == "" {
		return ""
	}
	return hash(l.Email)
}

// hash is Mailchimp's "MD5 hash of the lowercase version of the list member's email address". A hash of the
// address as it was typed names a member who does not exist.
func hash(address string) string {
	sum := md5.Sum([]byte(lead.NormalEmail(address)))
	return hex.EncodeToString(sum[:])
}

// Push writes the member, moves it to a new address, or removes it.
func (c *connector) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	l := change.Lead
	key := c.Key(l)
	if change.Op == lead.Delete {
		if ref == "" {
			ref = key
		}
		return "", c.remove(ctx, l, ref)
	}
	if key == "" {
		return "", fail("put member", &connectors.Error{Fault: connectors.Lead, Err: errors.New("the lead has no e-mail address")})
	}
	mergeFields, err := c.mergeFields(l)
	if err != nil {
		return "", fail("put member", err)
	}
	m := member{EmailAddress: l.Email, StatusIfNew: c.StatusIfNew, MergeFields: mergeFields}
	if ref == "" || ref == key {
		err = c.put(ctx, m, c.StatusIfArchived)
	} else {
		err = c.move(ctx, l.ID, ref, m)
	}
	if err != nil {
		return "", err
	}
	return key, nil
}

// put makes m a member under its own key, and one that is seen: an archived one is brought back as ifArchived.
func (c *connector) put(ctx context.Context, m member, ifArchived string) error {
	key := hash(m.EmailAddress)
	got, err := c.write(ctx, "put member", http.MethodPut, key, m)
	if err != nil {
		return err
	}
	if got.ID != key {
		return fail("put member", &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer is about another member")})
	}
	return c.bringBack(ctx, m, got, ifArchived)
}

// bringBack ends what a PUT or PATCH leaves archived, for status_if_new does not count for a member who was
// there before: https://github.com/mailchimp/mc-woocommerce/issues/951
func (c *connector) bringBack(ctx context.Context, m member, got answer, status string) error {
	if got.Status != archived {
		return nil
	}
	m.Status = status
	got, err := c.write(ctx, "bring back member", http.MethodPut, hash(m.EmailAddress), m)
	if err == nil && got.Status == archived {
		return fail("bring back member", &connectors.Error{Fault: connectors.Lead, Err: errors.New("it stays archived")})
	}
	return err
}

// move makes the member ref the member m and leaves nobody under ref. Every step finds out by itself whether it
// was taken before, so a move that lost an answer anywhere can be repeated from the start.
//
// Only a subscribed member is moved by changing its address. Who is not stays behind, archived: Mailchimp may
// refuse the change (https://github.com/brandonseydel/MailChimp.Net/issues/201), and where it does not, but the
// answer is lost and the lead changes once more, nothing would be left to tell that nobody may be subscribed here.
func (c *connector) move(ctx context.Context, leadID, ref string, m member) error {
	old, err := c.status(ctx, ref)
	if old == subscribed {
		var got answer
		got, err = c.write(ctx, "patch member", http.MethodPatch, ref, member{EmailAddress: m.EmailAddress, MergeFields: m.MergeFields})
		if err == nil && got.ID == hash(m.EmailAddress) {
			return c.bringBack(ctx, m, got, c.StatusIfArchived)
		}
		if fault, _ := connectors.FaultOf(err); fault == connectors.Lead {
			err = nil // the new address may be a member already
		}
	}
	switch {
	case refusedWith(err, http.StatusNotFound): // moved already, or never there
		return c.put(ctx, m, c.StatusIfArchived)
	case err != nil:
		return err
	}
	// The new member must not be more subscribed than the old one.
	ifArchived := c.StatusIfArchived
	switch old {
	case unsubscribed, pending, transactional:
		m.StatusIfNew, ifArchived = old, old
	case subscribed:
		m.StatusIfNew = subscribed
	case archived: // perhaps by a move whose outcome got lost; what it was before is not known any more
		m.StatusIfNew = c.StatusIfArchived
	}
	if err := c.put(ctx, m, ifArchived); err != nil {
		return err
	}
	return c.archive(ctx, leadID, ref)
}

// remove does what on_delete says. Without a key no request ever went out for the lead, so nothing is there.
// Only a deleted lead is erased: one that still has an address is left out by the filter or lives under another
// key, and may come back, which an erased address never can.
func (c *connector) remove(ctx context.Context, l lead.Lead, key string) error {
	switch {
	case key == "":
		return nil
	case c.OnDelete == archive || l.Email != "":
		return c.archive(ctx, l.ID, key)
	}
	err := c.call(ctx, request{what: "delete member permanently", method: http.MethodPost, path: c.memberPath(key) + "/actions/delete-permanent"}, nil)
	if refusedWith(err, http.StatusNotFound) {
		return c.checkList(ctx)
	}
	return err
}

// archive takes a member out of the audience. Who is out already is success.
func (c *connector) archive(ctx context.Context, leadID, key string) error {
	request := request{what: "archive member", method: http.MethodDelete, path: c.memberPath(key)}
	err := c.call(ctx, request, nil)
	switch {
	case refusedWith(err, http.StatusNotFound):
		return c.checkList(ctx)
	case !refusedWith(err, http.StatusMethodNotAllowed):
		return err
	}
	// 405 "Can not archive a contact that is bounced, pending or archived":
	// https://github.com/amro/gibbon/issues/320
	status, statusErr := c.status(ctx, key)
	switch {
	case statusErr != nil:
		return statusErr
	case status == archived:
		return nil
	case status == cleaned:
		c.log.Warn("mailchimp archives no cleaned member: it stays in the audience, and is sent nothing", "lead", leadID)
		return nil
	case status != pending:
		return err
	}
	if _, err := c.write(ctx, "unsubscribe pending member", http.MethodPatch, key, member{Status: unsubscribed}); err != nil {
		return err
	}
	return c.call(ctx, request, nil)
}

// checkList tells "there is no such member" from "there is no such list", which Mailchimp answers alike: a
// delete must not pass for done because list_id is wrong.
func (c *connector) checkList(ctx context.Context) error {
	var list struct {
		ID string `json:"id"`
	}
	err := c.call(ctx, request{what: "get list", method: http.MethodGet, path: c.listPath() + "?fields=id"}, &list)
	if err == nil && list.ID == "" {
		return fail("get list", &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer is not a list")})
	}
	return err
}

// mergeFields maps a lead; every mapped field is there, the empty ones as "", for only that clears them.
func (c *connector) mergeFields(l lead.Lead) (map[string]any, error) {
	fields, err := c.fields.Apply(l)
	if err != nil {
		return nil, err
	}
	values := make(map[string]any, len(fields))
	for _, f := range fields {
		if object, ok := f.Value.(map[string]any); ok {
			values[f.To] = object // an address: https://mailchimp.com/developer/marketing/docs/merge-fields/
			continue
		}
		values[f.To] = text(f.Value)
	}
	return values, nil
}

func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		texts := make([]string, len(v))
		for i, element := range v {
			texts[i] = text(element)
		}
		return strings.Join(texts, ", ")
	case map[string]any:
		encoded, _ := json.Marshal(v)
		return string(encoded)
	default: // json.Number, bool, whole numbers
		return fmt.Sprint(v)
	}
}

// warnDropped names the merge fields that were sent and are not in the answer, once each: Mailchimp takes
// unknown merge tags without a word.
func (c *connector) warnDropped(sent, kept map[string]any) {
	for tag := range sent {
		if _, ok := kept[tag]; ok {
			continue
		}
		if _, before := c.warned.LoadOrStore(tag, true); !before {
			c.log.Warn("the audience has no such merge field: mailchimp drops its values", "field", tag)
		}
	}
}
