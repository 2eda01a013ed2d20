package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	textunicode "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// maxRow bounds one row of a file: it is more than any lead takes.
const maxRow = 8 << 20

var errLongRow = fmt.Errorf("a row is larger than %d MiB: is a quote never closed?", maxRow>>20)

// fileRow is a row of a file.
type fileRow struct {
	line int    // where it begins, from 1
	raw  []byte // as it stands there, without the end of the line
	body []byte // the lead, as the API takes it
	err  error  // why it is none; no personal data
}

// rowReader reads a file of leads row by row.
type rowReader interface {
	// next returns a row, or io.EOF. After any other error nothing more can be read.
	next() (fileRow, error)

	// rejected is a row in a file of the same form, with the reason. head is what that file begins with.
	rejected(r fileRow) []byte
	head() []byte

	// show prints what becomes of the columns; leftOut lists those that leadrelay wrote, as far as they are known by now.
	show(out io.Writer) error
	leftOut() []string
}

// inUTF8 reads a file as UTF-8: a byte order mark says what else it is written in.
func inUTF8(in io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(in, 64<<10)
	b.Peek(2) // more than that may be long in coming
	head, _ := b.Peek(b.Buffered())
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		decoder := textunicode.UTF16(textunicode.LittleEndian, textunicode.ExpectBOM).NewDecoder()
		return bufio.NewReaderSize(transform.NewReader(b, decoder), b.Size()), nil
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return nil, errors.New(`this is a workbook or an archive; save the sheet as "CSV UTF-8"`)
	case bytes.IndexByte(head, 0) >= 0:
		return nil, errors.New(`this is no text, or UTF-16 without a byte order mark; save it as "CSV UTF-8"`)
	}
	if mark, _ := b.Peek(3); string(mark) == "\ufeff" {
		b.Discard(3)
	}
	return b, nil
}

// errNotUTF8 is said of a row, or of the header.
var errNotUTF8 = errors.New(`is not UTF-8; save the file as "CSV UTF-8", or convert it by: iconv -f WINDOWS-1252 -t UTF-8`)

// leadJSON is a lead as the API takes it.
func leadJSON(members any) []byte {
	encoded, err := json.Marshal(members)
	if err != nil {
		panic("import: texts and JSON always encode: " + err.Error())
	}
	return encoded
}

// csvRows reads CSV whose first row names the columns.
type csvRows struct {
	*mapping
	parser *csv.Reader
	window *window
	before int // lines before what the parser is given
	header []byte
}

// newCSVRows reads the header. comma is 0 where it is to be found out.
func newCSVRows(in io.Reader, comma byte, w wishes) (*csvRows, error) {
	text, err := inUTF8(in)
	if err != nil {
		return nil, err
	}
	line, err := firstLine(text)
	if err != nil {
		return nil, err
	}
	r := &csvRows{}
	if sign, ok := separatorLine(line); ok {
		text.Discard(len(line))
		r.before = 1
		if line, err = firstLine(text); err != nil {
			return nil, err
		}
		if comma == 0 {
			comma = sign
		}
	}
	if comma == 0 {
		comma = delimiterOf(line)
	}
	r.window = &window{in: text}
	r.parser = csv.NewReader(r.window)
	r.parser.Comma, r.parser.FieldsPerRecord = rune(comma), -1
	headers, err := r.parser.Read()
	r.header = r.window.cut(r.parser.InputOffset())
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is empty; the first line has to name the columns")
	case err != nil:
		return nil, fmt.Errorf("the header cannot be read: %w", explained(err))
	case !utf8.Valid(r.header):
		return nil, fmt.Errorf("the header %w", errNotUTF8)
	}
	r.mapping, err = newMapping(headers, comma, w)
	return r, err
}

