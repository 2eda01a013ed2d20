package googlesheets

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/leadrelay/leadrelay/connectors"
)

// scope is the only one that lets a service account write cells and nothing but spreadsheets.
const scope = "https://www.googleapis.com/auth/spreadsheets"

// batch is the body of spreadsheets.batchUpdate
// (https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/batchUpdate).
type batch struct {
	Requests []request `json:"requests"`

	// What the answer is to hold: the cells of Ranges as they are after the requests.
	Include  bool     `json:"includeSpreadsheetInResponse"`
	GridData bool     `json:"responseIncludeGridData"`
	Ranges   []string `json:"responseRanges"`
}

// request is one of its members (https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/request).
type request struct {
	InsertDimension *insertDimension `json:"insertDimension,omitempty"`
	UpdateCells     *updateCells     `json:"updateCells,omitempty"`
	FindReplace     *findReplace     `json:"findReplace,omitempty"`
	DeleteDimension *deleteDimension `json:"deleteDimension,omitempty"`
}

type insertDimension struct {
	Range             dimensionRange `json:"range"`
	InheritFromBefore bool           `json:"inheritFromBefore"`
}

type deleteDimension struct {
	Range dimensionRange `json:"range"`
}

type dimensionRange struct {
	SheetID    int    `json:"sheetId"`
	Dimension  string `json:"dimension"` // ROWS or COLUMNS
	StartIndex int    `json:"startIndex"`
	EndIndex   int    `json:"endIndex"`
}

type updateCells struct {
	Start  coordinate `json:"start"`
	Rows   []rowData  `json:"rows"`
	Fields string     `json:"fields"`
}

type coordinate struct {
	SheetID     int `json:"sheetId"`
	RowIndex    int `json:"rowIndex"`
	ColumnIndex int `json:"columnIndex"`
}

type rowData struct {
	Values []cell `json:"values"`
}

// cell is a CellData; without a value it empties the cell.
type cell struct {
	Value *cellValue `json:"userEnteredValue,omitempty"`
}

// cellValue is an ExtendedValue. It has no formulaValue: no cell of ours is ever a formula.
type cellValue struct {
	String *string      `json:"stringValue,omitempty"`
	Number *json.Number `json:"numberValue,omitempty"`
	Bool   *bool        `json:"boolValue,omitempty"`
}

type findReplace struct {
	Find            string    `json:"find"`
	Replacement     string    `json:"replacement"`
	MatchCase       bool      `json:"matchCase"`
	MatchEntireCell bool      `json:"matchEntireCell"`
	Range           gridRange `json:"range"`
}

type gridRange struct {
	SheetID          int `json:"sheetId"`
	StartRowIndex    int `json:"startRowIndex"`
	EndRowIndex      int `json:"endRowIndex"`
	StartColumnIndex int `json:"startColumnIndex"`
	EndColumnIndex   int `json:"endColumnIndex"`
}

// spreadsheet is as much of a Spreadsheet as we ask for: the one tab that the ranges name.
type spreadsheet struct {
	Sheets []struct {
		Properties struct {
			SheetID        int `json:"sheetId"`
			GridProperties struct {
				RowCount       int `json:"rowCount"`
				ColumnCount    int `json:"columnCount"`
				FrozenRowCount int `json:"frozenRowCount"`
			} `json:"gridProperties"`
		} `json:"properties"`
		ProtectedRanges []protectedRange `json:"protectedRanges"`
		Data            []struct {       // one for each range
			StartRow    int `json:"startRow"`
			StartColumn int `json:"startColumn"`
			RowData     []struct {
				Values []struct {
					FormattedValue string `json:"formattedValue"`
				} `json:"values"`
			} `json:"rowData"`
		} `json:"data"`
	} `json:"sheets"`
}

// protectedRange is one of https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/sheets#ProtectedRange.
type protectedRange struct {
	Range struct { // an end that is left out is the tab's
		StartRowIndex    int `json:"startRowIndex"`
		EndRowIndex      int `json:"endRowIndex"`
		StartColumnIndex int `json:"startColumnIndex"`
		EndColumnIndex   int `json:"endColumnIndex"`
	} `json:"range"`
	WarningOnly           bool `json:"warningOnly"`
	RequestingUserCanEdit bool `json:"requestingUserCanEdit"`
}

