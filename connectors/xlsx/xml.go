package xlsx

import (
	"encoding/xml"
	"io"
	"regexp"
	"strings"
)

// tokens reads XML as it stands, and makes sure that it is well-formed.
type tokens struct {
	*xml.Decoder
	open []xml.Name
}

func tokensOf(doc string) *tokens { return &tokens{Decoder: xml.NewDecoder(strings.NewReader(doc))} }

// next returns io.EOF when all is read.
func (t *tokens) next() (xml.Token, error) {
	token, err := t.RawToken()
	switch el := token.(type) {
	case xml.StartElement:
		t.open = append(t.open, el.Name)
	case xml.EndElement:
		last := len(t.open) - 1
		if last < 0 || t.open[last] != el.Name {
			return nil, errDamaged
		}
		t.open = t.open[:last]
	}
	if err == io.EOF && len(t.open) > 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return token, err
}

// skip reads on to the end of the element whose start was read last.
func (t *tokens) skip() error {
	for depth := len(t.open); len(t.open) >= depth; {
		if _, err := t.next(); err != nil {
			return err
		}
	}
	return nil
}

// attribute is the value of an element's attribute that has no prefix, or "".
func attribute(el xml.StartElement, name string) string {
	for _, a := range el.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// isSet reads an attribute that is true or false.
func isSet(el xml.StartElement, name string) bool {
	value := attribute(el, name)
	return value == "1" || value == "true"
}

// rewrite gives with each element of a local name, its start tag and the rest of it, and puts what that returns in its
// place. Everything else stays byte for byte. Old Excel drawings are not well-formed.
func rewrite(doc, local string, with func(el xml.StartElement, tag, rest string) string) (string, error) {
	var out strings.Builder
	d := xml.NewDecoder(strings.NewReader(doc))
	d.Strict = false
	var el xml.StartElement
	done, from, tagEnd, depth := 0, 0, 0, 0
	for {
		start := int(d.InputOffset())
		token, err := d.RawToken()
		if err == io.EOF {
			return out.String() + doc[done:], nil
		}
		if err != nil {
			return "", err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local != local {
				continue
			}
			if depth++; depth == 1 {
				el, from, tagEnd = t.Copy(), start, int(d.InputOffset())
			}
		case xml.EndElement:
			if t.Name.Local != local || depth == 0 {
				continue
			}
			if depth--; depth == 0 {
				out.WriteString(doc[done:from])
				done = int(d.InputOffset())
				out.WriteString(with(el, doc[from:tagEnd], doc[tagEnd:done]))
			}
		}
	}
}

var attributes = regexp.MustCompile(`\s+([^\s=/>"']+)\s*=\s*(?:"[^"]*"|'[^']*')`)

// setAttribute sets an attribute in a start tag; value "" removes it.
func setAttribute(tag, name, value string) string {
	for _, place := range attributes.FindAllStringSubmatchIndex(tag, -1) {
		if tag[place[2]:place[3]] == name {
			tag = tag[:place[0]] + tag[place[1]:]
			break
		}
	}
	if value == "" {
		return tag
	}
	end := len(strings.TrimRight(tag, "/> \t\r\n"))
	return tag[:end] + ` ` + name + `="` + value + `"` + tag[end:]
}

// endTag ends the element that a start tag begins.
func endTag(tag string) string { return "</" + tag[1:1+strings.IndexAny(tag[1:], "/> \t\r\n")] + ">" }
