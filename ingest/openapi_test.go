package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/sources"
	"github.com/leadrelay/leadrelay/internal/store"
)

// description is what /openapi.json says, read strictly: an answer has no member that is not described.
type description struct {
	doc    *openapi3.T
	router routers.Router
}

var described = sync.OnceValues(func() (*description, error) {
	for _, text := range []string{"text/html", "text/javascript", ndjson} {
		openapi3filter.RegisterBodyDecoder(text, openapi3filter.PlainBodyDecoder)
	}
	w := httptest.NewRecorder()
	front := ingest.New(ingest.Options{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	front.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err == nil {
		err = doc.Validate(context.Background())
	}
	if err != nil {
		return nil, err
	}
	for _, schema := range doc.Components.Schemas {
		if err := schema.WalkSubtree(closed); err != nil {
			return nil, err
		}
	}
	router, err := gorillamux.NewRouter(doc)
	return &description{doc, router}, err
})

// closed allows no members beside those that are described, where nothing is said of others.
func closed(_ string, schema *openapi3.SchemaRef) error {
	if s := schema.Value; s.Type.Is("object") && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties.Has = new(false)
	}
	return nil
}

// held is a front end whose description is held to every request that it accepts and to every answer. What a fuzzer makes up
// is not: of bodies in other character sets, say, the validator knows less than the front end.
func held(t testing.TB, front http.Handler) http.Handler {
	if _, fuzzing := t.(*testing.F); fuzzing {
		return front
	}
	d, err := described()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Clone(context.Background())
		var body bytes.Buffer
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &body), r.Body}
		got := &given{ResponseWriter: w, status: http.StatusOK}
		front.ServeHTTP(got, r)
		if err := d.check(asked, body.Bytes(), got); err != nil {
			err = fmt.Errorf("not as openapi.yaml has it: %s %s: %d: %w\n%.2000q", r.Method, r.URL, got.status, err, got.body.String())
			if _, fuzzing := t.(*testing.F); fuzzing {
				panic(err) // of a fuzz test only the target may report; it gets no answer
			}
			t.Error(err)
		}
	})
}

// given is an answer on its way.
type given struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (g *given) WriteHeader(status int) {
	g.status = status
	g.ResponseWriter.WriteHeader(status)
}

func (g *given) Write(body []byte) (int, error) {
	g.body.Write(body)
	return g.ResponseWriter.Write(body)
}

// content is the body, unpacked.
func (g *given) content() ([]byte, error) {
	if g.Header().Get("Content-Encoding") != "gzip" {
		return g.body.Bytes(), nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(g.body.Bytes()))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// check says what the description has against an answer, and against its request if that was accepted.
func (d *description) check(r *http.Request, body []byte, got *given) error {
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	route, params, err := d.router.FindRoute(r)
	if err != nil {
		route = d.elsewhere(r.Method)
	}
	response := route.Operation.Responses.Status(got.status)
	if response == nil {
		return errors.New("this status is not described")
	}
	asked := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc:                authenticated,
		RejectWhenRequestBodyNotSpecified: true,
		SkipSettingDefaults:               true,
		MultiError:                        true,
	}}
	answered := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: asked, Status: got.status, Header: got.Header(), Options: asked.Options,
	}
	content, err := got.content()
	if err != nil {
		return err
	}
	if len(response.Value.Content) == 0 && len(content) > 0 {
		return errors.New("no body is described")
	}
	problems := []error{
		openapi3filter.ValidateResponse(context.Background(), answered.SetBodyBytes(content)),
		checkHeaders(got, response.Value),
	}
	if got.status < 300 && !partlyRefused(got) {
		problems = append(problems, openapi3filter.ValidateRequest(context.Background(), asked), checkQuery(r, route))
	}
	return errors.Join(problems...)
}

// elsewhere is what is described of a method that no path describes.
func (d *description) elsewhere(method string) *routers.Route {
	all := d.doc.Components.Responses
	responses := openapi3.NewResponses(
		openapi3.WithStatus(http.StatusNotFound, all["NotFound"]),
		openapi3.WithStatus(http.StatusMethodNotAllowed, all["MethodNotAllowed"]),
	)
	if method == http.MethodOptions {
		responses.Set("200", all["Methods"])
	}
	return &routers.Route{Spec: d.doc, PathItem: &openapi3.PathItem{}, Operation: &openapi3.Operation{
		Security: openapi3.NewSecurityRequirements(), Responses: responses,
	}}
}