// cells calls f with every cell that holds something.
func (s spreadsheet) cells(f func(row, column int, text string)) {
	for _, sheet := range s.Sheets {
		for _, data := range sheet.Data {
			for i, row := range data.RowData {
				for j, value := range row.Values {
					if text := strings.TrimSpace(value.FormattedValue); text != "" {
						f(data.StartRow+i, data.StartColumn+j, text)
					}
				}
			}
		}
	}
}

// batched is the answer to a batch.
type batched struct {
	Replies []struct {
		FindReplace struct {
			OccurrencesChanged int `json:"occurrencesChanged"`
		} `json:"findReplace"`
	} `json:"replies"` // one for each request
	UpdatedSpreadsheet *spreadsheet `json:"updatedSpreadsheet"`
}

const (
	cellFields  = "data(startRow,startColumn,rowData(values(formattedValue)))"
	readFields  = "sheets(properties(sheetId,gridProperties(rowCount,columnCount,frozenRowCount)),protectedRanges(range,warningOnly,requestingUserCanEdit)," + cellFields + ")"
	batchFields = "replies(findReplace(occurrencesChanged)),updatedSpreadsheet(sheets(" + cellFields + "))"
)

// get reads ranges of the tab (https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/get):
// unlike values.batchGet it also tells, of the same moment, the tab's id.
func (c *connector) get(ctx context.Context, ranges ...string) (spreadsheet, error) {
	var got spreadsheet
	err := c.call(ctx, "read", http.MethodGet, "", url.Values{"ranges": ranges, "fields": {readFields}}, nil, &got)
	if err == nil && (len(got.Sheets) != 1 || len(got.Sheets[0].Data) == 0) {
		err = failure(connectors.Remote, "read", "the answer is not a spreadsheet with the tab %q", c.Sheet)
	}
	return got, err
}

func (c *connector) batchUpdate(ctx context.Context, b batch) (batched, error) {
	b.Include, b.GridData = true, true
	var got batched
	err := c.call(ctx, "write", http.MethodPost, ":batchUpdate", url.Values{"fields": {batchFields}}, &b, &got)
	if err == nil && (len(got.Replies) != len(b.Requests) || got.UpdatedSpreadsheet == nil) {
		err = failure(connectors.Unknown, "write", "the answer does not say what was done")
	}
	return got, err
}

// at quotes a range of the tab in A1 notation (https://developers.google.com/workspace/sheets/api/guides/concepts#cell).
func (c *connector) at(cells string) string {
	return "'" + strings.ReplaceAll(c.Sheet, "'", "''") + "'!" + cells
}

