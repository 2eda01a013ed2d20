package lead

import (
	"bytes"
	"encoding/json"
	"time"
)

// stored is how a lead is written to the store: short names, nothing for what is empty. ID and Revision are
// kept beside it.
type stored struct {
	Name    string         `json:"n,omitempty"`
	Email   string         `json:"e,omitempty"`
	Source  string         `json:"s,omitempty"`
	Note    string         `json:"o,omitempty"`
	Custom  map[string]any `json:"f,omitempty"`
	Created int64          `json:"c"`
	Updated int64          `json:"u,omitempty"`
}

// Encode writes everything of the lead but its ID and Revision, compactly. Equal leads give equal bytes.
func (l Lead) Encode() []byte {
	s := stored{l.Name, l.Email, l.Source, l.Note, l.Custom, l.Created.UnixMilli(), l.Updated.UnixMilli()}
	if s.Updated == s.Created {
		s.Updated = 0
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		panic("lead: a parsed lead always encodes: " + err.Error())
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}

// Decode reads what Encode wrote.
func Decode(id string, revision int64, data []byte) (Lead, error) {
	var s stored
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&s); err != nil {
		return Lead{}, err
	}
	if s.Updated == 0 {
		s.Updated = s.Created
	}
	return Lead{
		ID: id, Revision: revision,
		Name: s.Name, Email: s.Email, Source: s.Source, Note: s.Note, Custom: s.Custom,
		Created: time.UnixMilli(s.Created).UTC(), Updated: time.UnixMilli(s.Updated).UTC(),
	}, nil
}
