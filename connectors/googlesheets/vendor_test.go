package googlesheets

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

const (
	testSpreadsheet = "1AbCdEfGhIjKlMnOpQrStUvWxYz"
	testAccount     = "relay@project.iam.gserviceaccount.example"
	testToken       = "ya29.a-token-that-must-not-show"
	testSheetID     = 4711
)

// testKey is the service account's key, the same for all tests.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var testKeyPEM = sync.OnceValue(func() string {
	der, err := x509.MarshalPKCS8PrivateKey(testKey())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

func testCredentials(tokenURI string) string {
	text, _ := json.Marshal(map[string]string{
		"type": "service_account", "client_email": testAccount, "private_key_id": "key-1",
		"private_key": testKeyPEM(), "token_uri": tokenURI,
	})
	return string(text)
}

// vendor is a stand-in of Google's token endpoint and of a spreadsheet with one tab. It does what the API's
// reference says; where nobody knows, it does what would hurt most.
type vendor struct {
	t testing.TB

	mu           sync.Mutex
	title        string
	rows         [][]content // the whole grid
	columns      int
	frozen       int
	locks        []protectedRange // an account may not edit what one holds, unless it says that it may
	requests     []recorded
	tokens       int
	between      func()                             // what a person does before the next write is carried out
	refuse       func(w http.ResponseWriter) bool   // answers an API call in its place
	refuseSignIn func(w http.ResponseWriter) bool   // answers a sign-in in its place
	sawSignIn    func(r *http.Request)              // before it
	answered     func(w http.ResponseWriter, n int) // after the n-th write, in place of the answer
	writes       int
}

// content is one cell: its kind is that of the ExtendedValue it was written with, "" for an empty one.
type content struct{ kind, text string }

type recorded struct {
	method, path string
	query        map[string][]string
	body         []byte
}

func (r recorded) isWrite() bool { return r.method == http.MethodPost }

func newVendor(t testing.TB) *vendor {
	v := &vendor{t: t, title: "Leads"}
	v.resize(20, 8)
	return v
}

func (v *vendor) resize(rows, columns int) {
	v.columns = columns
	v.rows = make([][]content, rows)
	for i := range v.rows {
		v.rows[i] = make([]content, columns)
	}
}

// fill puts a person's texts into the tab, from its first cell on.
func (v *vendor) fill(texts ...[]string) {
	for i, row := range texts {
		for j, text := range row {
			if text != "" {
				v.rows[i][j] = content{"stringValue", text}
			}
		}
	}
}

// texts are the rows that hold something, without what is empty behind.
func (v *vendor) texts() [][]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all [][]string
	for _, row := range v.rows {
		var texts []string
		for j, cell := range row {
			if cell.kind != "" {
				for len(texts) < j {
					texts = append(texts, "")
				}
				texts = append(texts, cell.text)
			}
		}
		if texts != nil {
			all = append(all, texts)
		}
	}
	return all
}

func (v *vendor) Records() []connectortest.Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := slices.Index(v.rows[0], content{"stringValue", idColumn})
	if at < 0 {
		return nil
	}
	var records []connectortest.Record
	for _, row := range v.rows[1:] {
		if row[at].kind == "" {
			continue
		}
		record := connectortest.Record{Key: row[at].text, Fields: map[string]string{}}
		for j, cell := range row {
			if header := v.rows[0][j]; header.kind != "" {
				record.Fields[header.text] = cell.text
			}
		}
		records = append(records, record)
	}
	return records
}