func (c *connector) call(ctx context.Context, what, method, suffix string, query url.Values, body *batch, into any) error {
	token, err := c.signIn(ctx)
	if err != nil {
		return fail("sign in", err)
	}
	query.Set("prettyPrint", "false")
	var sent any
	if body != nil {
		sent = body
	}
	address := c.BaseURL + "/v4/spreadsheets/" + c.SpreadsheetID + suffix + "?" + query.Encode()
	req, err := connectors.NewJSONRequest(ctx, method, address, sent)
	if err != nil {
		return fail(what, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.client.Do(req)
	if err == nil {
		err = resp.JSON(into)
	} else if resp != nil {
		err = c.refusal(resp, withhold(resp, token))
	}
	if err != nil {
		return fail(what, err)
	}
	return nil
}

// withhold is what connectors.StatusError makes of an error answer that may repeat a secret of the request.
func withhold(resp *connectors.Response, secret string) error {
	if secret != "" {
		resp.Body = bytes.ReplaceAll(resp.Body, []byte(secret), []byte("<redacted>"))
	}
	return connectors.StatusError(resp)
}

// refusal refines what connectors.StatusError made of an error answer.
func (c *connector) refusal(resp *connectors.Response, err error) error {
	var e *connectors.Error
	if !errors.As(err, &e) {
		return err
	}
	said := explain(resp.Body)
	switch {
	case said.aboutRate():
		e.Fault = connectors.Throttled
	case resp.Status == http.StatusConflict, resp.Status == 499: // ABORTED and CANCELLED: https://cloud.google.com/apis/design/errors#handling_errors
		e.Fault = connectors.Remote
	case resp.Status == http.StatusBadRequest && strings.Contains(said.Error.Message, "exceeds grid limits"):
		e.Fault = connectors.Remote // rows or columns were deleted since they were last read
	case e.Fault == connectors.Lead: // see Errors in the package comment
		e.Fault = connectors.Setup
	}
	switch {
	case resp.Status == http.StatusUnauthorized:
		c.token = nil // it may have been revoked before its time
	case e.Fault == connectors.Setup && said.Error.Status == "PERMISSION_DENIED" && said.Error.Details == nil: // details name another reason
		e.Err = fmt.Errorf("%w; is the spreadsheet shared with the service account (client_email in its key) as an editor?", e.Err)
	case resp.Status == http.StatusBadRequest && strings.HasPrefix(said.Error.Message, "Unable to parse range"):
		e.Err = fmt.Errorf("%w; is there a tab %q?", e.Err, c.Sheet)
	}
	return e
}

// explanation is Google's error body (https://cloud.google.com/apis/design/errors#http_mapping); errors is its old form.
type explanation struct {
	Error struct {
		Status  string   `json:"status"`
		Message string   `json:"message"`
		Errors  []reason `json:"errors"`
		Details []reason `json:"details"`
	} `json:"error"`
}

type reason struct {
	Reason string `json:"reason"`
}

func explain(body []byte) (e explanation) {
	if json.Unmarshal(body, &e) != nil {
		return explanation{}
	}
	return e
}

func (e explanation) aboutRate() bool {
	for _, r := range append(e.Error.Errors, e.Error.Details...) {
		switch r.Reason {
		case "rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED":
			return true
		}
	}
	return e.Error.Status == "RESOURCE_EXHAUSTED"
}

// parseAccount reads a service account's JSON key. Its errors repeat nothing of it.
func parseAccount(key connectors.Secret) (*jwt.Config, error) {
	var account struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKeyID string `json:"private_key_id"`
		PrivateKey   string `json:"private_key"`
		TokenURI     string `json:"token_uri"`
	}
	if json.Unmarshal([]byte(key.Reveal()), &account) != nil {
		return nil, errors.New("must be the JSON key of a service account")
	}
	if account.Type != "service_account" || account.ClientEmail == "" {
		return nil, errors.New(`must be the JSON key of a service account ("type": "service_account")`)
	}
	block, _ := pem.Decode([]byte(account.PrivateKey))
	if block == nil {
		return nil, errors.New("private_key is not PEM; the file may have been damaged when it was copied")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if _, ok := parsed.(*rsa.PrivateKey); err != nil || !ok {
		return nil, errors.New("private_key is not an RSA key")
	}
	if account.TokenURI == "" {
		account.TokenURI = "https://oauth2.googleapis.com/token"
	}
	if u, err := url.Parse(account.TokenURI); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("token_uri is not a URL")
	}
	return &jwt.Config{
		Email:        account.ClientEmail,
		PrivateKey:   []byte(account.PrivateKey),
		PrivateKeyID: account.PrivateKeyID,
		Scopes:       []string{scope},
		TokenURL:     account.TokenURI,
	}, nil
}

// signIn returns an access token, a new one when the last runs out
// (https://developers.google.com/identity/protocols/oauth2/service-account#httprest).
func (c *connector) signIn(ctx context.Context) (string, error) {
	if c.token.Valid() {
		return c.token.AccessToken, nil
	}
	token, err := c.client.SignIn(ctx, func(ctx context.Context) (*oauth2.Token, error) { return c.account.TokenSource(ctx).Token() })
	if err != nil {
		return "", err
	}
	c.token = token
	return token.AccessToken, nil
}
