package sources_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/sources"
)

// mapped is what Map makes of a payload, as the API would be sent it.
func mapped(t testing.TB, source *sources.Source, payload string) map[string]any {
	t.Helper()
	patch, err := source.Map([]byte(payload))
	if err != nil {
		t.Fatalf("%v\nof %s", err, payload)
	}
	return membersOf(patch)
}

func membersOf(patch lead.Patch) map[string]any {
	m := map[string]any{}
	for name, value := range patch.Custom {
		m[name] = value
	}
	for name, text := range map[string]*string{"name": patch.Name, "email": patch.Email, "source": patch.Source, "note": patch.Note} {
		if text != nil {
			m[name] = *text
		}
	}
	return m
}

func TestADocumentedDeliveryBecomesALead(t *testing.T) {
	for _, s := range services {
		if s.lead == "" {
			continue // it is fetched
		}
		t.Run(s.kind, func(t *testing.T) {
			source := open(t, s.kind, s.settings, sources.Options{})
			d, err := source.Receive("POST", s.sign([]byte(s.body), at), nil, []byte(s.body))
			if err != nil || len(d.Items) != 1 {
				t.Fatal(d, err)
			}
			if got, want := mapped(t, source, string(d.Items[0].Payload)), members(t, []byte(s.lead)); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestFormPluginsPostInManyShapes(t *testing.T) {
	for name, c := range map[string]struct{ body, lead string }{
		"fields by name": {`{"form_id":42,"entry_id":1337,"fields":{"full_name":"Jane Smith","E-Mail":"jane@example.com","message":"Hi"}}`,
			`{"name":"Jane Smith","email":"jane@example.com","note":"Hi","form_id":42,"entry_id":1337}`},
		"described fields": {`{"form_title":"Contact","fields":{"field_1":{"label":"Your name","value":"Jane Smith"},"field_2":{"label":"Mail","value":"jane@example.com"},"field_3":{"label":"Budget","value":"5000"}}}`,
			`{"name":"Jane Smith","email":"jane@example.com","Budget":"5000","form_title":"Contact"}`},
		"typed fields": {`{"fields":{"0":{"name":"Who","value":"Jane Smith","id":0,"type":"name"},"1":{"name":"Reach you at","value":"jane@example.com","id":1,"type":"email"},"2":{"name":"Number","value":"555","type":"phone"}}}`,
			`{"Who":"Jane Smith","email":"jane@example.com","phone":"555"}`},
		"a list of fields": {`{"fields":[{"key":"q1","label":"Name","value":{"first":"Jane","last":"Smith"}},{"key":"q2","label":"Email","value":"jane@example.com"},{"key":"q3","label":"Topic","value":["a","b"]}]}`,
			`{"name":"Jane Smith","email":"jane@example.com","Topic":["a","b"]}`},
		"a name in parts": {`{"name":{"first":"Jane","middle":"","last":"Smith"},"email":"jane@example.com"}`,
			`{"name":"Jane Smith","email":"jane@example.com"}`},
		"data": {`{"data":{"name":"Jane","email":"jane@example.com"},"id":"9"}`,
			`{"name":"Jane","email":"jane@example.com","id":"9"}`},
		"a name and its parts": {`{"name":"Dr Jane Smith","first_name":"Jane","last_name":"Smith","email":"jane@example.com"}`,
			`{"name":"Dr Jane Smith","first_name":"Jane","last_name":"Smith","email":"jane@example.com"}`},
		"a family name alone": {`{"surname":"Smith","email":"jane@example.com"}`,
			`{"name":"Smith","email":"jane@example.com"}`},
		"two of each": {`{"email":"jane@example.com","your-email":"other@example.com","phone":"1","tel":"2","message":"m","comment":"c"}`,
			`{"email":"jane@example.com","your-email":"other@example.com","phone":"1","tel":"2","note":"m","comment":"c"}`},
		"what is the server's or the lead's": {`{"email":"jane@example.com","lead_id":"x","created_at":"y","source":"z","note":true,"phone":["9"],"Phone":"8"}`,
			`{"email":"jane@example.com","form_lead_id":"x","form_created_at":"y","form_source":"z","form_note":true,"phone":"8","phone (2)":["9"]}`},
		"UTM": {`{"email":"jane@example.com","utm_source":"google","utm_campaign":"spring","gclid":"1","referrer":"https://example.com/","landing_page":""}`,
			`{"email":"jane@example.com","utm_source":"google","utm_campaign":"spring","gclid":"1","referrer":"https://example.com/"}`},
	} {
		t.Run(name, func(t *testing.T) {
			want := members(t, []byte(c.lead))
			want["source"] = "here"
			if got := mapped(t, open(t, "jsonform", map[string]any{"secret": secret}, sources.Options{}), c.body); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestQuestionsOfOneNameAndOfAnyLength(t *testing.T) {
	long := strings.Repeat("Why? ", 40)
	payload := fmt.Sprintf(`{"fields":[{"label":"Email","value":"a@example.com"},{"label":"Q","value":1},{"label":"Q","value":2},{"label":"Q","value":3},{"label":"Q (2)","value":4},
		{"label":%q,"value":"x"},{"label":%q,"value":"y"},{"label":"a\n\tb\u0007","value":"z"},{"value":"nameless"}]}`, long, long+"!")
	got := mapped(t, open(t, "jsonform", map[string]any{"secret": secret}, sources.Options{}), payload)
	cut := string([]rune(long)[:99]) + "…"
	for name, value := range map[string]any{"Q": json.Number("1"), "Q (2)": json.Number("2"), "Q (3)": json.Number("3"), "Q (2) (2)": json.Number("4"), cut: "x", string([]rune(long)[:95]) + "… (2)": "y", "a b": "z", "field": "nameless"} {
		if got[name] != value {
			t.Errorf("%q is %v, want %v", name, got[name], value)
		}
	}
}

func TestTheOperatorsRulesGoOverThePresets(t *testing.T) {
	payload := `{"email":"a@example.com","name":"Ann","work_email":"b@example.com","budget":1.50,"company":"Acme","tags":["x","y"],"source":"ad"}`
	for name, c := range map[string]struct {
		rules  []sources.Rule
		source string
		lead   string
	}{
		"another address": {rules: []sources.Rule{{To: "email", From: "work_email"}},
			lead: `{"email":"b@example.com","name":"Ann","work_email":"b@example.com","budget":1.50,"company":"Acme","tags":["x","y"],"source":"here","form_source":"ad"}`},
		"the source": {source: "web", rules: []sources.Rule{{To: "*", Value: ""}},
			lead: `{"email":"a@example.com","name":"Ann","source":"web"}`},
		"the source by the delivery": {source: "web", rules: []sources.Rule{{To: "*", Value: ""}, {To: "source", From: "body.source"}},
			lead: `{"email":"a@example.com","name":"Ann","source":"ad"}`},
		"the source by a delivery that has none": {source: "web", rules: []sources.Rule{{To: "*", Value: ""}, {To: "source", From: "body.nothing"}},
			lead: `{"email":"a@example.com","name":"Ann","source":"web"}`},
		"constants": {rules: []sources.Rule{{To: "*", Value: ""}, {To: "campaign", Value: "spring"}, {To: "score", Value: 7}, {To: "hot", Value: true}, {To: "list", Value: []any{"a", 1}}, {To: "note", Value: "by form"}},
			lead: `{"email":"a@example.com","name":"Ann","source":"here","campaign":"spring","score":7,"hot":true,"list":["a",1],"note":"by form"}`},
		"left out": {rules: []sources.Rule{{To: "company", Value: ""}, {To: "tags", From: "nil"}, {To: "work_email", From: `""`}, {To: "name", Value: ""}},
			lead: `{"email":"a@example.com","budget":1.50,"source":"here","form_source":"ad"}`},
		"calculated": {rules: []sources.Rule{{To: "*", Value: ""}, {To: "double", From: "budget * 2"}, {To: "upper", From: "upper(company)"}, {To: "note", From: "tags"},
			{To: "first", From: "tags[0]"}, {To: "big", From: "budget > 1"}, {To: "raw", From: "fields.budget ?? 0"}, {To: "none", From: "body.a.b.c?.d[3].e"}},
			lead: `{"email":"a@example.com","name":"Ann","source":"here","double":3,"upper":"ACME","note":"x, y","first":"x","big":true,"raw":1.50}`},
		"everything of another": {rules: []sources.Rule{{To: "*", From: `{"only": company}`}},
			lead: `{"email":"a@example.com","name":"Ann","source":"here","only":"Acme"}`},
	} {
		t.Run(name, func(t *testing.T) {
			source := open(t, "jsonform", map[string]any{"secret": secret}, sources.Options{Fields: c.rules, Source: c.source})
			if got, want := mapped(t, source, payload), members(t, []byte(c.lead)); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestTypeformAnswersCanBeJoinedWithTheirQuestions(t *testing.T) {
	s := serviceOf(t, "typeform")
	source := open(t, "typeform", s.settings, sources.Options{Fields: []sources.Rule{
		{To: "theme", From: `find(form_response.answers, .field?.id == "k6TP9oLGgHjl")?.choice.label`},
		{To: "titles", From: `map(form_response.answers, let id = .field.id; find(form_response.definition.fields, .id == id)?.title) | filter(# != nil) | len()`},
		{To: "by_title", From: `fields["Which theme?"]`},
		{To: "by_ref", From: `fields["01GRC8GR2017M6WW347T86VV39"]`},
	}})
	got := mapped(t, source, s.body)
	if got["theme"] != "Dark" || got["by_title"] != "Dark" || got["by_ref"] != "2005-10-15" || got["titles"] != json.Number("8") {
		t.Errorf("got %v", got)
	}
}

func TestWhatCannotBeMappedSaysWhyWithoutPersonalData(t *testing.T) {
	private := []string{"ann", "Lovelace", "@", "555", "secret note"}
	for name, c := range map[string]struct {
		payload string
		rules   []sources.Rule
		when    string
		want    string
		invalid bool
	}{
		"no address":            {payload: `{"name":"Lovelace"}`, want: "email: is required", invalid: true},
		"a bad address":         {payload: `{"email":"ann@@example"}`, want: "email: is not a valid e-mail address", invalid: true},
		"a long name":           {payload: `{"email":"ann@example.com","name":"` + strings.Repeat("Lovelace", 100) + `"}`, want: "name: is longer than 200 characters", invalid: true},
		"a long answer":         {payload: `{"email":"ann@example.com","essay":"` + strings.Repeat("Lovelace", 2000) + `"}`, want: "essay: is longer than 10000 characters", invalid: true},
		"a long list":           {payload: `{"email":"ann@example.com","list":[` + strings.Repeat("5,", 300_000) + `5]}`, want: "list: is longer than 10000 characters", invalid: true},
		"an object":             {payload: `{"email":"ann@example.com"}`, rules: []sources.Rule{{To: "name", From: "body"}}, want: "name: must be a string", invalid: true},
		"too many answers":      {payload: `{"email":"ann@example.com",` + many(200) + `}`, want: "custom fields: are more than 100", invalid: true},
		"a number out of range": {payload: `{"email":"ann@example.com","n":1e999}`, want: "n: holds a number that is too large", invalid: true},
		"text and number":       {payload: `{"email":"ann@example.com","phone":"555"}`, rules: []sources.Rule{{To: "x", From: "phone + 1"}}, want: "fields[0]: from: the expression does not fit this delivery"},
		"beyond a list":         {payload: `{"email":"ann@example.com","l":[]}`, rules: []sources.Rule{{To: "x", From: "l[0]"}}, want: "fields[0]: from: the expression does not fit this delivery"},
		"no mapping":            {payload: `{"email":"ann@example.com"}`, rules: []sources.Rule{{To: "*", From: "email"}}, want: `fields[0]: from: what goes to "*" must be a mapping`},
		"not a value":           {payload: `{"email":"ann@example.com"}`, rules: []sources.Rule{{To: "x", From: "groupBy([1, 2], # > 1)"}}, want: "fields: a value cannot be written as JSON"},
		"a condition":           {payload: `{"email":"ann@example.com","n":"secret note"}`, when: "n > 1", want: "when: the expression does not fit this delivery"},
		"no condition":          {payload: `{"email":"ann@example.com","n":"secret note"}`, when: "n", want: "when: the expression does not fit this delivery"},
		"left out":              {payload: `{"email":"ann@example.com","n":"secret note"}`, when: "n == 1", want: "when: leaves this delivery out"},
		"no JSON":               {payload: `{"email":"ann@example.com"`, want: sources.ErrMalformed.Error()},
		"no object":             {payload: `["ann@example.com"]`, want: sources.ErrMalformed.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			source := open(t, "jsonform", map[string]any{"secret": secret}, sources.Options{Fields: c.rules, When: c.when})
			_, err := source.Map([]byte(c.payload))
			if err == nil || err.Error() != c.want {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
			if invalid := errors.As(err, new(lead.Invalid)); invalid != c.invalid {
				t.Errorf("lead.Invalid: %v", invalid)
			}
			for _, text := range private {
				if strings.Contains(err.Error(), text) && !strings.Contains(c.want, text) {
					t.Errorf("%q holds %q", err, text)
				}
			}
		})
	}
}

func many(n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"f%d":%d`, i, i))
	}
	return strings.Join(fields, ",")
}

// A delivery of the largest size must not be made into something without bound by an innocent expression.
func TestExpressionsAreBounded(t *testing.T) {
	text := strings.Repeat("a", 400_000)
	payload := `{"email":"ann@example.com","long":"` + text + `","other":"` + text + `","list":[` + strings.Repeat("1,", 100_000) + `1]}`
	for _, from := range []string{
		`map(list, long)`, `map(list, long + other)`, `replace(long, "a", other)`, `join(split(long, ""), other)`, `map(list, body)`, `map(list, list)`,
	} {
		source := open(t, "generic", map[string]any{"secret": secret, "header": "X-Sig"}, sources.Options{Fields: []sources.Rule{{To: "email", From: "email"}, {To: "x", From: from}}})
		if _, err := source.Map([]byte(payload)); err == nil || !strings.Contains(err.Error(), "too long") && !strings.Contains(err.Error(), "is longer than") {
			t.Errorf("%s: got %v", from, err)
		}
	}
}

func TestSettingsAndExpressionsAreChecked(t *testing.T) {
	type want = []string
	for name, c := range map[string]struct {
		kind     string
		settings map[string]any
		options  sources.Options
		want     want
	}{
		"unknown setting":       {"tally", map[string]any{"secret": "x", "secrt": "y"}, sources.Options{}, want{"secrt: unknown setting, did you mean secret?"}},
		"a number for a secret": {"tally", map[string]any{"secret": 5}, sources.Options{}, want{"secret: must be text: put it in quotes"}},
		"everything at once": {"calendly", map[string]any{"tolerance": "0s", "events": []any{}},
			sources.Options{When: "(", Fields: []sources.Rule{{}, {To: "x", From: "a +"}, {To: "x", From: "a"}, {To: "y", From: "a", Value: 1}}},
			want{
				"secret: required, or secret_file: without it anyone could send leads",
				`tolerance: must be above 0 and at most 24h, such as "5m"`,
				`events: must have at least one, such as "invitee.created"`,
				"fields[0]: to: required",
				"fields[0]: give one of from and value",
				"fields[1]: from: column 3: unexpected token EOF",
				"fields[2]: to: fields[1] fills it already",
				"fields[3]: give one of from and value",
				"when: column 1: unexpected token EOF",
			}},
		"rules": {"jsonform", map[string]any{"secret": "x"}, sources.Options{When: "frobnicate(1)", Fields: []sources.Rule{
			{To: "lead_id", From: "a"}, {To: strings.Repeat("x", 101), From: "a"}, {To: "email", Value: "nobody"}, {To: "n", Value: strings.Repeat("x", 10_001)},
			{To: "a", From: "\nfoo(1)"}, {To: "b", From: "reduce(list, #acc + #)"}, {To: "c", From: `repeat("a", n)`}, {To: "d", From: "any(l, any(l, any(l, true)))"},
			{To: "e", From: "x.y()"}, {To: "*", Value: "x"}, {To: "f", From: "a\n+"}, {To: "g", Value: map[string]any{"f": func() {}}},
		}}, want{
			"fields[0]: to: is set by the server",
			"fields[1]: to: the name is longer than 100 characters",
			"fields[2]: value: is not a valid e-mail address",
			"fields[3]: value: is longer than 10000 characters",
			"fields[4]: from: line 2, column 1: unknown function foo",
			"fields[5]: from: column 1: unknown function reduce",
			"fields[6]: from: column 1: unknown function repeat",
			"fields[7]: from: column 8: at most 2 functions like any and filter may be nested",
			"fields[8]: from: column 3: unknown function call",
			`fields[9]: value: of "*" must be "", for no fields`,
			"fields[10]: from: line 2, column 1: unexpected token EOF",
			"fields[11]: value: must be text, a number, true, false, a list or a mapping",
			"when: column 1: unknown function frobnicate",
		}},
		"a condition that is none": {"jsonform", map[string]any{"secret": "x"}, sources.Options{When: `"yes"`}, want{"when: expected bool, but got string"}},
		"meta knows what it delivers": {"meta", map[string]any{"app_secret": "x", "verify_token": "y", "access_token": "z"}, sources.Options{When: `platform == "ig"`},
			want{"when: a delivery has no platform here (known: body, leadgen_id, form_id, page_id, ad_id, adgroup_id, created_time)"}},
		"meta": {"meta", map[string]any{"graph_version": "latest", "base_url": "graph.facebook.com", "lead_fields": []any{"id,x"}, "timeout": "0s"}, sources.Options{}, want{
			"app_secret: required, or app_secret_file: without it anyone could send leads",
			"verify_token: required, or verify_token_file: any text, the same as in the app's webhook settings",
			"access_token: required, or access_token_file: it reads the leads",
			`graph_version: must be as in "v25.0"`,
			"base_url: must be an address such as https://graph.facebook.com",
			"lead_fields: must have field_data, the answers",
			"lead_fields: must be names such as field_data and campaign_name",
			`timeout: must be above 0, such as "30s"`,
		}},
		"standard webhooks": {"standardwebhooks", map[string]any{"secret": "whsec_***", "previous_secret": "c2hvcnQ="}, sources.Options{}, want{
			`secret: must be "whsec_" and base64, as the sender shows it`,
			"previous_secret: the key is too short to be a secret; is it whole?",
		}},
		"a previous secret alone": {"typeform", map[string]any{"previous_secret": "x"}, sources.Options{}, want{"secret: required, or secret_file: without it anyone could send leads"}},
		"generic": {"generic", map[string]any{"verify": "none", "algorithm": "md5", "encoding": "rot13", "signed": "x", "tolerance": "48h", "id": "(", "id_header": "X-Id"}, sources.Options{}, want{
			"secret: required, or secret_file: without it anyone could send leads",
			"verify: must be one of hmac, header, basic",
			"header: required: where the signature or the secret is",
			"algorithm: must be one of sha1, sha256, sha512",
			"encoding: must be one of base64, hex",
			`tolerance: must be above 0 and at most 24h, such as "5m"`,
			"signed: must have {body} in it",
			"id: give it or id_header, not both",
			"id: column 1: unexpected token EOF",
		}},
		"a time that proves nothing": {"generic", map[string]any{"secret": "x", "header": "X-Sig", "timestamp_header": "X-Time"}, sources.Options{},
			want{`signed: must have {timestamp}, such as "{timestamp}.{body}": without it the time proves nothing`}},
		"a time from nowhere": {"generic", map[string]any{"secret": "x", "header": "X-Sig", "signed": "{timestamp}{body}"}, sources.Options{},
			want{"timestamp_header: required: signed has {timestamp}"}},
		"an id that can be changed": {"generic", map[string]any{"secret": "x", "header": "X-Sig", "id_header": "X-Id"}, sources.Options{},
			want{"id_header: is not signed, and whoever repeats a delivery could change it; use id, an expression over the body"}},
		"a header with its value": {"generic", map[string]any{"secret": "x", "header": "X-Sig: x"}, sources.Options{},
			want{"header: must be the name of a header, such as X-Signature"}},
		"basic": {"generic", map[string]any{"secret": "x", "verify": "basic"}, sources.Options{}, want{"username: required"}},
		"no mapping": {"generic", map[string]any{"secret": "x", "header": "X-Sig"}, sources.Options{Fields: []sources.Rule{{To: "name", From: "x"}}},
			want{"fields: must say where the address is, such as {to: email, from: body.email}"}},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := tryOpen(t, c.kind, c.settings, c.options)
			if source != nil || err == nil {
				t.Fatal("it was opened")
			}
			if got := strings.Split(err.Error(), "\n"); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestNoKindOpensWithoutASecret(t *testing.T) {
	for _, kind := range sources.Kinds() {
		for _, settings := range []map[string]any{nil, {}, {"secret": ""}, {"secret": nil, "app_secret": "", "verify_token": ""}} {
			source, err := kind.Open(settings, sources.Options{Name: "x", Fields: []sources.Rule{{To: "email", From: "email"}}})
			if err == nil || source != nil || !strings.Contains(err.Error(), "secret: required") {
				t.Errorf("%s with %v: %v", kind.Name, settings, err)
			}
		}
		if kind.Title == "" || kind.Settings == nil || kind.Name != "generic" && (kind.Docs == "" || len(kind.Fields) == 0) {
			t.Errorf("%s is not described", kind.Name)
		}
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	for _, s := range services {
		settings := map[string]any{}
		for key, value := range s.settings {
			settings[key] = value
		}
		source := open(t, s.kind, settings, sources.Options{})
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			text := fmt.Sprintf(format, source)
			for _, hidden := range []string{secret, metaSecret, verifyToken, accessToken, whsec} {
				if strings.Contains(text, hidden) {
					t.Errorf("%s prints %s", s.kind, text)
				}
			}
		}
	}
	for _, kind := range sources.Kinds() {
		filled := reflect.New(reflect.TypeOf(kind.Settings))
		fill(filled.Elem())
		for _, format := range []string{"%v", "%+v", "%#v"} {
			if text := fmt.Sprintf(format, filled.Interface()) + fmt.Sprintf(format, filled.Elem().Interface()); strings.Contains(text, "hunter2") {
				t.Errorf("the settings of %s print a secret: %s", kind.Name, text)
			}
		}
		if text, _ := json.Marshal(filled.Interface()); strings.Contains(string(text), "hunter2") {
			t.Errorf("the settings of %s hold a secret as JSON: %s", kind.Name, text)
		}
	}
}

// fill sets every Secret.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch field := v.Field(i); {
		case field.Type() == reflect.TypeFor[connectors.Secret]():
			field.SetString("hunter2")
		case field.Kind() == reflect.Struct:
			fill(field)
		}
	}
}
