package xlsx

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sheet is the XML of a worksheet. What nobody touches is written back byte for byte.
type sheet struct {
	head, tail string // what is before and after the rows; the tags around them are rows'
	closed     bool   // head ends with a tag that is an element by itself, without rows
	prefix     string // of the elements' names: "", or "x:"
	styles     []columnStyle
	rows       []row // ascending
	width      int   // the last column that holds anything

	shared  *sharedStrings
	columns []string // lead_id first
	at      []int    // the place of each column; of one that is missing, the place it will have
	missing []int    // which of columns are

	changed  bool
	placed   map[int]bool    // the rows that new leads got
	stale    map[string]bool // the names of the cells that hold something else now
	emptied  map[int]bool    // the rows of the leads that were deleted
	unlinked bool            // a formula is gone that others may be known to depend on
}

// row is a <row>.
type row struct {
	number int
	text   string
	id     string // "" in a row that is not a lead's
	free   bool   // a new lead may have it
}

// cell is a <c>.
type cell struct {
	column int
	text   string
	tag    string // its start tag
	style  string
	content
	shared  int    // the place of its text among the shared strings, or -1
	formula string // its <f>
	group   string // the number of the formula it shares with others
	leads   bool   // the shared formula stands here
}

// constant reports a cell whose content is not calculated. LibreOffice makes a formula of a truth.
func (c cell) constant() bool {
	return c.formula == "" || strings.Contains(c.formula, ">TRUE()<") || strings.Contains(c.formula, ">FALSE()<")
}

type columnStyle struct {
	first, last int
	style       string
}

// edit is what a change does to a lead's row. The cells begin with the id; a delete has none.
type edit struct {
	id    string
	cells []content
}

func (e edit) writes() bool { return e.cells != nil }

var errOrder = errors.New("its rows and cells are not in order: open the file and save it again")

// readSheet takes a worksheet apart. A worksheet without any content is given its header.
func readSheet(doc string, columns []string, shared *sharedStrings) (*sheet, error) {
	s := &sheet{
		shared: shared, columns: columns, at: make([]int, len(columns)),
		placed: map[int]bool{}, stale: map[string]bool{}, emptied: map[int]bool{},
	}
	d := tokensOf(doc)
	number, inside := 0, false
	for s.tail == "" {
		start := int(d.InputOffset())
		token, err := d.next()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch {
			case t.Name.Local == "col":
				first, _ := strconv.Atoi(attribute(t, "min"))
				last, _ := strconv.Atoi(attribute(t, "max"))
				s.styles = append(s.styles, columnStyle{first, last, attribute(t, "style")})
			case t.Name.Local == "sheetData":
				inside = true
				s.head = doc[:d.InputOffset()]
				s.closed = strings.HasSuffix(s.head, "/>")
				if t.Name.Space != "" {
					s.prefix = t.Name.Space + ":"
				}
			case t.Name.Local == "row" && inside:
				r, cells, err := s.readRow(doc, d, t, start, number)
				if err != nil {
					return nil, err
				}
				if r.number <= number || r.number > maxRows {
					return nil, errOrder
				}
				number = r.number
				s.look(&r, cells)
				s.rows = append(s.rows, r)
			}
		case xml.EndElement:
			if t.Name.Local == "sheetData" {
				s.tail = doc[start:]
			}
		}
	}
	return s, s.arrange()
}

// look finds out what a row is to us.
func (s *sheet) look(r *row, cells []cell) {
	for _, c := range cells {
		if c.shared >= 0 {
			s.shared.items[c.shared].uses++
		}
		if c.kind == emptyCell && c.formula == "" {
			continue
		}
		s.width = max(s.width, c.column)
		switch {
		case r.number == 1:
			// Of columns with one header, the first is ours.
			if i := slices.Index(s.columns, headerText(c.value)); i >= 0 && s.at[i] == 0 {
				s.at[i] = c.column
			}
		case c.formula == "" && c.column == s.at[0]:
			r.id = strings.TrimSpace(c.value)
		}
		if c.formula == "" || s.ours(c.column) {
			r.free = false
		}
	}
}

