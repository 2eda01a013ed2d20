package xlsx

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxPart bounds what is unpacked at once, in bytes: a full worksheet of some seven columns takes as much. It is a
// variable for its test.
var maxPart int64 = 512 << 20

// workbook is a file: parts in a zip archive that relationships hold together (ECMA-376 part 2, Open Packaging
// Conventions). Parts that are not written anew are copied as they are, still packed.
type workbook struct {
	archive *zip.Reader
	parts   map[string]*zip.File
	written map[string]string // part -> its new content; "" takes it out

	part   string         // of the workbook itself
	links  []relationship // its
	sheet  *sheet
	own    string // the sheet's part
	shared *sharedStrings
}

type relationship struct {
	id   string
	kind string // the last word of its type
	part string
}

var (
	errDamaged = errors.New("the file is damaged, or not an Excel workbook: open it and save it as .xlsx, or move it away")
	errSealed  = errors.New("the file has a password, or is a workbook of the old .xls format: save it as .xlsx without a password")
)

// openWorkbook reads what concerns the leads. Errors are setup faults, unless they are those of the disk.
func openWorkbook(file io.ReaderAt, size int64, sheet string, columns []string) (*workbook, error) {
	archive, err := zip.NewReader(file, size)
	if err != nil {
		var beginning [8]byte
		if _, err := file.ReadAt(beginning[:], 0); err == nil && string(beginning[:]) == "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" {
			return nil, errSealed
		}
		return nil, damaged(err)
	}
	w := &workbook{archive: archive, parts: map[string]*zip.File{}, written: map[string]string{}}
	for _, f := range archive.File {
		if w.parts[partName(f.Name)] != nil {
			return nil, errDamaged
		}
		w.parts[partName(f.Name)] = f
	}
	return w, damaged(w.open(sheet, columns))
}

func (w *workbook) open(sheet string, columns []string) error {
	roots, err := w.relationships("")
	if err != nil {
		return err
	}
	for _, link := range roots {
		if link.kind == "officeDocument" {
			w.part = link.part
		}
	}
	if w.links, err = w.relationships(w.part); err != nil {
		return err
	}
	book, err := w.read(w.part)
	if err != nil {
		return err
	}
	id := ""
	if _, err := rewrite(book, "sheet", func(el xml.StartElement, tag, rest string) string {
		for _, a := range el.Attr {
			if a.Name.Local == "id" && a.Name.Space != "" && strings.EqualFold(attribute(el, "name"), sheet) {
				id = a.Value
			}
		}
		return tag + rest
	}); err != nil {
		return err
	}
	table := ""
	for _, link := range w.links {
		switch {
		case link.id == id && link.kind != "worksheet":
			return fmt.Errorf("%q is not a worksheet: set another sheet", sheet)
		case link.id == id:
			w.own = link.part
		case link.kind == "sharedStrings":
			table = link.part
		}
	}
	if w.own == "" {
		return fmt.Errorf("the workbook has no worksheet %q: give one that name, or set sheet", sheet)
	}
	texts := ""
	if table != "" {
		if texts, err = w.read(table); err != nil {
			return err
		}
	}
	if w.shared, err = readStrings(texts); err != nil {
		return err
	}
	doc, err := w.read(w.own)
	if err != nil {
		return err
	}
	if w.sheet, err = readSheet(doc, columns, w.shared); err != nil {
		return fmt.Errorf("worksheet %q: %w", sheet, err)
	}
	return nil
}

// damaged hides what an error says of a file that is not what it should be: it may quote the content.
func damaged(err error) error {
	var syntax *xml.SyntaxError
	var packed flate.CorruptInputError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, zip.ErrFormat),
		errors.As(err, &packed), errors.Is(err, zip.ErrAlgorithm), errors.Is(err, zip.ErrChecksum), errors.Is(err, fs.ErrNotExist):
		return errDamaged
	}
	return err
}