// partlyRefused says whether an answer is that to a batch of which something was wrong.
func partlyRefused(got *given) bool {
	var answer struct{ Refused int }
	return json.Unmarshal(got.body.Bytes(), &answer) == nil && answer.Refused > 0
}

func authenticated(_ context.Context, input *openapi3filter.AuthenticationInput) error {
	scheme, key, _ := strings.Cut(input.RequestValidationInput.Request.Header.Get("Authorization"), " ")
	switch {
	case !strings.EqualFold(scheme, input.SecurityScheme.Scheme) || key == "":
		return errors.New("no key was sent")
	case strings.TrimSpace(key) == createOnly && !slices.Contains(input.Scopes, "create"):
		return errors.New("a key that may only add leads was let in")
	}
	return nil
}

// ordinary are headers of which the description says once what they are for, or that HTTP itself does.
var ordinary = []string{"Cache-Control", "Connection", "Content-Length", "Content-Type", "X-Content-Type-Options"}

// checkHeaders is for what the library leaves out: headers that are not described, and those of a 304.
func checkHeaders(got *given, response *openapi3.Response) error {
	var problems []error
	described := map[string]bool{}
	for name, header := range response.Headers {
		described[http.CanonicalHeaderKey(name)] = true
		if header.Value.Required && got.Header().Get(name) == "" {
			problems = append(problems, fmt.Errorf("the header %s is missing", name))
		}
	}
	for name := range got.Header() {
		if !described[name] && !slices.Contains(ordinary, name) {
			problems = append(problems, fmt.Errorf("the header %s is not described", name))
		}
	}
	if !described["Cache-Control"] && response.Content["application/json"] != nil && got.Header().Get("Cache-Control") != "no-store" {
		problems = append(problems, errors.New("may be cached"))
	}
	return errors.Join(problems...)
}

func checkQuery(r *http.Request, route *routers.Route) error {
	for name := range r.URL.Query() {
		if route.Operation.Parameters.GetByInAndName("query", name) == nil {
			return fmt.Errorf("the parameter %s is not described", name)
		}
	}
	return nil
}

func TestTheDescriptionIsServed(t *testing.T) {
	a := start(t, nil)
	got := a.do("GET", "/openapi.json", "", "")
	tag := got.header.Get("ETag")
	if got.status != 200 || got.body["openapi"] != "3.1.1" || tag == "" {
		t.Fatalf("got %d %v %.200s", got.status, got.header, got.text)
	}
	if !strings.Contains(got.text, `{"name":"John Doe","email":"john@gmail.com","source":"website","note":"Might be interested in React course"}`) {
		t.Error("an example's members are not in the order in which they were written")
	}
	for tags, status := range map[string]int{tag: 304, `"x", W/` + tag: 304, "*": 304, `"x"`: 200} {
		req, _ := http.NewRequest("GET", a.url+"/openapi.json", nil)
		req.Header.Set("If-None-Match", tags)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("If-None-Match: %s: got %d, want %d", tags, resp.StatusCode, status)
		}
	}
	req, _ := http.NewRequest("OPTIONS", a.url+"/api/v1/leads", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if allow := resp.Header.Get("Allow"); resp.StatusCode != 200 || allow != "GET, HEAD, OPTIONS, POST" {
		t.Errorf("OPTIONS: got %d %s", resp.StatusCode, allow)
	}
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil { // it refuses a member that is there twice
		t.Error(err)
	}
}

