package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/leadrelay/leadrelay/connectors/csv"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// What leadrelay itself writes into files of leads: it says nothing of a lead to add.
const (
	leadIDColumn   = "lead_id"
	rejectedLine   = "rejected_line"
	rejectedReason = "rejected_reason"
)

var setByLeadrelay = []string{leadIDColumn, "created_at", "updated_at", "revision", "connectors", rejectedLine, rejectedReason}

// The parts of a name: together they are the lead's name where no column has it whole.
const (
	firstName = "first_name"
	lastName  = "last_name"
)

// wholeMembers are those of a lead that have names of their own.
var wholeMembers = []string{"email", "name", "note", "source"}

// recognised says what else columns are called, by the letters and digits of their headers.
var recognised = []struct {
	member string
	called []string
}{
	{"email", []string{"email", "emailaddress", "mail", "mailaddress", "email1value", "emailadresse"}},
	{"name", []string{"name", "fullname"}},
	{firstName, []string{"firstname", "givenname", "forename", "vorname"}},
	{lastName, []string{"lastname", "surname", "familyname", "nachname"}},
	{"note", []string{"note", "notes", "message", "nachricht"}},
	{"source", []string{"source", "leadsource"}},
}

// wishes are what the command line says of the columns, and of every lead alike.
type wishes struct {
	renamed map[string]string // header → member
	ignored []string
	fixed   map[string]any
}

func newWishes(maps, ignored []string, source string, set []string) (wishes, error) {
	w := wishes{renamed: map[string]string{}, ignored: ignored, fixed: map[string]any{}}
	for _, one := range maps {
		i := strings.LastIndexByte(one, '=')
		if i < 1 || i == len(one)-1 {
			return w, fmt.Errorf("--map %q: must be HEADER=FIELD, such as \"E-Mail=email\"", one)
		}
		header, member := one[:i], one[i+1:]
		switch problem := memberProblem(member, "x"); {
		case w.renamed[header] != "":
			return w, fmt.Errorf("--map: column %q is given twice", header)
		case slices.Contains(ignored, header):
			return w, fmt.Errorf("column %q is given to --map and to --ignore", header)
		case problem != "" && member != "email":
			return w, fmt.Errorf("--map %q: %s %s", one, member, problem)
		}
		w.renamed[header] = member
	}
	if source != "" {
		set = append([]string{"source=" + source}, set...)
	}
	for _, one := range set {
		member, value, ok := strings.Cut(one, "=")
		switch problem := memberProblem(member, value); {
		case !ok || member == "" || value == "":
			return w, fmt.Errorf("--set %q: must be FIELD=VALUE, such as campaign=spring", one)
		case member == "email":
			return w, errors.New("--set: leads have no address in common")
		case w.fixed[member] != nil:
			return w, fmt.Errorf("--set: %s is given twice", member)
		case problem != "":
			return w, fmt.Errorf("--set: %s %s", member, problem)
		}
		w.fixed[member] = value
	}
	return w, nil
}

// memberProblem is why a lead cannot have a member, "" if it can.
func memberProblem(member string, value any) string {
	body, err := json.Marshal(map[string]any{member: value})
	if err == nil {
		_, err = lead.ParsePatch(body)
	}
	var invalid lead.Invalid
	switch {
	case errors.As(err, &invalid):
		return invalid[0].Message
	case err != nil:
		return err.Error()
	}
	return ""
}

// column says what becomes of a column.
type column struct {
	header string
	member string // of the lead; "": it is left out
	why    string // it is left out
}

// mapping says what lead a row is.
type mapping struct {
	columns   []column
	fixed     map[string]any
	joinsName bool // of its parts
	comma     byte
	marked    bool // the cells are sheetCells
}

// newMapping decides what becomes of each column. The error says all that is wrong.
func newMapping(headers []string, comma byte, w wishes) (*mapping, error) {
	m := &mapping{fixed: w.fixed, comma: comma, marked: slices.Contains(headers, leadIDColumn)}
	for _, header := range headers {
		if m.marked {
			header = csv.Plain(header, comma)
		} else {
			header = strings.TrimSpace(header)
		}
		m.columns = append(m.columns, column{header: header})
	}
	m.decide(w)
	m.recognise()
	for i := range m.columns {
		c := &m.columns[i]
		if c.isOpen() {
			c.member = c.header
		}
		if w.fixed[c.member] != nil {
			c.leaveOut("every lead is given " + c.member + " by the command line")
		}
	}
	m.joinsName = !m.has("name") && w.fixed["name"] == nil
	return m, errors.Join(m.problems(w)...)
}

func (c *column) isOpen() bool { return c.member == "" && c.why == "" }

func (c *column) leaveOut(why string) { c.member, c.why = "", why }

func (m *mapping) has(member string) bool {
	return slices.ContainsFunc(m.columns, func(c column) bool { return c.member == member })
}

