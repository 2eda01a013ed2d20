package rig

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	spreadsheetID = "1AbCdEfGhIjKlMnOpQrStUvWxYz"
	googleToken   = "ya29.s3cr3t-t0k3n-that-must-not-show"
	gridID        = 4711
)

// googleKey is the JSON key of a service account that signs in at url, and a part of it that must not show.
func googleKey(url string) (text []byte, secret string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	text, err = json.Marshal(map[string]string{
		"type": "service_account", "client_email": "rig@project.iam.gserviceaccount.example", "private_key_id": "1",
		"private_key": string(block), "token_uri": url + "/token",
	})
	return text, string(block[100:160]), err
}

// sheets is a stand-in of Google Sheets with one tab, as far as the connector uses it: spreadsheets.get, and
// batchUpdate, which is applied as a whole or not at all.
// https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets
type sheets struct {
	mu       sync.Mutex
	rows     [][]string
	columns  int
	problems []string
}

func newSheets() *sheets {
	s := &sheets{columns: 12}
	for range 20 {
		s.rows = append(s.rows, make([]string, s.columns))
	}
	return s
}

func (s *sheets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	refuse := func(code int, message string) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "status": "INVALID_ARGUMENT"}})
	}
	if strings.Contains(r.URL.String(), marker) {
		s.problems = append(s.problems, "sheet: personal data in a URL")
	}
	switch {
	case r.URL.Path == "/token":
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, googleToken)
		return
	case r.Header.Get("Authorization") != "Bearer "+googleToken:
		refuse(401, "Request had invalid authentication credentials.")
		return
	}
	var answer any
	var err error
	switch path := strings.TrimPrefix(r.URL.Path, "/v4/spreadsheets/"+spreadsheetID); {
	case r.Method == http.MethodGet && path == "":
		answer, err = s.get(r.URL.Query()["ranges"])
	case r.Method == http.MethodPost && path == ":batchUpdate":
		body, _ := io.ReadAll(r.Body)
		answer, err = s.batchUpdate(body)
	default:
		refuse(404, "Requested entity was not found.")
		return
	}
	if err != nil {
		s.problems = append(s.problems, "sheet: a request was refused: "+err.Error())
		refuse(400, err.Error())
		return
	}
	json.NewEncoder(w).Encode(answer)
}

type object = map[string]any

func (s *sheets) get(ranges []string) (object, error) {
	var data []any
	for _, a1 := range ranges {
		top, left, bottom, right, err := s.parse(a1)
		if err != nil {
			return nil, err
		}
		var rows []any
		for _, row := range s.rows[top:bottom] {
			var values []any
			for _, text := range row[left:right] {
				cell := object{}
				if text != "" {
					cell["formattedValue"] = text
				}
				values = append(values, cell)
			}
			rows = append(rows, object{"values": values})
		}
		data = append(data, object{"startRow": top, "startColumn": left, "rowData": rows})
	}
	grid := object{"rowCount": len(s.rows), "columnCount": s.columns}
	return object{"sheets": []any{object{"properties": object{"sheetId": gridID, "gridProperties": grid}, "data": data}}}, nil
}

var a1Range = regexp.MustCompile(`^'Leads'!([A-Z]*)(\d*):([A-Z]*)(\d*)$`)

// parse reads a range in A1 notation, the ends excluded.
func (s *sheets) parse(a1 string) (top, left, bottom, right int, err error) {
	m := a1Range.FindStringSubmatch(a1)
	if m == nil {
		return 0, 0, 0, 0, errors.New("Unable to parse range: " + a1)
	}
	column := func(letters string, otherwise int) int {
		if letters == "" {
			return otherwise
		}
		n := 0
		for _, l := range letters {
			n = n*26 + int(l-'A') + 1
		}
		return n
	}
	row := func(digits string, otherwise int) int {
		if n, err := strconv.Atoi(digits); err == nil {
			return n
		}
		return otherwise
	}
	top, left = row(m[2], 1)-1, column(m[1], 1)-1
	bottom, right = row(m[4], len(s.rows)), column(m[3], s.columns)
	if top < 0 || top >= bottom || bottom > len(s.rows) || left >= right || right > s.columns {
		return 0, 0, 0, 0, errors.New("Range exceeds grid limits: " + a1)
	}
	return top, left, bottom, right, nil
}

type span struct {
	SheetID, StartIndex, EndIndex int
	Dimension                     string
}