// partName is how a part is known, whatever way an archive spells it. Letter case does not matter.
func partName(name string) string {
	return strings.ToLower(strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/"))
}

// read unpacks a part, or returns what is written in its place.
func (w *workbook) read(part string) (string, error) {
	if text, ok := w.written[part]; ok {
		return text, nil
	}
	f := w.parts[part]
	if f == nil {
		return "", fs.ErrNotExist
	}
	if f.UncompressedSize64 > uint64(maxPart) {
		return "", fmt.Errorf("the workbook is too large, a part of it takes more than %d MB: begin a new one", maxPart>>20)
	}
	packed, err := f.Open()
	if err != nil {
		return "", err
	}
	defer packed.Close()
	var text strings.Builder
	text.Grow(int(f.UncompressedSize64))
	_, err = io.Copy(&text, packed) // to the size it says, or an error
	return text.String(), err
}

// linksOf is the part that holds the relationships of a part.
func linksOf(part string) string {
	folder, name := path.Split(part)
	return folder + "_rels/" + name + ".rels"
}

// relationships lists where a part leads to within the file.
func (w *workbook) relationships(part string) (links []relationship, err error) {
	doc, err := w.read(linksOf(part))
	if err != nil {
		return nil, err
	}
	_, err = rewrite(doc, "Relationship", func(el xml.StartElement, tag, rest string) string {
		if attribute(el, "TargetMode") != "External" {
			target := attribute(el, "Target")
			if !strings.HasPrefix(target, "/") {
				target = path.Join(path.Dir(part), target)
			}
			links = append(links, relationship{attribute(el, "Id"), path.Base(attribute(el, "Type")), partName(target)})
		}
		return tag + rest
	})
	return links, err
}

// change writes the elements of a part anew.
func (w *workbook) change(part, local string, with func(el xml.StartElement, tag, rest string) string) error {
	doc, err := w.read(part)
	if err != nil {
		return err
	}
	changed, err := rewrite(doc, local, with)
	if err == nil && changed != doc {
		w.written[part] = changed
	}
	return err
}

// remove takes the elements that gone picks out of a part.
func (w *workbook) remove(part, local string, gone func(el xml.StartElement, rest string) bool) error {
	return w.change(part, local, func(el xml.StartElement, tag, rest string) string {
		if gone(el, rest) {
			return ""
		}
		return tag + rest
	})
}

// finish brings the rest of the file in step with the edited worksheet.
func (w *workbook) finish() error {
	for _, step := range []func() error{w.removeLinks, w.growTables, w.removeNotes, w.removeTexts, w.recalculate} {
		if err := step(); err != nil {
			return damaged(err)
		}
	}
	w.written[w.own] = w.sheet.String()
	return nil
}

// removeLinks removes the hyperlinks of cells that hold something else now: spreadsheets make one of every address
// that a person types, and it would still lead there.
func (w *workbook) removeLinks() error {
	ids := map[string]bool{}
	stale := func(el xml.StartElement, tag, rest string) string {
		if !w.sheet.stale[attribute(el, "ref")] {
			return tag + rest
		}
		for _, a := range el.Attr {
			if a.Name.Local == "id" {
				ids[a.Value] = true
			}
		}
		return ""
	}
	tail, err := rewrite(w.sheet.tail, "hyperlinks", func(_ xml.StartElement, tag, rest string) string {
		kept, err := rewrite(rest, "hyperlink", stale)
		switch {
		case err != nil: // it was read just now
			return tag + rest
		case !strings.Contains(kept, "<"+w.sheet.prefix+"hyperlink "):
			return "" // without any it may not be there
		}
		return tag + kept
	})
	if err != nil || tail == w.sheet.tail {
		return err
	}
	w.sheet.tail = tail
	if len(ids) == 0 {
		return nil // all led to places in the workbook
	}
	return w.remove(linksOf(w.own), "Relationship", func(el xml.StartElement, _ string) bool { return ids[attribute(el, "Id")] })
}

// ownLinks are the relationships of our worksheet. It may have none.
func (w *workbook) ownLinks() ([]relationship, error) {
	links, err := w.relationships(w.own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return links, err
}

// growTables lets a table ("Format as Table") end with the leads that were written right below it.
func (w *workbook) growTables() error {
	links, err := w.ownLinks()
	for _, link := range links {
		if link.kind != "table" || err != nil {
			continue
		}
		from, to := "", ""
		grow := func(el xml.StartElement, tag, rest string) string {
			if from != "" && attribute(el, "ref") == from {
				tag = setAttribute(tag, "ref", to)
			}
			return tag + rest
		}
		err = w.change(link.part, "table", func(el xml.StartElement, tag, rest string) string {
			if totals := attribute(el, "totalsRowCount"); totals == "" || totals == "0" {
				from = attribute(el, "ref")
				to = w.sheet.grown(from)
			}
			return grow(el, tag, rest)
		})
		if err == nil && from != to {
			err = w.change(link.part, "autoFilter", grow)
		}
	}
	return err
}

var noteRow = regexp.MustCompile(`<x:Row>\s*(\d+)\s*</x:Row>`)

// removeNotes removes what people pinned to the rows of leads that were deleted.
func (w *workbook) removeNotes() error {
	if len(w.sheet.emptied) == 0 {
		return nil
	}
	ofDeleted := func(el xml.StartElement, _ string) bool {
		_, row, _ := position(attribute(el, "ref"))
		return w.sheet.emptied[row]
	}
	links, err := w.ownLinks()
	for _, link := range links {
		if err != nil {
			return err
		}
		switch link.kind {
		case "comments":
			err = w.remove(link.part, "comment", ofDeleted)
		case "threadedComment":
			err = w.remove(link.part, "threadedComment", ofDeleted)
		case "vmlDrawing":
			err = w.remove(link.part, "shape", func(_ xml.StartElement, rest string) bool {
				match := noteRow.FindStringSubmatch(rest)
				if match == nil || !strings.Contains(rest, `ObjectType="Note"`) {
					return false
				}
				row, _ := strconv.Atoi(match[1]) // from 0
				return w.sheet.emptied[row+1]
			})
		}
	}
	return err
}

// removeTexts removes the shared strings that nothing shows any more: what a lead was must not stay behind.
func (w *workbook) removeTexts() error {
	if len(w.shared.lost) == 0 {
		return nil
	}
	elsewhere := map[int]bool{}
	for _, link := range w.links {
		if !strings.HasSuffix(strings.ToLower(link.kind), "sheet") || link.part == w.own {
			continue
		}
		doc, err := w.read(link.part)
		if err != nil {
			return err
		}
		if err := usedStrings(doc, elsewhere); err != nil {
			return err
		}
	}
	for _, link := range w.links {
		if link.kind == "sharedStrings" {
			w.written[link.part] = w.shared.without(elsewhere)
		}
	}
	return nil
}

// usedStrings adds the numbers of the shared strings that a sheet uses.
func usedStrings(doc string, used map[int]bool) error {
	d := tokensOf(doc)
	shared, inValue := false, false
	var value strings.Builder
	for {
		token, err := d.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "c":
				shared = attribute(t, "t") == "s"
				value.Reset()
			case "v":
				inValue = shared
			}
		case xml.CharData:
			if inValue {
				value.Write(t)
			}
		case xml.EndElement:
			if inValue && t.Name.Local == "v" {
				if i, err := strconv.Atoi(strings.TrimSpace(value.String())); err == nil {
					used[i] = true
				}
				inValue = false
			}
		}
	}
}

