package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Captcha says who tells people from programs.
type Captcha struct {
	Provider string // Turnstile, HCaptcha or ReCAPTCHA
	Secret   string
	FailOpen bool          // posts are accepted while the provider does not answer; else none is
	URL      string        // "": the provider's own
	Timeout  time.Duration // of its answer; 0: 5 s
}

// Providers of a Captcha.
const (
	Turnstile = "turnstile"
	HCaptcha  = "hcaptcha"
	ReCAPTCHA = "recaptcha"
)

// provider is what differs between those who are asked alike.
type provider struct {
	url   string
	field string // which its widget adds to the form
	// score is what a person's is at least, where the answer has one.
	score float64
}

var providers = map[string]provider{
	// https://developers.cloudflare.com/turnstile/get-started/server-side-validation/
	Turnstile: {url: "https://challenges.cloudflare.com/turnstile/v0/siteverify", field: "cf-turnstile-response"},
	// https://docs.hcaptcha.com/#verify-the-user-response-server-side
	HCaptcha: {url: "https://api.hcaptcha.com/siteverify", field: "h-captcha-response"},
	// https://developers.google.com/recaptcha/docs/verify, and /v3 for the score
	ReCAPTCHA: {url: "https://www.google.com/recaptcha/api/siteverify", field: "g-recaptcha-response", score: .5},
}

// isCaptchaField says whether a field is a widget's: some add another's as well.
func isCaptchaField(name string) bool {
	for _, p := range providers {
		if p.field == name {
			return true
		}
	}
	return false
}

const (
	captchaTimeout = 5 * time.Second
	// maxCaptchaToken is longer than any provider's token.
	maxCaptchaToken  = 8 << 10
	maxCaptchaAnswer = 64 << 10
)

// captchaClient follows no redirects: the secret is for the provider alone.
var captchaClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// verify asks the provider whether a person was given a token. The error says that it cannot tell; it holds no secret.
func (c *Captcha) verify(ctx context.Context, token string, client netip.Addr) (passed bool, err error) {
	of := providers[c.Provider]
	address, timeout := of.url, captchaTimeout
	if c.URL != "" {
		address = c.URL
	}
	if c.Timeout > 0 {
		timeout = c.Timeout
	}
	form := url.Values{"secret": {c.Secret}, "response": {token}}
	if client.IsValid() {
		form.Set("remoteip", client.String())
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return false, errors.New("its url is none")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := captchaClient.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the address
		}
		return false, err
	}
	defer resp.Body.Close()
	var said struct {
		Success *bool    `json:"success"`
		Score   *float64 `json:"score"`
		Codes   []string `json:"error-codes"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxCaptchaAnswer))
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest {
		return false, fmt.Errorf("it answered %d", resp.StatusCode)
	}
	if json.Unmarshal(body, &said) != nil || said.Success == nil {
		return false, fmt.Errorf("it answered %d and nothing that can be read", resp.StatusCode)
	}
	if *said.Success && resp.StatusCode == http.StatusOK {
		return said.Score == nil || *said.Score >= of.score, nil
	}
	// These are no fault of the token.
	for _, code := range []string{"missing-input-secret", "invalid-input-secret", "internal-error"} {
		if slices.Contains(said.Codes, code) {
			return false, errors.New("it answered " + code)
		}
	}
	return false, nil
}