func (s *sheets) batchUpdate(body []byte) (object, error) {
	var batch struct {
		Requests []struct {
			InsertDimension *struct{ Range span }
			DeleteDimension *struct{ Range span }
			UpdateCells     *struct {
				Start struct{ SheetID, RowIndex, ColumnIndex int }
				Rows  []struct {
					Values []struct {
						UserEnteredValue struct{ StringValue string }
					}
				}
			}
			FindReplace *struct {
				Find, Replacement string
				Range             struct{ StartRowIndex, EndRowIndex, StartColumnIndex, EndColumnIndex int }
			}
		}
		ResponseRanges []string
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, err
	}
	next := &sheets{columns: s.columns}
	for _, row := range s.rows {
		next.rows = append(next.rows, slices.Clone(row))
	}
	var replies []any
	for _, request := range batch.Requests {
		reply := object{}
		switch {
		case request.InsertDimension != nil:
			r := request.InsertDimension.Range
			n := r.EndIndex - r.StartIndex
			if r.Dimension == "COLUMNS" {
				if r.StartIndex > next.columns || n <= 0 {
					return nil, errors.New("insertDimension: out of bounds")
				}
				next.columns += n
				for i := range next.rows {
					next.rows[i] = slices.Insert(next.rows[i], r.StartIndex, make([]string, n)...)
				}
				break
			}
			if r.StartIndex > len(next.rows) || n <= 0 {
				return nil, errors.New("insertDimension: out of bounds")
			}
			for range n {
				next.rows = slices.Insert(next.rows, r.StartIndex, make([]string, next.columns))
			}
		case request.UpdateCells != nil:
			u := request.UpdateCells
			for i, row := range u.Rows {
				for j, value := range row.Values {
					at, column := u.Start.RowIndex+i, u.Start.ColumnIndex+j
					if at >= len(next.rows) || column >= next.columns {
						return nil, errors.New("updateCells: out of bounds")
					}
					next.rows[at][column] = value.UserEnteredValue.StringValue
				}
			}
		case request.FindReplace != nil:
			f := request.FindReplace
			changed := 0
			for i := f.Range.StartRowIndex; i < min(f.Range.EndRowIndex, len(next.rows)); i++ {
				for j := f.Range.StartColumnIndex; j < min(f.Range.EndColumnIndex, next.columns); j++ {
					if next.rows[i][j] == f.Find {
						next.rows[i][j] = f.Replacement
						changed++
					}
				}
			}
			found := object{}
			if changed > 0 {
				found["occurrencesChanged"] = changed
			}
			reply["findReplace"] = found
		case request.DeleteDimension != nil:
			r := request.DeleteDimension.Range
			if r.Dimension != "ROWS" || r.EndIndex > len(next.rows) || r.EndIndex <= r.StartIndex {
				return nil, errors.New("deleteDimension: out of bounds")
			}
			next.rows = slices.Delete(next.rows, r.StartIndex, r.EndIndex)
		default:
			return nil, errors.New("the stand-in does not know this request")
		}
		replies = append(replies, reply)
	}
	updated, err := next.get(batch.ResponseRanges)
	if err != nil {
		return nil, err
	}
	s.rows, s.columns = next.rows, next.columns
	return object{"replies": replies, "updatedSpreadsheet": updated}, nil
}

// compare says which rows are not the accepted leads.
func (s *sheets) compare(leads []*lead) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Clone(s.problems), compareRows("sheet", s.rows, leads)...)
}

// compareFile says which rows of a csv file are not the accepted leads.
func compareFile(path string, leads []*lead) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return []string{"csv: " + err.Error()}
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	rows, err := reader.ReadAll()
	if err != nil {
		return []string{"csv: " + err.Error()}
	}
	for _, row := range rows {
		for i := range row {
			row[i] = strings.TrimPrefix(row[i], "'") // keeps a spreadsheet from taking a text for a formula
		}
	}
	return compareRows("csv", rows, leads)
}

// compareRows says which rows below a header are not the accepted leads.
func compareRows(what string, rows [][]string, leads []*lead) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, what+": "+fmt.Sprintf(format, args...)) }
	if len(rows) == 0 {
		return []string{what + ": there is nothing"}
	}
	place := map[string]int{}
	for i, name := range rows[0] {
		if name != "" {
			place[name] = i
		}
	}
	for _, name := range []string{"lead_id", "name", "email", "note"} {
		if _, ok := place[name]; !ok {
			return []string{what + ": there is no column " + name}
		}
	}
	found := map[string][]person{}
	for i, row := range rows[1:] {
		cell := func(name string) string { return row[place[name]] }
		p := person{Name: cell("name"), Email: cell("email"), Note: cell("note")}
		if id := cell("lead_id"); id != "" {
			found[id] = append(found[id], p)
		} else if p != (person{}) {
			problem("row %d holds %v and no lead_id", i+2, p)
		}
	}
	return append(problems, comparePeople(what, found, leads)...)
}

// comparePeople says which records, by their lead's id, are not the accepted leads.
func comparePeople(what string, found map[string][]person, leads []*lead) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, what+": "+fmt.Sprintf(format, args...)) }
	for _, l := range leads {
		has := found[l.id]
		delete(found, l.id)
		switch {
		case l.deleted && len(has) > 0:
			problem("%s has a record and was deleted: undead", l.id)
		case l.deleted:
		case len(has) == 0:
			problem("%s (revision %d) has no record: lost", l.id, l.revision)
		case len(has) > 1:
			problem("%s has %d records: doubled", l.id, len(has))
		case has[0] != l.person:
			problem("%s is %v, accepted was %v: stale", l.id, has[0], l.person)
		}
	}
	for id := range found {
		problem("%s has a record and was never accepted", id)
	}
	return problems
}
