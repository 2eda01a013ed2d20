package connectors

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"
)

// SignIn runs fetch, which gets an access token by golang.org/x/oauth2, through this client: so it can be cancelled,
// and says whose fault a failure is. A refusal (400 invalid_grant and its like) is Setup, and nothing is Unknown: no
// lead was sent.
func (c *Client) SignIn(ctx context.Context, fetch func(context.Context) (*oauth2.Token, error)) (*oauth2.Token, error) {
	via := &bridge{ctx: ctx, client: c}
	token, err := fetch(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: via}))
	var (
		e       *Error
		refusal *oauth2.RetrieveError
	)
	switch {
	case errors.As(via.err, &e):
		switch e.Fault {
		case Lead:
			e.Fault = Setup
		case Unknown:
			e.Fault = Remote
		}
		e.NotSent = true
		return nil, e
	case via.err != nil:
		return nil, via.err
	case err != nil && !via.asked:
		return nil, &Error{Fault: Setup, NotSent: true, Err: errors.New("no access token can be asked for with these settings")}
	case errors.As(err, &refusal) && refusal.ErrorCode != "": // some refuse with 200
		return nil, &Error{Fault: Setup, NotSent: true, Err: errors.New(Redact("no access token: " + refusal.ErrorCode))}
	case err != nil || token.AccessToken == "":
		return nil, &Error{NotSent: true, Err: errors.New("the answer is not an access token")}
	}
	return token, nil
}

// bridge is a transport that goes through our client.
type bridge struct {
	ctx    context.Context
	client *Client
	asked  bool
	err    error
}

func (b *bridge) RoundTrip(req *http.Request) (*http.Response, error) {
	b.asked = true
	resp, err := b.client.Do(req.WithContext(b.ctx))
	if err != nil {
		b.err = err
		return nil, err
	}
	return &http.Response{StatusCode: resp.Status, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(resp.Body)), Request: req}, nil
}

// CheckBaseURL says what is wrong with the address of an API; nil where nothing is.
func CheckBaseURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("must be a URL such as https://api.example.com")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must hold no user, query or fragment")
	}
	return nil
}
