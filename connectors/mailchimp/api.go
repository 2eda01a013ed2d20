package mailchimp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// member is the body of PUT and PATCH /lists/{list_id}/members/{subscriber_hash}.
type member struct {
	EmailAddress string         `json:"email_address,omitempty"`
	StatusIfNew  string         `json:"status_if_new,omitempty"` // PUT only
	Status       string         `json:"status,omitempty"`
	MergeFields  map[string]any `json:"merge_fields,omitempty"`
}

// answer is as much of a member as we read.
type answer struct {
	ID          string         `json:"id"`
	Status      string         `json:"status"`
	MergeFields map[string]any `json:"merge_fields"`
}

func (c *connector) listPath() string { return "/3.0/lists/" + url.PathEscape(c.ListID) }

func (c *connector) memberPath(key string) string {
	return c.listPath() + "/members/" + url.PathEscape(key)
}

// write sends a member and reads it back. An answer that is no member tells nothing about what was applied.
func (c *connector) write(ctx context.Context, what, method, key string, m member) (answer, error) {
	var got answer
	err := c.call(ctx, request{what: what, method: method, path: c.memberPath(key), body: &m}, &got)
	if err != nil {
		return answer{}, err
	}
	if got.ID == "" || got.Status == "" {
		return answer{}, fail(what, &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer is not a member")})
	}
	c.warnDropped(m.MergeFields, got.MergeFields)
	return got, nil
}

// status asks for a member's status.
func (c *connector) status(ctx context.Context, key string) (string, error) {
	var got answer
	err := c.call(ctx, request{what: "get member", method: http.MethodGet, path: c.memberPath(key) + "?fields=status"}, &got)
	if err == nil && got.Status == "" {
		return "", fail("get member", &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer is not a member")})
	}
	return got.Status, err
}

type request struct {
	what         string // for errors
	method, path string
	body         *member // nil: none
}

// call makes one request. With into nil the answer must be 204: whatever else says 2xx is not Mailchimp.
func (c *connector) call(ctx context.Context, r request, into any) error {
	var body any
	if r.body != nil {
		body = r.body
	}
	req, err := connectors.NewJSONRequest(ctx, r.method, c.BaseURL+r.path, body)
	if err != nil {
		return fail(r.what, err)
	}
	req.SetBasicAuth("leadrelay", c.APIKey.Reveal()) // any user name will do
	resp, err := c.client.Do(req)
	switch {
	case resp == nil:
		return fail(r.what, err)
	case err != nil:
		return fail(r.what, explain(r, resp, err))
	case into != nil:
		err = resp.JSON(into)
	case resp.Status != http.StatusNoContent:
		err = &connectors.Error{Fault: connectors.Unknown, Err: fmt.Errorf("%d where 204 was expected", resp.Status)}
	}
	if err != nil {
		return fail(r.what, err)
	}
	return nil
}

// fail puts an error's place before it; its fault stays.
func fail(what string, err error) error { return fmt.Errorf("mailchimp: %s: %w", what, err) }

// refusal is an error in Mailchimp's own words, as against a proxy's page with the same status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// refusedWith says whether err is Mailchimp's answer of that status.
func refusedWith(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == status
}

// blockedByConsent are the titles of refusals that only the person can lift
// (https://mailchimp.com/developer/marketing/docs/errors/). A title is fixed for its problem, the vendor says;
// the status is 400 for them all.
var blockedByConsent = map[string]bool{
	"Member In Compliance State":     true, // unsubscribed, bounced or under review
	"Forgotten Email Not Subscribed": true, // deleted permanently
}

// explain refines what connectors.StatusError made of an error answer, by the problem document in it.
func explain(r request, resp *connectors.Response, err error) error {
	var e *connectors.Error
	if !errors.As(err, &e) {
		return err
	}
	// Too many connections are answered with 429 and, by the vendor's own words, also with a 403 that is not JSON:
	// https://mailchimp.com/developer/marketing/docs/fundamentals/#api-limits
	if resp.Status == http.StatusForbidden && !json.Valid(resp.Body) {
		return &connectors.Error{Fault: connectors.Throttled, RetryAfter: e.RetryAfter, Err: errors.New("403 without a reason: too many connections at once")}
	}
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Field string `json:"field"`
		} `json:"errors"`
	}
	if json.Unmarshal(resp.Body, &problem) != nil || problem.Title == "" {
		return err
	}
	reason := fmt.Sprintf("%d %s", resp.Status, connectors.Redact(problem.Title))
	switch {
	case resp.Status == http.StatusBadRequest && blockedByConsent[problem.Title]:
		reason = "blocked by consent: " + reason
	case r.method == http.MethodPut:
		// Details name the member's address, and only here is it one that we can recognise in any spelling.
		address := r.body.EmailAddress
		if detail := resp.Redact(connectors.Redact(problem.Detail, address, lead.NormalEmail(address))); detail != "" {
			reason += ": " + detail
		}
		for _, wrong := range problem.Errors {
			if _, ours := r.body.MergeFields[wrong.Field]; ours {
				reason += " (" + wrong.Field + ")"
			}
		}
	}
	e.Err = &refusal{resp.Status, reason}
	return e
}