// ours reports a column that we write.
func (s *sheet) ours(column int) bool { return slices.Contains(s.at, column) }

// arrange gives the missing columns their places, behind everything that is there: no formula moves.
func (s *sheet) arrange() error {
	if s.at[0] == 0 && s.width > 0 {
		return errors.New("its row 1 has no lead_id column: bring it back, or choose another sheet if this one is not ours to write")
	}
	place := s.width
	for i := range s.at {
		if s.at[i] == 0 {
			place++
			s.at[i] = place
			s.missing = append(s.missing, i)
		}
	}
	if place > maxColumns {
		return fmt.Errorf("it has no room for %d more columns", len(s.missing))
	}
	return nil
}

// readRow reads on from a row's start tag, which begins at start. Rows and cells need not say where they are: then
// they follow the one before. Here they all say it.
func (s *sheet) readRow(doc string, d *tokens, el xml.StartElement, start, before int) (row, []cell, error) {
	r := row{number: before + 1}
	complete := true
	if at := attribute(el, "r"); at != "" {
		r.number, _ = strconv.Atoi(at)
	} else {
		complete = false
	}
	tag := doc[start:d.InputOffset()]
	var cells []cell
	last := 0
	for {
		from := int(d.InputOffset())
		token, err := d.next()
		if err != nil {
			return row{}, nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local != "c" {
				if err := d.skip(); err != nil {
					return row{}, nil, err
				}
				continue
			}
			c, err := s.readCell(doc, d, t, from)
			if err != nil {
				return row{}, nil, err
			}
			if c.column == 0 {
				complete = false
				c.column = last + 1
				tag := setAttribute(c.tag, "r", cellName(c.column, r.number))
				c.text, c.tag = tag+c.text[len(c.tag):], tag
			}
			if c.column <= last || c.column > maxColumns {
				return row{}, nil, errOrder
			}
			last = c.column
			cells = append(cells, c)
		case xml.EndElement:
			r.text = doc[start:d.InputOffset()]
			if !complete {
				r.text = s.encode(setAttribute(tag, "r", strconv.Itoa(r.number)), cells)
			}
			r.free = !isSet(el, "hidden")
			return r, cells, nil
		}
	}
}

func (s *sheet) readCell(doc string, d *tokens, el xml.StartElement, start int) (cell, error) {
	c := cell{tag: doc[start:d.InputOffset()], style: attribute(el, "s"), shared: -1}
	if name := attribute(el, "r"); name != "" {
		column, _, ok := position(name)
		if !ok {
			return cell{}, errDamaged
		}
		c.column = column
	}
	var value, inline strings.Builder
	var into *strings.Builder
	formula := 0
	for {
		from := int(d.InputOffset())
		token, err := d.next()
		if err != nil {
			return cell{}, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "v":
				into = &value
			case "t":
				into = &inline
			case "f":
				formula = from
				c.group, c.leads = attribute(t, "si"), attribute(t, "ref") != ""
			case "rPh": // how a text is pronounced
				if err := d.skip(); err != nil {
					return cell{}, err
				}
			case "c":
				return cell{}, errDamaged
			}
		case xml.CharData:
			if into != nil {
				into.Write(t)
			}
		case xml.EndElement:
			into = nil
			switch t.Name.Local {
			case "f":
				c.formula = doc[formula:d.InputOffset()]
			case "c":
				c.text = doc[start:d.InputOffset()]
				c.content = s.contentIn(&c, attribute(el, "t"), value.String(), inline.String())
				return c, nil
			}
		}
	}
}

// contentIn is what a cell of a type holds.
func (s *sheet) contentIn(c *cell, ofType, value, inline string) content {
	var found content
	switch ofType {
	case "s":
		if i, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && i >= 0 && i < len(s.shared.items) {
			c.shared = i
			found = content{textCell, s.shared.items[i].value}
		}
	case "inlineStr":
		found = content{textCell, unescape(inline)}
	case "str":
		found = content{textCell, unescape(value)}
	case "b":
		found = content{boolCell, strings.TrimSpace(value)}
	case "", "n":
		found = content{numberCell, strings.TrimSpace(value)}
	default:
		found = content{otherCell, value}
	}
	if found.value == "" {
		return content{}
	}
	return found
}

