package connectortest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"go.yaml.in/yaml/v3"
)

// Description is what a vendor publishes of its API: it checks what a connector sends, and that a stand-in
// answers as the vendor would.
type Description struct {
	routers []routers.Router
}

// described are the files that were read: some take a while.
var described struct {
	sync.Mutex
	routers map[string]routers.Router
}

// Describe reads a vendor's OpenAPI 3 or Swagger 2 files, JSON or YAML, from below SpecDir, each once.
func Describe(t testing.TB, files ...string) *Description {
	t.Helper()
	dir := SpecDir(t)
	d := &Description{}
	described.Lock()
	defer described.Unlock()
	for _, file := range files {
		path := filepath.Join(dir, filepath.FromSlash(file))
		if described.routers[path] == nil {
			router, err := readDescription(path)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if described.routers == nil {
				described.routers = map[string]routers.Router{}
			}
			described.routers[path] = router
		}
		d.routers = append(d.routers, described.routers[path])
	}
	return d
}

func readDescription(path string) (routers.Router, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		var tree any
		if err := yaml.Unmarshal(text, &tree); err != nil {
			return nil, err
		}
		if text, err = json.Marshal(tree); err != nil {
			return nil, err
		}
	}
	var version struct {
		Swagger string `json:"swagger"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, err
	}
	var doc *openapi3.T
	if version.Swagger == "" {
		doc, err = besides(path).LoadFromData(text)
	} else {
		doc, err = fromSwagger(text)
	}
	if err != nil {
		return nil, err
	}
	// Only the path of the servers' URLs counts: stand-ins listen elsewhere.
	base := ""
	if len(doc.Servers) > 0 {
		base = doc.Servers[0].URL
		if _, rest, ok := strings.Cut(base, "://"); ok {
			_, base, _ = strings.Cut(rest, "/")
		}
		base = "/" + strings.Trim(base, "/")
	}
	doc.Servers = nil
	if base != "" && base != "/" {
		doc.Servers = openapi3.Servers{{URL: base}}
	}
	return gorillamux.NewRouter(doc)
}

// besides loads what a description refers to from the files beside it, whatever addresses the vendor has them under.
func besides(path string) *openapi3.Loader {
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true
	loader.ReadFromURIFunc = func(_ *openapi3.Loader, address *url.URL) ([]byte, error) {
		return os.ReadFile(filepath.Join(filepath.Dir(path), filepath.Base(filepath.FromSlash(address.Path))))
	}
	return loader
}

func fromSwagger(text []byte) (*openapi3.T, error) {
	var old openapi2.T
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, err
	}
	for _, item := range old.Paths {
		for _, operation := range item.Operations() {
			// The conversion forgets what holds for all operations.
			if operation.Produces == nil {
				operation.Produces = old.Produces
			}
			if operation.Consumes == nil {
				operation.Consumes = old.Consumes
			}
		}
	}
	doc, err := openapi2conv.ToV3(&old)
	if err == nil && old.BasePath != "" {
		doc.Servers = openapi3.Servers{{URL: old.BasePath}}
	}
	return doc, err
}

// CheckRequest says what the vendor's description has against r, whose body can still be read afterwards.
// Authentication is not checked.
func (d *Description) CheckRequest(r *http.Request) error {
	input, err := d.input(r)
	if err != nil {
		return err
	}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return nil
}

// CheckAnswer says what the vendor's description has against this answer to r.
func (d *Description) CheckAnswer(r *http.Request, answer *httptest.ResponseRecorder) error {
	input, err := d.input(r)
	if err != nil {
		return err
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: answer.Code, Header: answer.Header(), Options: input.Options,
	}
	if err := openapi3filter.ValidateResponse(r.Context(), output.SetBodyBytes(answer.Body.Bytes())); err != nil {
		return fmt.Errorf("%s %s: answer: %w", r.Method, r.URL.Path, err)
	}
	return nil
}

func (d *Description) input(r *http.Request) (*openapi3filter.RequestValidationInput, error) {
	for _, router := range d.routers {
		route, parameters, err := router.FindRoute(r)
		if err != nil {
			continue
		}
		return &openapi3filter.RequestValidationInput{
			Request: r, PathParams: parameters, Route: route,
			Options: &openapi3filter.Options{
				AuthenticationFunc:  openapi3filter.NoopAuthenticationFunc,
				MultiError:          true,
				SkipSettingDefaults: true, // who checks a request does not change it
			},
		}, nil
	}
	return nil, fmt.Errorf("%s %s: the vendor describes no such call", r.Method, r.URL.Path)
}
