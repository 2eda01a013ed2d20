package rest

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
)

var errNotKnown = errors.New("a part of the address is not known")

// recordURL reads where people see a record. No secret may show in it.
func (p *reader) recordURL(d *document) *template {
	t := p.template(&d.RecordAt, scope{"settings", "ref"})
	if t == nil {
		return nil
	}
	for _, e := range t.expressions {
		if e == nil {
			continue
		}
		for _, s := range d.Settings {
			if s.Secret && slices.Contains(e.names, "settings."+s.Name) || slices.Contains(e.names, "settings") {
				p.problem(&d.RecordAt, "record_url: must not hold a secret: name the settings it needs, and no secret one")
			}
		}
	}
	return t
}

// RecordURL is where people see a record, "" where that is not known.
func (c *connector) RecordURL(ref string) string {
	t := c.recipe.recordAt
	if t == nil || ref == "" {
		return ""
	}
	env := map[string]any{"settings": c.given.values, "ref": ref}
	first := t.texts[0] == ""
	address, err := t.text(env, func(value string) (string, error) {
		if value == "" {
			return "", errNotKnown
		}
		if first { // it begins with an address of the settings
			first = false
			return value, connectors.CheckBaseURL(value)
		}
		// As one part of a path, a query or a fragment: its address may have any of them.
		if _, err := inPath(value); err != nil {
			return "", err
		}
		return strings.ReplaceAll(url.QueryEscape(value), "+", "%20"), nil
	})
	if err != nil || !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
		return ""
	}
	return address
}