// cells takes a row apart again.
func (s *sheet) cells(r row) (tag string, el xml.StartElement, cells []cell) {
	d := tokensOf(r.text)
	token, _ := d.next() // it was read before
	el = token.(xml.StartElement).Copy()
	tag = r.text[:d.InputOffset()]
	_, cells, _ = s.readRow(r.text, d, el, 0, r.number-1)
	return tag, el, cells
}

func (s *sheet) encode(tag string, cells []cell) string {
	var out strings.Builder
	tag = setAttribute(tag, "spans", "") // which columns have cells is a hint that may be left out
	out.WriteString(strings.TrimRight(tag, "/>") + ">")
	for _, c := range cells {
		out.WriteString(c.text)
	}
	out.WriteString(endTag(tag))
	return out.String()
}

// edit applies edits to the rows, all copies of a row that a person may have made alike. left are the new leads for
// which there is no row.
func (s *sheet) edit(edits []edit) (left []string) {
	wanted := make(map[string]edit, len(edits))
	for _, e := range edits {
		wanted[e.id] = e
	}
	seen := make(map[string]bool, len(edits))
	for i, r := range s.rows {
		e, ok := wanted[r.id]
		switch {
		case !ok || r.id == "" || r.number == 1:
			continue
		case e.writes():
			s.rows[i] = s.update(r, s.at[1:], e.cells[1:])
		default:
			s.rows[i] = s.empty(r)
		}
		seen[r.id] = true
	}
	i, number := 0, 2
	if len(s.rows) > 0 && s.rows[0].number == 1 {
		i = 1
	}
	for _, e := range edits {
		if seen[e.id] || !e.writes() {
			continue
		}
		for i < len(s.rows) && s.rows[i].number == number && !s.rows[i].free {
			i++
			number++
		}
		if number > maxRows {
			left = append(left, e.id)
			continue
		}
		s.place(i, number)
		s.rows[i] = s.update(s.rows[i], s.at, e.cells)
		s.placed[number] = true
		i++
		number++
	}
	if s.changed && len(s.missing) > 0 {
		s.place(0, 1)
		at, header := make([]int, len(s.missing)), make([]content, len(s.missing))
		for k, i := range s.missing {
			at[k], header[k] = s.at[i], content{textCell, s.columns[i]}
		}
		s.rows[0] = s.update(s.rows[0], at, header)
	}
	return left
}

// place makes sure that the i-th row is the one with that number.
func (s *sheet) place(i, number int) {
	if i == len(s.rows) || s.rows[i].number != number {
		text := fmt.Sprintf(`<%srow r="%d"></%[1]srow>`, s.prefix, number)
		s.rows = slices.Insert(s.rows, i, row{number: number, text: text})
	}
}

// update sets cells of a row; a row that holds that already stays as it is.
func (s *sheet) update(r row, at []int, contents []content) row {
	tag, el, cells := s.cells(r)
	same := true
	for i, want := range contents {
		k := slices.IndexFunc(cells, func(c cell) bool { return c.column == at[i] })
		if k < 0 && want.kind == emptyCell || k >= 0 && cells[k].constant() && cells[k].content.equals(want) {
			continue
		}
		same = false
		style := s.styleOf(el, at[i])
		if k >= 0 {
			style = cells[k].style
			s.lose(r, cells, k)
			cells = slices.Delete(cells, k, k+1)
		}
		name := cellName(at[i], r.number)
		s.stale[name] = true
		if want.kind != emptyCell || style != "" {
			cells = append(cells, cell{column: at[i], text: want.encode(s.prefix, name, style)})
		}
		s.width = max(s.width, at[i])
	}
	if same {
		return r
	}
	s.changed = true
	if r.number > 1 { // a header that is calculated is known by its result
		for i, c := range cells {
			cells[i] = s.uncached(c)
		}
	}
	slices.SortStableFunc(cells, func(a, b cell) int { return a.column - b.column })
	r.text, r.free = s.encode(tag, cells), false
	return r
}