// calls returns the API requests since the last call of calls.
func (v *vendor) calls() []recorded {
	v.mu.Lock()
	defer v.mu.Unlock()
	calls := v.requests
	v.requests = nil
	return calls
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.URL.Path == "/token" {
		v.signIn(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	v.requests = append(v.requests, recorded{r.Method, r.URL.Path, r.URL.Query(), body})
	answer := httptest.NewRecorder()
	v.answer(answer, r, body)
	if spec := loadSpec(); spec != nil {
		if err := spec.check(r, body, answer); err != nil {
			v.t.Errorf("%s %s: not by the vendor's description: %v", r.Method, r.URL.Path, err)
		}
	}
	if r.Method == http.MethodPost && answer.Code == 200 {
		v.writes++
		if v.answered != nil {
			v.answered(w, v.writes)
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// signIn checks what RFC 7523 and Google ask of the assertion:
// https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests
func (v *vendor) signIn(w http.ResponseWriter, r *http.Request) {
	if v.sawSignIn != nil {
		v.sawSignIn(r)
	}
	if v.refuseSignIn != nil && v.refuseSignIn(w) {
		return
	}
	v.tokens++
	problem := func(text string) {
		v.t.Errorf("sign-in: %s", text)
		w.WriteHeader(400)
		io.WriteString(w, `{"error":"invalid_grant","error_description":"Invalid JWT"}`)
	}
	if r.Method != "POST" || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		problem("not a JWT grant")
		return
	}
	parts := strings.Split(r.FormValue("assertion"), ".")
	if len(parts) != 3 {
		problem("not a JWT")
		return
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&testKey().PublicKey, crypto.SHA256, sum[:], signature) != nil {
		problem("the signature is wrong")
		return
	}
	var header struct{ Alg, Typ, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	for i, into := range []any{&header, &claims} {
		text, _ := base64.RawURLEncoding.DecodeString(parts[i])
		if json.Unmarshal(text, into) != nil {
			problem("not a JWT")
			return
		}
	}
	now := time.Now().Unix()
	switch {
	case header.Alg != "RS256" || header.Typ != "JWT" || header.Kid != "key-1":
		problem(fmt.Sprintf("the header is %+v", header))
	case claims.Iss != testAccount || claims.Scope != scope || claims.Aud != "http://"+r.Host+"/token":
		problem(fmt.Sprintf("the claims are %+v", claims))
	case claims.Iat > now || claims.Exp <= now || claims.Exp > claims.Iat+3600:
		problem(fmt.Sprintf("the times are %+v", claims))
	default:
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, testToken)
	}
}

func refuse(w http.ResponseWriter, code int, status, message string) {
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "status": status}})
}

func (v *vendor) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	if v.refuse != nil && v.refuse(w) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+testToken {
		refuse(w, 401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
		return
	}
	switch {
	case r.Method == "GET" && r.URL.Path == "/v4/spreadsheets/"+testSpreadsheet:
		answer, err := v.spreadsheet(r.URL.Query()["ranges"])
		if err != nil {
			refuse(w, 400, "INVALID_ARGUMENT", err.Error())
			return
		}
		reply(w, answer, r.URL.Query().Get("fields"))
	case r.Method == "POST" && r.URL.Path == "/v4/spreadsheets/"+testSpreadsheet+":batchUpdate":
		if v.between != nil {
			person := v.between
			v.between = nil
			person()
		}
		answer, err := v.batchUpdate(body)
		if err != nil {
			refuse(w, 400, "INVALID_ARGUMENT", err.Error())
			return
		}
		reply(w, answer, r.URL.Query().Get("fields"))
	default:
		refuse(w, 404, "NOT_FOUND", "Requested entity was not found.")
	}
}

// reply leaves out what the field mask does not name.
func reply(w http.ResponseWriter, answer any, mask string) {
	text, _ := json.Marshal(answer)
	var tree any
	json.Unmarshal(text, &tree)
	json.NewEncoder(w).Encode(masked(tree, parseMask(mask)))
}

func (v *vendor) spreadsheet(ranges []string) (map[string]any, error) {
	data := []any{}
	for _, a1 := range ranges {
		fromRow, fromColumn, toRow, toColumn, err := v.parse(a1)
		if err != nil {
			return nil, err
		}
		var rowData []any
		filled := 0
		for _, row := range v.rows[fromRow:toRow] {
			values := []any{}
			used := 0
			for _, cell := range row[fromColumn:toColumn] {
				if cell.kind == "" {
					values = append(values, map[string]any{})
					continue
				}
				values = append(values, map[string]any{"formattedValue": cell.text, "userEnteredFormat": map[string]any{}})
				used = len(values)
			}
			if used == 0 {
				rowData = append(rowData, map[string]any{})
				continue
			}
			rowData = append(rowData, map[string]any{"values": values[:used]})
			filled = len(rowData)
		}
		grid := map[string]any{}
		if fromRow > 0 { // zeros are left out, as protobuf does
			grid["startRow"] = fromRow
		}
		if fromColumn > 0 {
			grid["startColumn"] = fromColumn
		}
		if filled > 0 {
			grid["rowData"] = rowData[:filled]
		}
		data = append(data, grid)
	}
	grid := map[string]any{"rowCount": len(v.rows), "columnCount": v.columns}
	if v.frozen > 0 {
		grid["frozenRowCount"] = v.frozen
	}
	sheet := map[string]any{
		"properties": map[string]any{"sheetId": testSheetID, "title": v.title, "gridProperties": grid}, "data": data,
	}
	if v.locks != nil {
		sheet["protectedRanges"] = v.locks
	}
	return map[string]any{"spreadsheetId": testSpreadsheet, "sheets": []any{sheet}}, nil
}

// locked says whether the account may not edit a cell; column -1 is a whole row.
func (v *vendor) locked(row, column int) bool {
	return slices.ContainsFunc(v.locks, func(l protectedRange) bool {
		r := l.Range
		return !l.WarningOnly && !l.RequestingUserCanEdit &&
			row >= r.StartRowIndex && (r.EndRowIndex == 0 || row < r.EndRowIndex) &&
			(column < 0 || column >= r.StartColumnIndex && (r.EndColumnIndex == 0 || column < r.EndColumnIndex))
	})
}

// moveLocks lets protected rows move with n rows that are inserted, or deleted, at one.
func (v *vendor) moveLocks(at, n int) {
	v.locks = slices.Clone(v.locks)
	for i := range v.locks {
		r := &v.locks[i].Range
		if r.StartRowIndex >= at && r.StartRowIndex > 0 {
			r.StartRowIndex += n
		}
		if r.EndRowIndex > at {
			r.EndRowIndex += n
		}
	}
}

const protectedCell = "You are trying to edit a protected cell or object. Please contact the spreadsheet owner to remove protection if you need to edit."

var (
	rowsA1  = regexp.MustCompile(`^(\d+):(\d+)$`)
	colsA1  = regexp.MustCompile(`^([A-Z]+):([A-Z]+)$`)
	cellsA1 = regexp.MustCompile(`^([A-Z]+)(\d+):([A-Z]+)(\d+)$`)
)

// parse reads a range in A1 notation, the ends excluded.
func (v *vendor) parse(a1 string) (fromRow, fromColumn, toRow, toColumn int, err error) {
	cells, ok := strings.CutPrefix(a1, "'"+strings.ReplaceAll(v.title, "'", "''")+"'!")
	if !ok {
		return 0, 0, 0, 0, fmt.Errorf("Unable to parse range: %s", a1)
	}
	toRow, toColumn = len(v.rows), v.columns
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	column := func(s string) (n int) {
		for _, r := range s {
			n = n*26 + int(r-'A') + 1
		}
		return n
	}
	if m := rowsA1.FindStringSubmatch(cells); m != nil {
		fromRow, toRow = number(m[1])-1, number(m[2])
	} else if m := colsA1.FindStringSubmatch(cells); m != nil {
		fromColumn, toColumn = column(m[1])-1, column(m[2])
	} else if m := cellsA1.FindStringSubmatch(cells); m != nil {
		fromColumn, fromRow, toColumn, toRow = column(m[1])-1, number(m[2])-1, column(m[3]), number(m[4])
	} else {
		return 0, 0, 0, 0, fmt.Errorf("Unable to parse range: %s", a1)
	}
	if toRow > len(v.rows) || toColumn > v.columns || fromRow >= toRow || fromColumn >= toColumn {
		return 0, 0, 0, 0, fmt.Errorf("Range (%s) exceeds grid limits. Max rows: %d, max columns: %d", a1, len(v.rows), v.columns)
	}
	return fromRow, fromColumn, toRow, toColumn, nil
}

// batchUpdate carries out all of the requests or none.
func (v *vendor) batchUpdate(body []byte) (answer map[string]any, err error) {
	var b struct {
		batch
		Requests []struct {
			request
			UpdateCells *struct {
				Start coordinate
				Rows  []struct {
					Values []struct{ UserEnteredValue map[string]any }
				}
				Fields string
			} `json:"updateCells"`
		} `json:"requests"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&b); err != nil {
		return nil, err
	}
	if len(b.Requests) == 0 {
		return nil, fmt.Errorf("Must specify at least one request.")
	}
	rows, columns, locks := v.rows, v.columns, v.locks
	v.rows = make([][]content, len(rows))
	for i, row := range rows {
		v.rows[i] = slices.Clone(row)
	}
	defer func() {
		if err != nil {
			v.rows, v.columns, v.locks = rows, columns, locks
		}
	}()
	replies := []any{}
	for i, r := range b.Requests {
		invalid := func(what, text string) error { return fmt.Errorf("Invalid requests[%d].%s: %s", i, what, text) }
		reply := map[string]any{}
		switch {
		case r.InsertDimension != nil:
			d := r.InsertDimension.Range
			size, n := len(v.rows), d.EndIndex-d.StartIndex
			if d.Dimension == "COLUMNS" {
				size = v.columns
			}
			switch {
			case d.SheetID != testSheetID:
				return nil, invalid("insertDimension", fmt.Sprintf("No grid with id: %d", d.SheetID))
			case n <= 0 || d.StartIndex < 0 || d.StartIndex > size:
				return nil, invalid("insertDimension", "range is out of bounds")
			case !r.InsertDimension.InheritFromBefore && d.StartIndex >= size:
				return nil, invalid("insertDimension", fmt.Sprintf("range.startIndex must be less than the grid size (%d) if inheritFromBefore is false.", size))
			case r.InsertDimension.InheritFromBefore && d.StartIndex == 0:
				return nil, invalid("insertDimension", "range.startIndex must be greater than 0 if inheritFromBefore is true.")
			}
			if d.Dimension == "COLUMNS" {
				v.columns += n
				for k := range v.rows {
					v.rows[k] = slices.Insert(v.rows[k], d.StartIndex, make([]content, n)...)
				}
				break
			}
			if d.StartIndex > 0 && d.StartIndex < size && v.locked(d.StartIndex-1, -1) && v.locked(d.StartIndex, -1) {
				return nil, invalid("insertDimension", protectedCell)
			}
			for range n {
				v.rows = slices.Insert(v.rows, d.StartIndex, make([]content, v.columns))
			}
			v.moveLocks(d.StartIndex, n)
		case r.UpdateCells != nil:
			u := r.UpdateCells
			if u.Start.SheetID != testSheetID || u.Fields != "userEnteredValue" {
				return nil, invalid("updateCells", "no such sheet or field")
			}
			for k, row := range u.Rows {
				for j, value := range row.Values {
					at, column := u.Start.RowIndex+k, u.Start.ColumnIndex+j
					if at >= len(v.rows) || column >= v.columns {
						return nil, invalid("updateCells", fmt.Sprintf("Attempting to write column: %d, beyond the last requested column of: %d", column, v.columns-1))
					}
					if v.locked(at, column) {
						return nil, invalid("updateCells", protectedCell)
					}
					cell := content{}
					for kind, text := range value.UserEnteredValue {
						if cell.kind != "" {
							return nil, invalid("updateCells", "two values in one cell")
						}
						cell = content{kind, fmt.Sprint(text)}
					}
					if len(cell.text) > 50_000 {
						return nil, invalid("updateCells", "Your input contains more than the maximum of 50000 characters in a single cell.")
					}
					v.rows[at][column] = cell
				}
			}
		case r.FindReplace != nil:
			f := r.FindReplace
			changed := 0
			for k := f.Range.StartRowIndex; k < min(f.Range.EndRowIndex, len(v.rows)); k++ {
				for j := f.Range.StartColumnIndex; j < f.Range.EndColumnIndex; j++ {
					if !f.MatchCase || !f.MatchEntireCell || f.Replacement != "" || f.Range.SheetID != testSheetID {
						return nil, invalid("findReplace", "the stand-in knows only one way")
					}
					if v.rows[k][j].text == f.Find {
						v.rows[k][j] = content{}
						changed++
					}
				}
			}
			found := map[string]any{}
			if changed > 0 {
				found = map[string]any{"valuesChanged": changed, "rowsChanged": changed, "sheetsChanged": 1, "occurrencesChanged": changed}
			}
			reply["findReplace"] = found
		case r.DeleteDimension != nil:
			d := r.DeleteDimension.Range
			if d.SheetID != testSheetID || d.Dimension != "ROWS" || d.StartIndex < 0 || d.EndIndex > len(v.rows) || d.EndIndex <= d.StartIndex {
				return nil, invalid("deleteDimension", "range is out of bounds")
			}
			for row := d.StartIndex; row < d.EndIndex; row++ {
				if v.locked(row, -1) {
					return nil, invalid("deleteDimension", protectedCell)
				}
			}
			v.rows = slices.Delete(v.rows, d.StartIndex, d.EndIndex)
			v.moveLocks(d.StartIndex, d.StartIndex-d.EndIndex)
			if len(v.rows) <= max(1, v.frozen) {
				return nil, invalid("deleteDimension", "Sorry, it is not possible to delete all non-frozen rows.")
			}
		default:
			return nil, invalid("request", "the stand-in does not know it")
		}
		replies = append(replies, reply)
	}
	answer = map[string]any{"spreadsheetId": testSpreadsheet, "replies": replies}
	if b.Include {
		if answer["updatedSpreadsheet"], err = v.spreadsheet(b.Ranges); err != nil {
			return nil, err
		}
	}
	return answer, nil
}