// firstLine returns the first line that is not read yet, or as much of it as says something of the file.
func firstLine(b *bufio.Reader) ([]byte, error) {
	for n := 1; ; n = b.Buffered() + 1 {
		_, err := b.Peek(n)
		head, _ := b.Peek(b.Buffered())
		switch end := bytes.IndexByte(head, '\n'); {
		case bytes.HasPrefix(head, []byte("{")), bytes.HasPrefix(head, []byte("[")):
			return nil, errors.New("this looks like JSON; say --format ndjson if it has one object a line")
		case end >= 0:
			return head[:end+1], nil
		case err == nil && len(head) < b.Size():
		case bytes.IndexByte(bytes.TrimRight(head, "\r"), '\r') >= 0:
			return nil, errors.New(`its lines end as they did on a Mac of old; save it as "CSV UTF-8"`)
		default:
			return head, nil
		}
	}
}

// delimiters are what may stand between cells, the likeliest first.
const delimiters = ",;\t|"

// separatorLine reads the line by which Excel is told what stands between cells.
func separatorLine(line []byte) (comma byte, ok bool) {
	sign, ok := strings.CutPrefix(strings.Trim(string(line), "\"\r\n"), "sep=")
	if !ok || len(sign) != 1 || !strings.Contains(delimiters, sign) {
		return 0, false
	}
	return sign[0], true
}

// delimiterOf is what stands between the cells of a header most often.
func delimiterOf(line []byte) byte {
	var counts [256]int
	quoted := false
	for _, b := range line {
		if b == '"' {
			quoted = !quoted
		} else if !quoted {
			counts[b]++
		}
	}
	most := delimiters[0]
	for _, b := range []byte(delimiters) {
		if counts[b] > counts[most] {
			most = b
		}
	}
	return most
}

func (r *csvRows) next() (fileRow, error) {
	cells, err := r.parser.Read()
	var syntax *csv.ParseError
	switch isSyntax := errors.As(err, &syntax); {
	case errors.Is(err, errLongRow) || err != nil && !isSyntax:
		return fileRow{}, err
	}
	one := fileRow{raw: r.window.cut(r.parser.InputOffset())}
	if err != nil {
		one.line, one.err = r.before+syntax.StartLine, explained(err)
		return one, nil
	}
	one.line, _ = r.parser.FieldPos(0)
	one.line += r.before
	if !utf8.Valid(one.raw) {
		one.err = errNotUTF8
		return one, nil
	}
	members, err := r.members(cells)
	if err != nil {
		one.err = err
		return one, nil
	}
	one.body = leadJSON(members)
	return one, nil
}

// explained says what to do about what the parser complains of.
func explained(err error) error {
	switch {
	case errors.Is(err, csv.ErrBareQuote):
		return errors.New(`a quote stands in a cell that does not begin with one: put the cell in quotes, and write "" for each quote in it`)
	case errors.Is(err, csv.ErrQuote):
		return errors.New(`a quote is not closed, or something follows the one that closes: write "" for each quote in a cell`)
	}
	return err
}

func (r *csvRows) head() []byte { return r.after(rejectedLine, rejectedReason, r.header) }

func (r *csvRows) rejected(one fileRow) []byte {
	return r.after(fmt.Sprint(one.line), one.err.Error(), one.raw)
}

// after is a row as it stands in the file, after two cells.
func (r *csvRows) after(first, second string, raw []byte) []byte {
	var cells bytes.Buffer
	w := csv.NewWriter(&cells)
	w.Comma = r.parser.Comma
	w.Write([]string{first, second}) // to memory
	w.Flush()
	out := append(bytes.TrimSuffix(cells.Bytes(), []byte("\n")), r.comma)
	return append(append(out, raw...), '\n')
}

// window is what a parser reads, and keeps what it has read since the last cut. It bounds that: a quote that is never
// closed must not take a whole file into memory.
type window struct {
	in   io.Reader
	held []byte
	from int64 // where held begins
}

func (w *window) Read(p []byte) (int, error) {
	if len(w.held) > maxRow {
		return 0, errLongRow
	}
	n, err := w.in.Read(p)
	w.held = append(w.held, p[:n]...)
	return n, err
}

// cut returns what was read up to an offset, without the ends of lines around it.
func (w *window) cut(to int64) []byte {
	n := int(to - w.from)
	raw := bytes.Clone(bytes.Trim(w.held[:n], "\r\n"))
	w.held, w.from = append(w.held[:0], w.held[n:]...), to
	return raw
}

