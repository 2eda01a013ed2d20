package csv

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// idColumn is the header of the column that locates a lead's row.
const idColumn = "lead_id"

const byteOrderMark = "\uFEFF"

// layout says where a file has what.
type layout struct {
	comma byte
	eol   string
	width int   // columns in the header
	at    []int // the place of each configured column, lead_id first
}

// appendable reports whether a new row may be appended. A torn append can only be told from a person's last line
// while lead_id is the first column.
func (l layout) appendable() bool { return l.at[0] == 0 }

// sheet is a file's content. Rows nobody touches are written back byte for byte.
type sheet struct {
	layout
	header string
	rows   []row
	torn   bool // its end was not whole and is mended here: it has to be written anew
	stale  bool // it has to be written anew before it can grow: a missing column, a byte order mark too many or too few
}

// row is a line with its ending; id is "" in a row that is not a lead's.
type row struct{ text, id string }

// edit is what a change does to a lead's row. The values begin with the id; a delete has none.
type edit struct {
	id     string
	values []any
}

func (e edit) writes() bool { return e.values != nil }

func (e edit) cells(comma byte) []string {
	cells := make([]string, len(e.values))
	for i, value := range e.values {
		cells[i] = Cell(value, comma)
	}
	return cells
}

// newSheet is a file with nothing but the header.
func newSheet(columns []string, comma byte) *sheet {
	s := &sheet{layout: layout{comma: comma, eol: "\n", width: len(columns)}, stale: true}
	header := make([]string, len(columns))
	for i, name := range columns {
		header[i] = headerCell(name, comma)
		s.at = append(s.at, i)
	}
	s.header = encode(header, comma, s.eol)
	return s
}

// readSheet takes a file apart; content without any text is a new sheet. Errors are setup faults: the file is not
// one to write.
func readSheet(content string, columns []string, comma byte, bom bool) (*sheet, error) {
	whole := len(content)
	content = strings.TrimRight(content, "\x00") // a power cut leaves them where appended bytes were not on the disk yet
	torn := len(content) != whole
	content, marked := strings.CutPrefix(content, byteOrderMark)
	if strings.TrimSpace(content) == "" {
		s := newSheet(columns, comma)
		s.torn = true
		return s, nil
	}
	s, rest, err := readHeader(content, comma)
	if err != nil {
		return nil, err
	}
	s.torn, s.stale = torn, marked != bom
	if !strings.HasSuffix(s.header, s.eol) {
		s.header += s.eol
		s.torn = true
	}
	header, _, _ := next(s.header, s.comma, nil)
	id := s.place(header, idColumn)

	var cells []string
	for rest != "" {
		var n int
		var end ending
		cells, n, end = next(rest, s.comma, cells[:0])
		r := row{text: rest[:n]}
		rest = rest[n:]
		if id < len(cells) {
			r.id = strings.TrimSpace(cells[id])
		}
		switch {
		case end == quoteOpen && leadID.MatchString(cells[len(cells)-1]):
			return nil, fmt.Errorf("row %d has a quote that is never closed", len(s.rows)+2)
		case end != lineEnded && id == 0 && len(cells) == 1 && halfID(cells[0]):
			s.torn = true
			continue
		case end != lineEnded:
			last := &cells[len(cells)-1]
			*last = wholeRunes(*last)
			r.text = encode(cells, s.comma, s.eol)
			s.torn = true
		}
		if !utf8.ValidString(r.text) {
			return nil, fmt.Errorf("row %d is not UTF-8: save the file as \"CSV UTF-8\"", len(s.rows)+2)
		}
		s.rows = append(s.rows, r)
	}
	s.arrange(header, columns)
	return s, nil
}

// readHeader finds the delimiter that makes a lead_id column, the configured one first: whoever opens and saves
// the file with another gets to keep it.
func readHeader(content string, comma byte) (s *sheet, rest string, err error) {
	s = &sheet{}
	for _, s.comma = range []byte{comma, ',', ';', '\t', '|'} {
		header, n, end := next(content, s.comma, nil)
		if s.place(header, idColumn) < 0 || end == quoteOpen {
			continue
		}
		s.header = content[:n]
		switch {
		case strings.HasSuffix(s.header, "\r\n"):
			s.eol = "\r\n"
		case strings.HasSuffix(s.header, "\r"):
			s.eol = "\r"
		default:
			s.eol = "\n"
		}
		if !utf8.ValidString(s.header) {
			return nil, "", errors.New("the header is not UTF-8: save the file as \"CSV UTF-8\"")
		}
		return s, content[n:], nil
	}
	if strings.HasPrefix(content, "\xff\xfe") || strings.HasPrefix(content, "\xfe\xff") {
		return nil, "", errors.New("the file is UTF-16: save it as \"CSV UTF-8\"")
	}
	return nil, "", errors.New("the first line has no lead_id column: bring it back, or choose another path if the file is not ours to write")
}

// place finds a column in a header; -1: it is not there.
func (l layout) place(header []string, name string) int {
	want := headerCell(name, l.comma)
	return slices.IndexFunc(header, func(cell string) bool { return strings.TrimSpace(cell) == want })
}

func headerCell(name string, comma byte) string {
	return Cell(strings.TrimSpace(connectors.CellText(name)), comma)
}