// decide does what the command line says, and what headers say that are a member's very name.
func (m *mapping) decide(w wishes) {
	for i := range m.columns {
		switch c := &m.columns[i]; {
		case c.header == "":
			c.leaveOut("has no header, and must be empty")
		case slices.Contains(w.ignored, c.header):
			c.leaveOut("--ignore")
		case w.renamed[c.header] != "":
			c.member = w.renamed[c.header]
		case slices.Contains(setByLeadrelay, c.header):
			c.leaveOut("set by leadrelay itself")
		case slices.Contains(wholeMembers, c.header):
			c.member = c.header
		}
	}
}

// recognise finds the members that no column has by now, by what they are called otherwise.
func (m *mapping) recognise() {
	for _, r := range recognised {
		if m.has(r.member) || (r.member == firstName || r.member == lastName) && m.has("name") {
			continue
		}
		for i := range m.columns {
			if c := &m.columns[i]; c.isOpen() && slices.Contains(r.called, plainHeader(c.header)) {
				c.member = r.member
			}
		}
	}
}

// plainHeader is a header by its letters and digits alone.
func plainHeader(header string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, header)
}

// problems are why no lead can be made of a row.
func (m *mapping) problems(w wishes) (problems []error) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	var headers []string
	byMember := map[string][]string{}
	for _, c := range m.columns {
		if c.header != "" {
			headers = append(headers, c.header)
		}
		if c.member == "" {
			continue
		}
		byMember[c.member] = append(byMember[c.member], fmt.Sprintf("%q", c.header))
		if why := memberProblem(c.member, "x"); why != "" && c.member != "email" {
			problem("column %q cannot be a custom field: the name %s; see --map and --ignore", shortened(c.header), why)
		}
	}
	all := shortened(strings.Join(headers, ", "))
	for _, header := range slices.Concat(slices.Sorted(maps.Keys(w.renamed)), w.ignored) {
		if !slices.Contains(headers, header) {
			problem("there is no column %q; there are: %s", header, all)
		}
	}
	for _, member := range slices.Sorted(maps.Keys(byMember)) {
		if columns := byMember[member]; len(columns) > 1 {
			problem("columns %s would all be %s: --map or --ignore all but one (or rename those of one name)", strings.Join(columns, ", "), member)
		}
	}
	if !m.has("email") {
		problem("no column is known to be the address; say which by --map \"HEADER=email\" (the columns, by %q between them: %s)",
			string(m.comma), all)
	}
	return problems
}

// shortened keeps a message readable.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 500 {
		text = string(runes[:500]) + "…"
	}
	return printable(text)
}

// members are those of the lead that a row is.
func (m *mapping) members(cells []string) (map[string]any, error) {
	members := make(map[string]any, len(cells)+len(m.fixed))
	var name [2]string
	for i, cell := range cells {
		if strings.TrimSpace(cell) == "" {
			continue
		}
		if i >= len(m.columns) || m.columns[i].header == "" {
			return nil, fmt.Errorf("there is something in column %d, which has no header: are the cells with %q in them in quotes?", i+1, string(m.comma))
		}
		if m.marked {
			cell = csv.Plain(cell, m.comma)
		}
		switch member := m.columns[i].member; {
		case member == "":
		case member == firstName && m.joinsName:
			name[0] = strings.TrimSpace(cell)
		case member == lastName && m.joinsName:
			name[1] = strings.TrimSpace(cell)
		default:
			members[member] = cell
		}
	}
	if joined := strings.TrimSpace(name[0] + " " + name[1]); joined != "" {
		members["name"] = joined
	}
	maps.Copy(members, m.fixed)
	return members, nil
}

// show prints what becomes of each column.
func (m *mapping) show(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COLUMN\tBECOMES")
	for _, c := range m.columns {
		becomes := "custom field " + c.member
		switch {
		case c.member == "":
			becomes = "- (" + c.why + ")"
		case slices.Contains(wholeMembers, c.member):
			becomes = c.member
		case (c.member == firstName || c.member == lastName) && m.joinsName:
			becomes = "name, " + strings.ReplaceAll(c.member, "_", " ")
		}
		fmt.Fprintf(table, "%s\t%s\n", printable(c.header), printable(becomes))
	}
	for _, member := range slices.Sorted(maps.Keys(m.fixed)) {
		fmt.Fprintf(table, "(every lead)\t%s: %s\n", printable(member), printable(fmt.Sprint(m.fixed[member])))
	}
	return table.Flush()
}

// leftOut lists the columns that leadrelay wrote and that are left out.
func (m *mapping) leftOut() (headers []string) {
	for _, c := range m.columns {
		if c.member == "" && slices.Contains(setByLeadrelay, c.header) {
			headers = append(headers, c.header)
		}
	}
	return headers
}

// printable is a text that cannot steer a terminal: what is not seen is written as Go and JSON escape it.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