// ndjsonRows reads JSON objects, one a line, as the API takes them (https://github.com/ndjson/ndjson-spec).
type ndjsonRows struct {
	wishes
	lines *bufio.Scanner
	line  int
	known map[string]bool // of setByLeadrelay, those that were there
}

func newNDJSONRows(in io.Reader, w wishes) (*ndjsonRows, error) {
	text, err := inUTF8(in)
	if err != nil {
		return nil, err
	}
	if first, _ := text.Peek(1); string(first) == "[" {
		return nil, errors.New("this is a JSON array; NDJSON has one object a line (jq -c '.[]' makes it of an array)")
	}
	r := &ndjsonRows{wishes: w, lines: bufio.NewScanner(text), known: map[string]bool{}}
	r.lines.Buffer(make([]byte, 64<<10), maxRow)
	return r, nil
}

func (r *ndjsonRows) next() (fileRow, error) {
	for r.lines.Scan() {
		r.line++
		raw := bytes.Clone(bytes.TrimSpace(r.lines.Bytes()))
		if len(raw) == 0 {
			continue
		}
		one := fileRow{line: r.line, raw: raw}
		if !utf8.Valid(raw) {
			one.err = errNotUTF8
			return one, nil
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil || members == nil {
			one.err = errors.New("is not one JSON object")
			return one, nil
		}
		if one.err = r.apply(members); one.err == nil {
			one.body = leadJSON(members)
		}
		return one, nil
	}
	if err := r.lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fileRow{}, errLongRow
	} else if err != nil {
		return fileRow{}, err
	}
	return fileRow{}, io.EOF
}

// apply makes the members of an object those of a lead.
func (r *ndjsonRows) apply(members map[string]json.RawMessage) error {
	for _, name := range setByLeadrelay {
		if _, there := members[name]; there && r.renamed[name] == "" {
			r.known[name] = true
			delete(members, name)
		}
	}
	for _, name := range r.ignored {
		delete(members, name)
	}
	moved := map[string]json.RawMessage{}
	for from, to := range r.renamed {
		if value, there := members[from]; there {
			delete(members, from)
			moved[to] = value
		}
	}
	for to, value := range moved {
		if _, there := members[to]; there {
			return fmt.Errorf("has %s already, beside what --map makes of another: --ignore one of them", to)
		}
		members[to] = value
	}
	for name, value := range r.fixed {
		members[name] = leadJSON(value)
	}
	return nil
}

func (r *ndjsonRows) head() []byte { return nil }

// rejected adds the reason to what is an object; what is none is told of.
func (r *ndjsonRows) rejected(one fileRow) []byte {
	told := fmt.Appendf(nil, `{%q:%d,%q:%s`, rejectedLine, one.line, rejectedReason, leadJSON(one.err.Error()))
	if rest, isObject := bytes.CutPrefix(one.raw, []byte("{")); isObject {
		if !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
			told = append(told, ',')
		}
		return append(append(told, rest...), '\n')
	}
	return append(append(append(told, `,"rejected_row":`...), leadJSON(string(one.raw))...), "}\n"...)
}

func (r *ndjsonRows) show(out io.Writer) error {
	fmt.Fprintln(out, "The members of each object are those of the API; others become custom fields under their names.")
	for _, from := range slices.Sorted(maps.Keys(r.renamed)) {
		fmt.Fprintf(out, "%s becomes %s\n", printable(from), printable(r.renamed[from]))
	}
	for _, name := range r.ignored {
		fmt.Fprintf(out, "%s is left out\n", printable(name))
	}
	for _, name := range slices.Sorted(maps.Keys(r.fixed)) {
		fmt.Fprintf(out, "every lead is given %s: %s\n", printable(name), printable(fmt.Sprint(r.fixed[name])))
	}
	return nil
}

func (r *ndjsonRows) leftOut() []string { return slices.Sorted(maps.Keys(r.known)) }
