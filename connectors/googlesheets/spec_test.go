package googlesheets

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

// discovery is as much of Google's own description of the API as the checks need
// (https://developers.google.com/discovery/v1/reference/apis).
type discovery struct {
	Parameters map[string]parameter `json:"parameters"`
	Schemas    map[string]schema    `json:"schemas"`
	Resources  map[string]struct {
		Methods map[string]method `json:"methods"`
	} `json:"resources"`
}

type method struct {
	HTTPMethod string               `json:"httpMethod"`
	Path       string               `json:"path"`
	Parameters map[string]parameter `json:"parameters"`
	Request    schema               `json:"request"`
	Response   schema               `json:"response"`
}

type parameter struct {
	Location string   `json:"location"`
	Repeated bool     `json:"repeated"`
	Enum     []string `json:"enum"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Enum       []string          `json:"enum"`
	Items      *schema           `json:"items"`
	Properties map[string]schema `json:"properties"`
}

// loadSpec reads the description once; nil where SPEC_DIR is not set, see TestRequestsAreByTheVendorsDescription.
var loadSpec = sync.OnceValue(func() *discovery {
	dir := os.Getenv("SPEC_DIR")
	if dir == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "google-sheets", "sheets-api.json"))
	if err != nil {
		panic("the vendor's description: " + err.Error())
	}
	var d discovery
	if err := json.Unmarshal(text, &d); err != nil {
		panic("the vendor's description: " + err.Error())
	}
	return &d
})

var placeholder = regexp.MustCompile(`\\\{[^}]*\\\}`)

// check validates a request and, so that the stand-in stays honest, the answer to it.
func (d *discovery) check(r *http.Request, body []byte, answer *httptest.ResponseRecorder) error {
	for _, m := range d.Resources["spreadsheets"].Methods {
		path := regexp.MustCompile("^/" + placeholder.ReplaceAllString(regexp.QuoteMeta(m.Path), "[^/:]+") + "$")
		if m.HTTPMethod != r.Method || !path.MatchString(r.URL.Path) {
			continue
		}
		for name, values := range r.URL.Query() {
			p, known := m.Parameters[name]
			if !known {
				p, known = d.Parameters[name]
			}
			switch {
			case !known || p.Location != "query":
				return fmt.Errorf("unknown parameter %q", name)
			case len(values) > 1 && !p.Repeated:
				return fmt.Errorf("parameter %s is given %d times", name, len(values))
			case p.Enum != nil && !slices.Contains(p.Enum, values[0]):
				return fmt.Errorf("parameter %s cannot be %q", name, values[0])
			}
		}
		if mask := r.URL.Query().Get("fields"); mask != "" {
			if err := d.checkMask("fields", parseMask(mask), m.Response); err != nil {
				return err
			}
		}
		if err := d.checkText("body", body, m.Request); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		if answer.Code != 200 {
			return nil
		}
		if err := d.checkText("body", answer.Body.Bytes(), m.Response); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		return nil
	}
	return fmt.Errorf("no such method")
}

func (d *discovery) checkText(place string, text []byte, s schema) error {
	if s.Ref == "" {
		if len(text) > 0 {
			return fmt.Errorf("%s: there must be none", place)
		}
		return nil
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	return d.checkValue(place, value, s)
}

func (d *discovery) resolve(s schema) schema {
	if s.Ref != "" {
		return d.Schemas[s.Ref]
	}
	return s
}

func (d *discovery) checkValue(place string, value any, s schema) error {
	s = d.resolve(s)
	fits := s.Type == "any"
	switch v := value.(type) {
	case map[string]any:
		fits = s.Type == "object"
		for name, member := range v {
			known, ok := s.Properties[name]
			if !ok {
				return fmt.Errorf("%s: unknown member %q", place, name)
			}
			if err := d.checkValue(place+"."+name, member, known); err != nil {
				return err
			}
		}
	case []any:
		fits = s.Type == "array"
		for i, element := range v {
			if err := d.checkValue(fmt.Sprintf("%s[%d]", place, i), element, *s.Items); err != nil {
				return err
			}
		}
	case string:
		fits = s.Type == "string" && (s.Enum == nil || slices.Contains(s.Enum, v))
	case float64:
		fits = s.Type == "number" || s.Type == "integer" && v == float64(int64(v))
	case bool:
		fits = s.Type == "boolean"
	}
	if !fits {
		return fmt.Errorf("%s: %v is not %s %v", place, value, s.Type, s.Enum)
	}
	return nil
}

// mask is a parsed field mask: the members to keep, nil for all.
type mask map[string]mask

func parseMask(text string) mask {
	m, _ := parseMembers(text)
	return m
}

func parseMembers(text string) (mask, string) {
	m := mask{}
	for text != "" && text[0] != ')' {
		end := strings.IndexAny(text, ",()")
		if end < 0 {
			end = len(text)
		}
		name := text[:end]
		m[name], text = nil, text[end:]
		if strings.HasPrefix(text, "(") {
			m[name], text = parseMembers(text[1:])
			text = strings.TrimPrefix(text, ")")
		}
		text = strings.TrimPrefix(text, ",")
	}
	return m, text
}

func (d *discovery) checkMask(place string, m mask, s schema) error {
	s = d.resolve(s)
	for s.Items != nil {
		s = d.resolve(*s.Items)
	}
	for name, inner := range m {
		member, ok := s.Properties[name]
		if !ok {
			return fmt.Errorf("%s: unknown member %q", place, name)
		}
		if err := d.checkMask(place+"."+name, inner, member); err != nil {
			return err
		}
	}
	return nil
}

func masked(value any, m mask) any {
	if m == nil {
		return value
	}
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = masked(v[i], m)
		}
	case map[string]any:
		for name := range v {
			inner, kept := m[name]
			if !kept {
				delete(v, name)
				continue
			}
			v[name] = masked(v[name], inner)
		}
	}
	return value
}

func TestRequestsAreByTheVendorsDescription(t *testing.T) {
	connectortest.SpecDir(t)
	for _, row := range []struct{ name, method, address, body, want string }{
		{"an unknown path", "POST", "/v4/spreadsheets/x:replace", `{}`, "no such method"},
		{"an unknown parameter", "GET", "/v4/spreadsheets/x?range=A1", ``, `unknown parameter "range"`},
		{"an unknown field", "GET", "/v4/spreadsheets/x?fields=sheets(cells)", ``, `fields.sheets: unknown member "cells"`},
		{"an unknown member", "POST", "/v4/spreadsheets/x:batchUpdate", `{"requests":[{"deleteRow":{}}]}`, `request: body.requests[0]: unknown member "deleteRow"`},
		{"a wrong type", "POST", "/v4/spreadsheets/x:batchUpdate", `{"requests":[{"updateCells":{"rows":[{"values":[{"userEnteredValue":{"stringValue":1}}]}]}}]}`, "is not string"},
		{"an unknown dimension", "POST", "/v4/spreadsheets/x:batchUpdate", `{"requests":[{"deleteDimension":{"range":{"dimension":"ROW"}}}]}`, "ROW is not string"},
	} {
		r := httptest.NewRequest(row.method, row.address, nil)
		answer := httptest.NewRecorder()
		answer.Code = 400
		if err := loadSpec().check(r, []byte(row.body), answer); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", row.name, err, row.want)
		}
	}
}

// The vendor's own client library was recorded deleting row 5 of the tab 0.
func TestADeleteIsWhatTheVendorsClientSends(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "sdk-wire-recordings.txt"))
	if err != nil {
		t.Fatal(err)
	}
	recording := regexp.MustCompile(`POST (/v4/spreadsheets/SID:batchUpdate)\?\S* application/json (\{"requests":\[\{"deleteDimension".*)`).FindSubmatch(text)
	if recording == nil {
		t.Fatal("the recordings have no deleteDimension")
	}
	ours, _ := json.Marshal(map[string]any{"requests": []request{{DeleteDimension: &deleteDimension{dimensionRange{0, "ROWS", 4, 5}}}}})
	if got, want := canonicalJSON(t, ours), canonicalJSON(t, recording[2]); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func canonicalJSON(t testing.TB, text []byte) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	canonical, _ := json.MarshalIndent(value, "", "  ")
	return string(canonical) + "\n"
}
