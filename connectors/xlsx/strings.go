package xlsx

import (
	"encoding/xml"
	"io"
	"strings"
)

// sharedStrings is the workbook's table of texts, which cells of every worksheet name by their number.
type sharedStrings struct {
	doc    string
	prefix string // of the elements' names
	items  []sharedString
	lost   []int // those that our worksheet does not use any more
}

type sharedString struct {
	from, to int // where it stands
	value    string
	uses     int // in our worksheet
}

// readStrings takes the table apart; doc "" is a workbook without one.
func readStrings(doc string) (*sharedStrings, error) {
	s := &sharedStrings{doc: doc}
	d := tokensOf(doc)
	var value strings.Builder
	inText := false
	for {
		start := int(d.InputOffset())
		token, err := d.next()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "si":
				value.Reset()
				s.items = append(s.items, sharedString{from: start})
				if t.Name.Space != "" {
					s.prefix = t.Name.Space + ":"
				}
			case "t":
				inText = true
			case "rPh": // how a text is pronounced
				if err := d.skip(); err != nil {
					return nil, err
				}
			}
		case xml.CharData:
			if inText {
				value.Write(t)
			}
		case xml.EndElement:
			inText = false
			if t.Name.Local == "si" && len(s.items) > 0 {
				last := &s.items[len(s.items)-1]
				last.to, last.value = int(d.InputOffset()), unescape(value.String())
			}
		}
	}
}

func (s *sharedStrings) lose(i int) {
	if s.items[i].uses--; s.items[i].uses == 0 {
		s.lost = append(s.lost, i)
	}
}

// without is the table with the lost texts taken out, but for those that are used elsewhere. Their places stay, empty:
// the other texts keep their numbers.
func (s *sharedStrings) without(elsewhere map[int]bool) string {
	gone := map[int]bool{}
	for _, i := range s.lost {
		gone[i] = s.items[i].uses == 0 && !elsewhere[i]
	}
	var out strings.Builder
	done := 0
	for i, item := range s.items {
		if gone[i] {
			out.WriteString(s.doc[done:item.from])
			out.WriteString("<" + s.prefix + "si><" + s.prefix + "t></" + s.prefix + "t></" + s.prefix + "si>")
			done = item.to
		}
	}
	return out.String() + s.doc[done:]
}