// arrange finds the configured columns. While they are all there, people's order of the columns stands. Is one
// missing, the configured columns come first, in their order, and then all others with what they hold.
func (s *sheet) arrange(header, columns []string) {
	missing := false
	for _, name := range columns {
		place := s.place(header, name)
		s.at = append(s.at, place)
		missing = missing || place < 0
	}
	s.width = len(header)
	if !missing {
		return
	}
	s.stale = true
	order := slices.Clone(s.at) // new place -> old place, or -1
	for old := range header {
		if !slices.Contains(s.at, old) {
			order = append(order, old)
		}
	}
	move := func(cells []string) []string {
		moved := make([]string, len(order))
		for i, old := range order {
			if old >= 0 && old < len(cells) {
				moved[i] = cells[old]
			}
		}
		return append(moved, cells[min(len(header), len(cells)):]...)
	}
	for i := range s.rows {
		if strings.TrimSpace(s.rows[i].text) != "" {
			cells, _, _ := next(s.rows[i].text, s.comma, nil)
			s.rows[i].text = encode(move(cells), s.comma, s.eol)
		}
	}
	moved := move(header)
	for i, name := range columns {
		s.at[i] = i
		moved[i] = headerCell(name, s.comma)
	}
	s.header = encode(moved, s.comma, s.eol)
	s.width = len(order)
}

// edit applies edits to the rows, all copies of a row that a person may have made alike. added are the rows of new
// leads, which are in s.rows, too; changed says whether anything else differs from the file.
func (s *sheet) edit(edits []edit) (added []row, changed bool) {
	wanted := make(map[string]edit, len(edits))
	for _, e := range edits {
		wanted[e.id] = e
	}
	seen := make(map[string]bool, len(edits))
	kept := s.rows[:0]
	changed = s.torn
	for _, r := range s.rows {
		e, ok := wanted[r.id]
		switch {
		case !ok || r.id == "":
			kept = append(kept, r)
			continue
		case !e.writes():
			changed = true
		default:
			updated := s.update(r, e)
			changed = changed || updated != r
			kept = append(kept, updated)
		}
		seen[r.id] = true
	}
	for _, e := range edits {
		if !seen[e.id] && e.writes() {
			added = append(added, s.create(e))
		}
	}
	s.rows = append(kept, added...)
	return added, changed
}

// update sets the configured columns of a row; a row that has their values already stays as it is.
func (s *sheet) update(r row, e edit) row {
	cells, _, _ := next(r.text, s.comma, nil)
	same := true
	for i, cell := range e.cells(s.comma) {
		for len(cells) <= s.at[i] {
			cells = append(cells, "")
		}
		if cells[s.at[i]] != cell && i > 0 {
			cells[s.at[i]] = cell
			same = false
		}
	}
	if same {
		return r
	}
	return row{encode(cells, s.comma, s.eol), r.id}
}

func (l layout) create(e edit) row {
	cells := make([]string, l.width)
	for i, cell := range e.cells(l.comma) {
		cells[l.at[i]] = cell
	}
	return row{encode(cells, l.comma, l.eol), e.id}
}

type ending int

const (
	lineEnded ending = iota
	noEnd            // the text ends without a line ending
	quoteOpen        // the text ends within quotes
)

// next reads the first row of a text that is not empty: RFC 4180, and whatever else people's files hold. Quotes count
// at the beginning of a cell only; what follows the closing one belongs to the cell. The cells are appended to cells;
// n is the row's length with its ending.
func next(text string, comma byte, cells []string) (row []string, n int, end ending) {
	i := 0
	for {
		quoted := ""
		if i < len(text) && text[i] == '"' {
			i++
			start, doubled := i, false
			for {
				quote := strings.IndexByte(text[i:], '"')
				if quote < 0 {
					return append(cells, undouble(text[start:], doubled)), len(text), quoteOpen
				}
				i += quote + 1
				if i == len(text) || text[i] != '"' {
					break
				}
				i++
				doubled = true
			}
			quoted = undouble(text[start:i-1], doubled)
		}
		start := i
		for i < len(text) && text[i] != comma && text[i] != '\n' && text[i] != '\r' {
			i++
		}
		cells = append(cells, quoted+text[start:i])
		switch {
		case i == len(text):
			return cells, i, noEnd
		case text[i] == comma:
			i++
		case strings.HasPrefix(text[i:], "\r\n"):
			return cells, i + 2, lineEnded
		default:
			return cells, i + 1, lineEnded
		}
	}
}

func undouble(text string, doubled bool) string {
	if doubled {
		return strings.ReplaceAll(text, `""`, `"`)
	}
	return text
}

// encode writes a row. Every cell that holds any usual delimiter is quoted, not only the file's own: LibreOffice
// splits at several of them.
func encode(cells []string, comma byte, eol string) string {
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteByte(comma)
		}
		if strings.ContainsAny(cell, "\",;\t|\r\n") || strings.TrimSpace(cell) != cell {
			line.WriteByte('"')
			line.WriteString(strings.ReplaceAll(cell, `"`, `""`))
			line.WriteByte('"')
		} else {
			line.WriteString(cell)
		}
	}
	line.WriteString(eol)
	return line.String()
}

// halfID reports what is left of a lead's id when its first bytes were written and no more.
func halfID(text string) bool {
	_, whole := lead.ShardOf(text)
	return !whole && text != "" && (strings.HasPrefix(text, "lead_") || strings.HasPrefix("lead_", text))
}

// leadID finds an id within a text. A torn row is the last thing in a file; when other leads follow an open quote, a
// person's hand opened it, and it must not swallow them.
var leadID = regexp.MustCompile(`lead_[0-9a-v]{23}`)

// wholeRunes removes a character that was cut at the end.
func wholeRunes(text string) string {
	for i := len(text) - 1; i >= 0 && i >= len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRuneInString(text[i:]) {
				return text[:i]
			}
			break
		}
	}
	return text
}