// empty takes from a row what it holds: what people wrote beside a lead goes with it. Formulas in their columns and
// the cells' formats stay for the next lead.
func (s *sheet) empty(r row) row {
	tag, el, cells := s.cells(r)
	var kept []cell
	for k, c := range cells {
		name := cellName(c.column, r.number)
		switch {
		case c.formula != "" && !s.ours(c.column):
			kept = append(kept, s.uncached(c))
			continue
		case c.style != "":
			kept = append(kept, cell{column: c.column, text: content{}.encode(s.prefix, name, c.style)})
		}
		s.lose(r, cells, k)
		s.stale[name] = true
	}
	s.changed = true
	s.emptied[r.number] = true
	return row{number: r.number, text: s.encode(tag, kept), free: !isSet(el, "hidden")}
}

// uncached is a cell without the result its formula had when other cells held other things.
func (s *sheet) uncached(c cell) cell {
	if c.formula != "" {
		tag := setAttribute(setAttribute(c.tag, "t", ""), "vm", "")
		c.text = tag + c.formula + endTag(tag)
	}
	return c
}

// styleOf is the style of a cell that is not there yet.
func (s *sheet) styleOf(row xml.StartElement, column int) string {
	if isSet(row, "customFormat") {
		return attribute(row, "s")
	}
	for _, c := range s.styles {
		if c.first <= column && column <= c.last {
			return c.style
		}
	}
	return ""
}

// lose takes note that the k-th of a row's cells is replaced.
func (s *sheet) lose(r row, cells []cell, k int) {
	c := cells[k]
	if c.shared >= 0 {
		s.shared.lose(c.shared)
	}
	if c.formula == "" {
		return
	}
	s.unlinked = true
	if c.group == "" || !c.leads {
		return
	}
	// Cells that share the formula of this one are left with their results.
	freed := func(others []cell) (some bool) {
		for i, other := range others {
			if other.group == c.group && !other.leads {
				others[i].text = strings.Replace(other.text, other.formula, "", 1)
				others[i].formula, others[i].group = "", ""
				some = true
			}
		}
		return some
	}
	freed(cells)
	for i, other := range s.rows {
		if other.number != r.number && strings.Contains(other.text, c.group) {
			if tag, _, others := s.cells(other); freed(others) {
				s.rows[i].text = s.encode(tag, others)
			}
		}
	}
}

// grown is the range of a table with the new leads that are right below it.
func (s *sheet) grown(table string) string {
	first, last, _ := strings.Cut(table, ":")
	left, _, ok := position(first)
	right, row, also := position(last)
	if !ok || !also || s.at[0] < left || s.at[0] > right {
		return table
	}
	for s.placed[row+1] {
		row++
	}
	return first + ":" + cellName(right, row)
}

// String is the worksheet's XML.
func (s *sheet) String() string {
	var out strings.Builder
	head := s.head
	if s.closed {
		head = strings.TrimSuffix(head, "/>") + ">"
	}
	last := 1
	if len(s.rows) > 0 {
		last = s.rows[len(s.rows)-1].number
	}
	// Some readers believe it: https://openpyxl.readthedocs.io/en/stable/optimized.html#worksheet-dimensions
	head, err := rewrite(head, "dimension", func(el xml.StartElement, tag, rest string) string {
		first, end, _ := strings.Cut(attribute(el, "ref"), ":")
		if end == "" {
			end = first
		}
		column, row, _ := position(end)
		return setAttribute(tag, "ref", first+":"+cellName(max(column, s.width), max(row, last))) + rest
	})
	if err != nil {
		head = s.head // it was read before
	}
	out.WriteString(head)
	for _, r := range s.rows {
		out.WriteString(r.text)
	}
	if s.closed {
		out.WriteString("</" + s.prefix + "sheetData>")
	}
	out.WriteString(s.tail)
	return out.String()
}
