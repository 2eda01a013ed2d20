package rig

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	salesforceID     = "3MVG9.the-consumer-key"
	salesforceSecret = "5ecre7-c0n5um3r-that-must-not-show"
	salesforceToken  = "00D5g0000004XYZ!AQEAQ.s3cr3t-s3ss10n-that-must-not-show"
	externalID       = "Leadrelay_Id__c"
)

// salesforce is a stand-in of a Salesforce org, as far as the recipe uses it: sessions that end before their time, and
// upserts of many leads by an external id, each with a result of its own.
// https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections-upsert.html
type salesforce struct {
	dice *rand.Rand
	well *atomic.Bool // nothing fails any more

	mu       sync.Mutex
	records  map[string]map[string]string // by external id
	sessions int
	problems []string
}

func newSalesforce(dice *rand.Rand) *salesforce {
	return &salesforce{dice: dice, well: new(atomic.Bool), records: map[string]map[string]string{}}
}

// chance is true once in n times, until all is well.
func (s *salesforce) chance(n int) bool { return !s.well.Load() && s.dice.IntN(n) == 0 }

func (s *salesforce) problem(format string, args ...any) {
	s.problems = append(s.problems, "salesforce: "+fmt.Sprintf(format, args...))
}

func (s *salesforce) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		w.Header().Set("Sforce-Limit-Info", "api-usage=18/100000")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(value)
	}
	refuse := func(status int, code, message string) {
		answer(status, []any{object{"errorCode": code, "message": message}})
	}
	if strings.Contains(r.URL.String(), marker) {
		s.problem("personal data in a URL")
	}
	session := func() string { return fmt.Sprintf("%s.%d", salesforceToken, s.sessions) }
	if r.URL.Path == "/services/oauth2/token" {
		if r.FormValue("grant_type") != "client_credentials" || r.FormValue("client_id") != salesforceID || r.FormValue("client_secret") != salesforceSecret {
			answer(400, object{"error": "invalid_client", "error_description": "invalid client credentials"})
			return
		}
		answer(200, object{"access_token": session(), "token_type": "Bearer", "issued_at": "1718000000000"})
		return
	}
	if s.chance(60) {
		s.sessions++
	}
	if r.Header.Get("Authorization") != "Bearer "+session() {
		refuse(401, "INVALID_SESSION_ID", "Session expired or invalid")
		return
	}
	one, isOne := strings.CutPrefix(r.URL.Path, "/services/data/v63.0/sobjects/Lead/"+externalID+"/")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/services/data/v63.0/sobjects/Lead/describe":
		fields := []any{object{"name": externalID, "externalId": true, "unique": true}}
		for _, name := range []string{"FirstName", "LastName", "Phone", "Description"} {
			fields = append(fields, object{"name": name})
		}
		answer(200, object{"fields": fields})
	case r.Method == http.MethodDelete && isOne:
		if s.chance(30) {
			refuse(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
			return
		}
		if s.records[one] == nil {
			refuse(404, "NOT_FOUND", "The requested resource does not exist")
			return
		}
		delete(s.records, one)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPatch && r.URL.Path == "/services/data/v63.0/composite/sobjects/Lead/"+externalID:
		var batch struct {
			AllOrNone bool
			Records   []map[string]any
		}
		if json.NewDecoder(r.Body).Decode(&batch) != nil || batch.AllOrNone || len(batch.Records) == 0 || len(batch.Records) > 200 {
			s.problem("a batch of %d, all or none %v", len(batch.Records), batch.AllOrNone)
			refuse(400, "JSON_PARSER_ERROR", "no such batch")
			return
		}
		answer(200, s.upsert(batch.Records))
	default:
		s.problem("%s %s is not asked of it", r.Method, r.URL.Path)
		refuse(404, "NOT_FOUND", "The requested resource does not exist")
	}
}

// upsert returns a result for each record, in their order; now and then it forgets some.
func (s *salesforce) upsert(records []map[string]any) (results []any) {
	seen := map[string]bool{}
	for _, record := range records {
		kept := map[string]string{}
		for name, value := range record {
			if text, ok := value.(string); ok {
				kept[name] = text
			}
		}
		id := kept[externalID]
		failed := func(code, message string) {
			results = append(results, object{"success": false, "errors": []any{object{"statusCode": code, "message": message, "fields": []any{}}}})
		}
		switch {
		case id == "" || seen[id]:
			s.problem("%q is in one batch twice or has no id", id)
			failed("DUPLICATE_VALUE", "Duplicate external id specified: "+id)
		case kept["LastName"] == "" || kept["Company"] == "":
			failed("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName, Company]")
		case s.chance(12):
			failed("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record: "+kept["Email"])
		default:
			results = append(results, object{"id": "00Q5g00000AbCdEEAV", "success": true, "errors": []any{}, "created": s.records[id] == nil})
			s.records[id] = kept
		}
		seen[id] = true
	}
	if s.chance(30) {
		results = results[:s.dice.IntN(len(results))]
	}
	return results
}

// compare says which records are not the accepted leads.
func (s *salesforce) compare(leads []*lead) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string][]person{}
	for id, r := range s.records {
		found[id] = []person{{Name: r["FirstName"] + " " + r["LastName"], Email: r["Email"], Note: r["Description"]}}
	}
	return append(slices.Clone(s.problems), comparePeople("salesforce", found, leads)...)
}
