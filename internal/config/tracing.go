package config

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

var headerName = regexp.MustCompile("^[-A-Za-z0-9!#$%&'*+.^_`|~]+$") // RFC 9110, 5.6.2

// Header returns the headers by name.
func (t Tracing) Header() map[string]string {
	header, _ := t.header()
	return header
}

func (t Tracing) header() (map[string]string, error) {
	header := map[string]string{}
	if t.Headers == "" {
		return header, nil
	}
	for _, pair := range strings.Split(t.Headers.Reveal(), ",") {
		name, value, found := strings.Cut(pair, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !found || !headerName.MatchString(name) || strings.ContainsFunc(value, unicode.IsControl) {
			return nil, errors.New("tracing.headers: must be name=value, several by commas, such as authorization=Bearer abc")
		}
		header[http.CanonicalHeaderKey(name)] = value
	}
	return header, nil
}

func (t Tracing) check() error {
	var problems []error
	if t.Endpoint != "" {
		u, err := url.Parse(t.Endpoint)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			problems = append(problems, errors.New("tracing.endpoint: must be a URL such as http://localhost:4318, or empty"))
		case u.User != nil:
			problems = append(problems, errors.New("tracing.endpoint: must hold no user or password; set tracing.headers"))
		}
	}
	if _, err := t.header(); err != nil {
		problems = append(problems, err)
	}
	if !(t.Sample >= 0 && t.Sample <= 1) {
		problems = append(problems, errors.New("tracing.sample: must be 0 to 1"))
	}
	return errors.Join(problems...)
}