// TestWhatIsRoutedIsDescribed compares the two lists of all there is.
func TestWhatIsRoutedIsDescribed(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	var routed, paths []string
	for _, route := range ingest.Routes() {
		routed = append(routed, regexp.MustCompile(`:(\w+)`).ReplaceAllString(route, "{$1}"))
	}
	for path, item := range d.doc.Paths.Map() {
		for method := range item.Operations() {
			paths = append(paths, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(paths)
	if !slices.Equal(routed, paths) {
		t.Errorf("routed are\n%s\ndescribed are\n%s", strings.Join(routed, "\n"), strings.Join(paths, "\n"))
	}
}

func TestTheDescriptionsNumbersAreThoseOfTheCode(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	schemas := d.doc.Components.Schemas
	sent := map[string]int{"Name": lead.MaxName, "Email": lead.MaxEmail, "Source": lead.MaxSource, "Note": lead.MaxNote, "CustomField": lead.MaxCustomValue, "MemberName": lead.MaxCustomName}
	for name, most := range sent {
		if got := schemas[name].Value.MaxLength; got == nil || *got != uint64(most) {
			t.Errorf("%s: described is another length than %d", name, most)
		}
	}
	shown := schemas["Lead"].Value.Properties
	for name, most := range map[string]int{"name": lead.MaxName, "email": lead.MaxEmail, "source": lead.MaxSource, "note": lead.MaxNote} {
		if got := shown[name].Value.MaxLength; got == nil || *got != uint64(most) {
			t.Errorf("%s of a lead: described is another length than %d", name, most)
		}
	}
	for _, name := range []string{"NewLead", "LeadPatch"} {
		if s := schemas[name].Value; s.MaxProps == nil || *s.MaxProps != uint64(len(s.Properties)+lead.MaxCustom) {
			t.Errorf("%s: described are another number of members than those and %d", name, lead.MaxCustom)
		}
	}
	if got := schemas["FormFields"].Value.MaxProps; got == nil || *got != ingest.MaxFields {
		t.Errorf("a form: described is another number of fields than %d", ingest.MaxFields)
	}
	batch := d.doc.Paths.Value("/api/v1/leads/batch").Post.RequestBody.Value.Content["application/json"].Schema.Value
	if batch.MaxItems == nil || *batch.MaxItems != ingest.MaxBatch {
		t.Errorf("a batch: described is another size than %d", ingest.MaxBatch)
	}
	page := d.doc.Paths.Value("/api/v1/leads").Get.Parameters.GetByInAndName("query", "limit").Schema.Value
	if *page.Max != ingest.MaxPage || page.Default != float64(ingest.DefaultPage) {
		t.Errorf("a page: described are %v and %v, want %d and %d", *page.Max, page.Default, ingest.MaxPage, ingest.DefaultPage)
	}
	for text, told := range map[string]string{
		d.doc.Components.Parameters["IdempotencyKey"].Value.Description:             fmt.Sprintf("at most %d printable", ingest.MaxIdempotencyKey),
		d.doc.Paths.Value("/api/v1/leads").Post.RequestBody.Value.Description:       fmt.Sprintf("%d KiB", ingest.DefaultBodyBytes>>10),
		d.doc.Paths.Value("/api/v1/leads/batch").Post.RequestBody.Value.Description: fmt.Sprintf("%d MiB", ingest.DefaultBatchBytes>>20),
		d.doc.Paths.Value("/in/{source}").Post.RequestBody.Value.Description:        fmt.Sprintf("%d MiB", ingest.MaxDelivery>>20),
		d.doc.Paths.Value("/f/{form}").Post.RequestBody.Value.Description:           fmt.Sprintf("%d KiB, unless it is configured otherwise, and %d fields", ingest.DefaultBodyBytes>>10, ingest.MaxFields),
		schemas["CustomField"].Value.Description:                                    fmt.Sprintf("At most %d for one lead", lead.MaxCustom),
	} {
		if !strings.Contains(text, told) {
			t.Errorf("%q does not say %q", text, told)
		}
	}
}

func TestTheDescriptionsErrorCodesAreThoseOfItsAnswers(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths      any
		Components struct {
			Responses any
			Schemas   map[string]any
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	var collect func(node any)
	collect = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if code, ok := node["error"].(map[string]any); ok {
				if one, ok := code["const"].(string); ok && one != "" {
					codes[one] = true
				}
				if several, ok := code["enum"].([]any); ok {
					for _, one := range several {
						codes[one.(string)] = true
					}
				}
			}
			for _, member := range node {
				collect(member)
			}
		case []any:
			for _, element := range node {
				collect(element)
			}
		}
	}
	collect(document.Paths)
	collect(document.Components.Responses)
	collect(document.Components.Schemas)
	var listed []string
	for _, code := range document.Components.Schemas["ErrorCode"].(map[string]any)["enum"].([]any) {
		listed = append(listed, code.(string))
	}
	if want := slices.Sorted(maps.Keys(codes)); !slices.Equal(listed, want) {
		t.Errorf("the list of codes is %v, those of answers are %v", listed, want)
	}
}

// TestTheDescriptionsExamplesAreTrue sends the examples of the requests, and compares the answers with theirs.
func TestTheDescriptionsExamplesAreTrue(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, func(o *ingest.Options) {
		o.Config = func() ingest.ConfigState { return ingest.ConfigState{Revision: "3f2a9c1b", Loaded: time.Now()} }
	})
	same := func(operation *openapi3.Operation, got answer) {
		t.Helper()
		want := operation.Responses.Status(200).Value.Content["application/json"].Example
		if shape(want) != shape(got.body) {
			t.Errorf("%s: got %s, the example is %v", operation.OperationID, got.text, want)
		}
	}
	send := func(method, path string, operation *openapi3.Operation) answer {
		t.Helper()
		body := ""
		if operation.RequestBody != nil {
			text, err := json.Marshal(operation.RequestBody.Value.Content["application/json"].Example)
			if err != nil {
				t.Fatal(err)
			}
			body = string(text)
		}
		return a.do(method, path, full, body)
	}
	all, one := d.doc.Paths.Value("/api/v1/leads"), d.doc.Paths.Value("/api/v1/leads/{lead_id}")
	added := send("POST", "/api/v1/leads", all.Post)
	same(all.Post, added)
	path := "/api/v1/leads/" + added.body["data"].(map[string]any)["lead_id"].(string)
	same(one.Put, send("PUT", path, one.Put))
	same(all.Get, send("GET", "/api/v1/leads", all.Get))
	same(one.Delete, send("DELETE", path, one.Delete))
	if got := a.do("GET", "/readyz", "", ""); got.status != 200 || got.body["config_revision"] != "3f2a9c1b" {
		t.Errorf("got %d %s", got.status, got.text)
	}
}

// shape is an answer as JSON, but for what is never the same.
func shape(answer any) string {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return regexp.MustCompile(`"(lead_id|created_at|updated_at)":"[^"]+"`).ReplaceAllString(string(text), `"$1":…`)
}

// exchange is a request and an answer that nobody has sent.
type exchange struct {
	method, path, key, sent string
	status                  int
	header                  http.Header
	body                    string
}

func (e exchange) check(d *description) error {
	r := httptest.NewRequest(e.method, e.path, nil)
	r.Header.Set("Authorization", "Bearer "+e.key)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	maps.Copy(w.Header(), http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store"}})
	maps.Copy(w.Header(), e.header)
	got := &given{ResponseWriter: w, status: e.status}
	got.body.WriteString(e.body)
	return d.check(r, []byte(e.sent), got)
}

// TestWhereALeadMayStandIsDescribed is for the outcomes of connectors, which this package's tests have none of.
func TestWhereALeadMayStandIsDescribed(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	var found store.Found
	now := time.Now().UnixMilli()
	for _, state := range []store.State{store.Pending, store.InStep, store.Skipped, store.Retrying, store.Parked} {
		for fault := connectors.Remote; fault <= connectors.Unknown; fault++ {
			found.Standings = append(found.Standings, store.Standing{Connector: "crm", State: state, Record: store.Record{
				Synced: 1, Ref: "4711", At: now, Fault: fault.String(), Reason: "crm: put: 503", Attempts: 2, Next: now,
			}})
		}
		found.Standings = append(found.Standings, store.Standing{Connector: "crm", State: state, Record: store.Record{At: now}}, store.Standing{State: state})
	}
	standings := ingest.Standings(found)
	if err := (exchange{method: "GET", path: "/api/v1/leads/l", key: full, status: 200, body: `{"success":true,"error":"","data":{"lead_id":"l","name":"","email":"a@example.com","source":"","note":"",` +
		`"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","revision":1,"connectors":` + standings + `},"message":"m"}`}).check(d); err != nil {
		t.Error(err)
	}
	if err := (exchange{method: "GET", path: "/api/v1/leads/l", status: 404, body: `{"success":false,"error":"not_found",` +
		`"data":{"lead_id":"l","deleted_at":"2026-01-02T03:04:05Z","connectors":` + standings + `},"message":"m"}`}).check(d); err != nil {
		t.Error(err)
	}
}

// TestADefectIsDescribedWhereverItIs asks a front end without a store, to which every call is a defect.
func TestADefectIsDescribedWhereverItIs(t *testing.T) {
	source := openSource(t, "typeform", map[string]any{"secret": typeformSecret}, sources.Options{})
	front := httptest.NewServer(held(t, ingest.New(ingest.Options{
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Forms: []ingest.Form{contact()}, Sources: []ingest.Source{source},
		Keys: []ingest.Key{{Name: "full", Secret: full, Scope: ingest.Full}},
	})))
	defer front.Close()
	a := &api{t: t, url: front.URL}
	const body = `{"email":"a@example.com"}`
	delivery, one := submission("t1", "a@example.com"), "/api/v1/leads/"+lead.NewID(time.Now(), -1)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/v1/leads", body}, {"POST", "/api/v1/leads/batch", "[" + body + "]"}, {"GET", "/api/v1/leads", ""},
		{"GET", one, ""}, {"PUT", one, body}, {"DELETE", one, ""},
		{"POST", "/f/contact", body}, {"GET", "/f/contact/token", ""}, {"POST", "/in/signup", delivery}, {"GET", "/readyz", ""},
	} {
		if got := a.do(c.method, c.path, full, c.body, "Origin", site, "Typeform-Signature", typeformSign(c.body)); got.status != 500 || got.body["error"] != "internal" {
			t.Errorf("%s %s: got %d %s", c.method, c.path, got.status, got.text)
		}
	}
}

// TestADifferenceToTheDescriptionIsSeen holds wrong answers to the description.
func TestADifferenceToTheDescriptionIsSeen(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	const added = `{"success":true,"data":{"lead_id":"l","name":"","email":"a@example.com","source":"","note":"","created_at":"2026-01-02T03:04:05Z","x":1},"message":"m"}`
	const refused = `{"success":false,"error":"unauthorized","message":"m"}`
	right := exchange{"POST", "/api/v1/leads", full, `{"email":"a@example.com"}`, 200, http.Header{}, added}
	if err := right.check(d); err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]func(e *exchange){
		"a path":                    func(e *exchange) { e.path = "/api/v2/leads" },
		"a method":                  func(e *exchange) { e.method = "PATCH" },
		"a status":                  func(e *exchange) { e.status = 201 },
		"a parameter":               func(e *exchange) { e.path += "?dry=1" },
		"a request without a key":   func(e *exchange) { e.key = "" },
		"a request that is no lead": func(e *exchange) { e.sent = `{"email":5}` },
		"a reserved name":           func(e *exchange) { e.sent = `{"email":"a@example.com","revision":1}` },
		"a body":                    func(e *exchange) { e.method, e.path, e.status, e.body = "OPTIONS", "/f/contact", 204, "{}" },
		"a content type":            func(e *exchange) { e.header["Content-Type"] = []string{"text/html"} },
		"a header":                  func(e *exchange) { e.header["Location"] = []string{"/"} },
		"an answer that is cached":  func(e *exchange) { e.header["Cache-Control"] = []string{"public"} },
		"a member":                  func(e *exchange) { e.body = strings.Replace(added, `"message"`, `"more":1,"message"`, 1) },
		"a member that is missing":  func(e *exchange) { e.body = strings.Replace(added, `"created_at"`, `"x_at"`, 1) },
		"a type":                    func(e *exchange) { e.body = strings.Replace(added, `"name":""`, `"name":null`, 1) },
		"a success that is none":    func(e *exchange) { e.body = strings.Replace(added, `true`, `false`, 1) },
		"a time":                    func(e *exchange) { e.body = strings.Replace(added, `05Z`, `05.5Z`, 1) },
		"a code":                    func(e *exchange) { e.status, e.body = 500, refused },
		"a header that is missing":  func(e *exchange) { e.status, e.body = 401, refused },
		"a key with too few rights": func(e *exchange) {
			e.method, e.path, e.key, e.sent, e.body = "DELETE", "/api/v1/leads/l", createOnly, "", `{"success":true,"error":"","message":"m"}`
		},
	} {
		e := right
		e.header = http.Header{}
		wrong(&e)
		if err := e.check(d); err == nil {
			t.Errorf("%s that is not described is not seen", name)
		}
	}
}