// recalculate lets Excel calculate all formulas when it opens the file, for their results are of another content.
func (w *workbook) recalculate() error {
	if err := w.change(w.part, "calcPr", func(_ xml.StartElement, tag, rest string) string {
		return setAttribute(tag, "fullCalcOnLoad", "1") + rest
	}); err != nil || !w.sheet.unlinked {
		return err
	}
	// The order in which to calculate names cells that must have formulas. Excel makes it anew where there is none.
	for _, link := range w.links {
		if link.kind != "calcChain" {
			continue
		}
		w.written[link.part] = ""
		if err := w.remove(linksOf(w.part), "Relationship", func(el xml.StartElement, _ string) bool { return attribute(el, "Id") == link.id }); err != nil {
			return err
		}
		if err := w.remove("[content_types].xml", "Override", func(el xml.StartElement, _ string) bool {
			return partName(attribute(el, "PartName")) == link.part
		}); err != nil {
			return err
		}
	}
	return nil
}

// write writes the file.
func (w *workbook) write(to io.Writer) error {
	out := zip.NewWriter(to)
	for _, f := range w.archive.File {
		text, changed := w.written[partName(f.Name)]
		switch {
		case !changed:
			if err := out.Copy(f); err != nil {
				return err
			}
		case text != "":
			part, err := out.Create(f.Name)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(part, text); err != nil {
				return err
			}
		}
	}
	return out.Close()
}

const declaration = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"

// newWorkbook is a workbook with one empty worksheet.
func newWorkbook(sheet string, columns []string) (*workbook, error) {
	var name strings.Builder
	xml.EscapeText(&name, []byte(sheet))
	const (
		main  = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
		links = "http://schemas.openxmlformats.org/package/2006/relationships"
		kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
		types = "application/vnd.openxmlformats-officedocument.spreadsheetml."
	)
	var file bytes.Buffer
	out := zip.NewWriter(&file)
	for _, part := range [][2]string{
		{"[Content_Types].xml", `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">` +
			`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="` + types + `sheet.main+xml"/>` +
			`<Override PartName="/xl/styles.xml" ContentType="` + types + `styles+xml"/>` +
			`<Override PartName="/xl/worksheets/sheet1.xml" ContentType="` + types + `worksheet+xml"/></Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + links + `">` +
			`<Relationship Id="rId1" Type="` + kinds + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"xl/workbook.xml", `<workbook xmlns="` + main + `" xmlns:r="` + kinds + `">` +
			`<sheets><sheet name="` + name.String() + `" sheetId="1" r:id="rId1"/></sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + links + `">` +
			`<Relationship Id="rId1" Type="` + kinds + `/worksheet" Target="worksheets/sheet1.xml"/>` +
			`<Relationship Id="rId2" Type="` + kinds + `/styles" Target="styles.xml"/></Relationships>`},
		{"xl/styles.xml", `<styleSheet xmlns="` + main + `">` +
			`<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>` +
			`<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>` +
			`<borders count="1"><border/></borders>` +
			`<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="1"><xf xfId="0"/></cellXfs>` +
			`<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>`},
		{"xl/worksheets/sheet1.xml", `<worksheet xmlns="` + main + `"><dimension ref="A1"/><sheetData></sheetData></worksheet>`},
	} {
		w, err := out.Create(part[0])
		if err != nil {
			return nil, err
		}
		io.WriteString(w, declaration+part[1])
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return openWorkbook(bytes.NewReader(file.Bytes()), int64(file.Len()), sheet, columns)
}
