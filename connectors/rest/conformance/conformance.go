// Package conformance holds recipes to the contract of connectors: the kit of connectors/connectortest runs against the
// stand-in that rest makes from the recipe itself. What a stand-in cannot know of its vendor, a recipe's own tests say
// in Options, or check by themselves.
package conformance

import (
	"bytes"
	"io"
	"iter"
	"net/http"
	"reflect"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Options say how a recipe's test differs from what follows from the recipe.
type Options struct {
	// Settings are operators' settings. Of a base_url the path counts; what is required and not given is made up.
	Settings map[string]any

	// Fields are field rules for the test; nil: the recipe's own.
	Fields []connectors.FieldRule

	// Check is asked about every request that reaches the vendor, such as connectortest.Description.CheckRequest. It
	// may read the body. nil: nobody is.
	Check func(*http.Request) error

	// Ref names the vendor's n-th record, from 1, where it must be other than 1001, 1002 and so on.
	Ref func(n int) string

	// Faults are added to what follows from the recipe's rules, see connectortest.Harness.
	Faults map[int]connectors.Fault
}

// Harness is what the kit needs of a recipe. The error is that of rest.Recipe.StandIn.
func Harness(r *rest.Recipe, o Options) (connectortest.Harness, error) {
	first, err := r.StandIn(o.Settings)
	if err != nil {
		return connectortest.Harness{}, err
	}
	kind := r.Kind()
	given := first.Settings("https://standin.example")
	h := connectortest.Harness{
		Kind:   kind,
		Fields: o.Fields,
		NewVendor: func(t testing.TB) connectortest.Vendor {
			s, err := r.StandIn(o.Settings)
			if err != nil {
				t.Fatal(err)
			}
			s.Ref = o.Ref
			return &vendor{s, t, o.Check}
		},
		Settings: func(baseURL string, v connectortest.Vendor) map[string]any {
			return v.(*vendor).Settings(baseURL)
		},
		Faults:       first.Faults(),
		KeyedByEmail: first.ByAddress(),
		SignIn:       first.SignIn,
		Successes:    first.Successes(),
		CreatesOnly:  first.CreatesOnly(),
		NoExample:    true,
	}
	if first.ListsFields() {
		h.NoSuchField = "leadrelay_no_such_field"
	}
	h.Unready = map[string]func(connectortest.Vendor){}
	for n := 0; ; n++ {
		says := first.Lacks(n)
		if says == "" {
			break
		}
		h.Unready[says] = func(v connectortest.Vendor) { v.(*vendor).Lacks(n) }
	}
	for status, fault := range o.Faults {
		h.Faults[status] = fault
	}
	if domain := first.BadDomain(); domain != "" {
		h.BadLead = func(l lead.Lead) lead.Lead {
			l.Email = "zenobia.quillfeather@" + domain
			return l
		}
	}
	settings := reflect.TypeOf(kind.Settings)
	for i := range settings.NumField() {
		field := settings.Field(i)
		name := field.Tag.Get("mapstructure")
		if field.Tag.Get("required") == "true" {
			h.Required = append(h.Required, name)
		}
		if secret, ok := given[name].(string); ok && field.Type == reflect.TypeFor[connectors.Secret]() {
			h.Secrets = append(h.Secrets, secret)
		}
	}
	return h, nil
}

// Run holds a recipe to the contract, one subtest per promise.
func Run(t *testing.T, r *rest.Recipe, o Options) {
	t.Helper()
	h, err := Harness(r, o)
	if err != nil {
		t.Fatal(err)
	}
	connectortest.Run(t, h)
}

// Examine is Run outside of a test: promise by promise, what speaks against it, if anything does.
func Examine(r *rest.Recipe, o Options) (iter.Seq2[string, []string], error) {
	h, err := Harness(r, o)
	if err != nil {
		return nil, err
	}
	return connectortest.Examine(h)
}

// vendor is a stand-in as the kit knows it.
type vendor struct {
	*rest.StandIn
	t     testing.TB
	check func(*http.Request) error
}

func (v *vendor) Records() (all []connectortest.Record) {
	for _, r := range v.StandIn.Records() {
		all = append(all, connectortest.Record{Key: r.Ref, Fields: r.Fields})
	}
	return all
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v.check != nil && !v.SignIn(r) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err := v.check(r); err != nil {
			v.t.Errorf("not by the vendor's description: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	v.StandIn.ServeHTTP(w, r)
}
