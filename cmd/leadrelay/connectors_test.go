package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/internal/config"
)

const acme = `
name: acme_crm
title: Acme CRM contacts
docs: https://developers.acme.example/contacts
settings:
  - {name: api_key, secret: true, required: true, help: "Settings, API"}
  - {name: pipelines, type: list, required: true, help: where leads go}
  - {name: mode, one_of: [fast, safe], help: how it is done}
base_url: https://api.acme.example
auth: {bearer: "{{ settings.api_key }}"}
fields: [{to: first, from: first_name}, {to: hello, template: "Hi {{.name}}"}, {to: origin, value: leadrelay}]
limits: {concurrency: 5, rates: [{calls: 90, per: 10s}, {cost: 10000, per: 24h}]}
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id", example: {people: [{id: "{{ ref }}"}]}}
  create: {request: POST /people, body: {ext: "{{ lead.id }}", email: "{{ lead.email }}", name: "{{ lead.name }}", "...": "{{ fields }}"}, success: answer.id != nil, ref: answer.id, example: {id: "{{ ref }}"}}
  update: {request: "PATCH /people/{{ ref }}", body: {ext: "{{ lead.id }}", email: "{{ lead.email }}", name: "{{ lead.name }}", "...": "{{ fields }}"}, success: status == 204}
  delete: {request: "DELETE /people/{{ ref }}", success: status == 204}
errors:
  - {status: 404, verbs: [update, delete], gone: true}
`

// recipeFile writes a recipe to a file.
func recipeFile(t *testing.T, recipe string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "acme.yaml")
	if err := os.WriteFile(path, []byte(recipe), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConnectorsListsEveryKind(t *testing.T) {
	code, out, errs := outcome("connectors")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	for _, kind := range all.Whole() {
		line := regexp.MustCompile(`(?m)^` + kind.Name + `  +` + regexp.QuoteMeta(kind.Title) + `  +\S+ +\S+ +` + regexp.QuoteMeta(kind.Docs) + `$`)
		if kind.Title == "" || !strings.HasPrefix(kind.Docs, "https://") || !line.MatchString(out) {
			t.Errorf("%s: %q, %q", kind.Name, kind.Title, kind.Docs)
		}
	}
	for _, want := range []string{`(?m)^webhook +.* events +- `, `(?m)^hubspot +.* records +100 `} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	code, out, errs = outcome("connectors", "--json")
	var listed []description
	if err := json.Unmarshal([]byte(out), &listed); code != 0 || err != nil || len(listed) != len(all.Whole()) {
		t.Errorf("%d %s %v", code, errs, err)
	}
}

func TestEverySettingIsExplained(t *testing.T) {
	for _, kind := range all.Whole() {
		for _, s := range describe(kind).Settings {
			if s.Help == "" {
				t.Errorf("%s: %s has no help", kind.Name, s.Name)
			}
		}
	}
}

func TestConnectorsSchemaIsOfRecipes(t *testing.T) {
	code, out, errs := outcome("connectors", "schema")
	if code != 0 || out != string(rest.Schema) || !json.Valid([]byte(out)) {
		t.Errorf("%d %s %.100s", code, errs, out)
	}
}

func TestDescribeSaysWhatAKindIsSetUpWith(t *testing.T) {
	path := recipeFile(t, acme)
	code, out, errs := outcome("connectors", "describe", path)
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	for _, want := range []string{
		"acme_crm: Acme CRM contacts\nhttps://developers.acme.example/contacts\n",
		"Keeps one record of each lead, in step with it.",
		"Is called within the vendor's limits, over all workers: 90 calls in 10s, 10000 units of cost in 24h, 5 at once.",
		"api_key    required, secret, or api_key_file  Settings, API",
		"mode       fast | safe ",
		"timeout    duration, default 30s ",
		"first   first_name", "hello   Hi {{.name}}", "origin  leadrelay",
		"connectors:\n  - name: acme-crm\n    type: rest\n    settings:\n      recipe: " + path + "\n",
		"      api_key: ${ACME_CRM_API_KEY}  # or api_key_file: a file that holds it\n",
		"      pipelines: [\"${ACME_CRM_PIPELINES}\"]\n", "      #mode: fast\n", "      #timeout: 30s\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	code, out, errs = outcome("connectors", "describe", "--json", path)
	var d description
	if err := json.Unmarshal([]byte(out), &d); code != 0 || err != nil {
		t.Fatalf("%d %s %v", code, errs, err)
	}
	key := describedSetting{Name: "api_key", Type: "text", Secret: true, Required: true, Help: "Settings, API"}
	if d.Name != "acme_crm" || d.MaxBatch != 1 || fmt.Sprint(d.Settings[0]) != fmt.Sprint(key) || len(d.Fields) != 3 || d.Limits.Rates[1] != (describedRate{10000, "24h", true}) {
		t.Errorf("got %+v", d)
	}
}

// What describe prints for config.yaml is a configuration: with values for what it takes from the environment, it loads.
func TestWhatDescribePrintsLoads(t *testing.T) {
	dir := t.TempDir()
	values := map[string]string{
		"GOOGLESHEETS_CREDENTIALS": serviceAccount(t), "POSTGRES_URL": "postgres://u:p@db.example/leads?sslmode=require",
		"WEBHOOK_URL": "https://hooks.example/leads", "MAILCHIMP_API_KEY": "0123456789abcdef-us21", "SMTP_FROM": "leads@example.com", "SMTP_TO": "sales@example.com",
		"CSV_PATH": filepath.Join(dir, "leads.csv"), "XLSX_PATH": filepath.Join(dir, "leads.xlsx"),
		"REST_RECIPE": recipeFile(t, strings.Replace(acme, "required: true, ", "", -1)),
	}
	choices := map[string]string{"salesforce": "client_secret"} // or a private key
	names := []string{recipeFile(t, acme)}
	for _, kind := range all.Whole() {
		names = append(names, kind.Name)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			code, out, errs := outcome("connectors", "describe", name)
			if code != 0 {
				t.Fatalf("%d %s", code, errs)
			}
			if choice := choices[name]; choice != "" {
				out = strings.Replace(out, "      #"+choice+`: ""`, "      "+choice+`: "4711"`, 1)
			}
			_, snippet, found := strings.Cut(out, "\nFor config.yaml\n\n")
			if !found {
				t.Fatalf("there is none in\n%s", out)
			}
			for _, match := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(snippet, -1) {
				value, ok := values[match[1]]
				switch setting := strings.ToLower(match[1]); {
				case ok:
				case strings.HasSuffix(setting, "_url"), strings.HasSuffix(setting, "_host") && strings.HasPrefix(setting, "http"):
					value = "https://crm.example"
				case strings.HasSuffix(setting, "_host"):
					value = "crm.example"
				default:
					value = "4711"
				}
				t.Setenv(match[1], value)
			}
			for how, text := range map[string]string{
				"as it is":    snippet,
				"uncommented": regexp.MustCompile(`(?m)^      #`).ReplaceAllString(snippet, "      "), // may lack a choice
			} {
				path := filepath.Join(t.TempDir(), "config.yaml")
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := config.Load(path, all.Kinds(), config.SkipFrontEnd())
				if how == "as it is" && err != nil {
					t.Errorf("%s: %v\n%s", how, err, text)
				}
				if err != nil && regexp.MustCompile("unknown setting|yaml|must be text").MatchString(err.Error()) {
					t.Errorf("%s: %v\n%s", how, err, text)
				}
				if err == nil {
					c.Close()
				}
			}
		})
	}
}

func TestDescribeKnowsWhatItIsNot(t *testing.T) {
	for arg, want := range map[string]string{
		"hubspit":                           "there is no kind and no recipe hubspit; did you mean hubspot?",
		"a-crm-of-another-sort":             "the kinds are ",
		"no/such.yaml":                      "recipe: open no/such.yaml: no such file",
		recipeFile(t, "name: acme\nx: 1\n"): "acme.yaml:2: x: unknown; see leadrelay connectors schema",
	} {
		code, out, errs := outcome("connectors", "describe", arg)
		if code != 1 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: got %d %q %q, want %q", arg, code, out, errs, want)
		}
	}
}

func TestConformanceOfARecipe(t *testing.T) {
	code, out, errs := outcome("connectors", "conformance", recipeFile(t, acme))
	if code != 0 || errs != "" || !regexp.MustCompile(`acme.yaml keeps all \d\d promises\n$`).MatchString(out) || strings.Contains(out, "BROKEN") {
		t.Fatalf("%d %s\n%s", code, errs, out)
	}
	if !strings.Contains(out, "ok      the same create with its ref forgotten leaves one record\n") {
		t.Errorf("it does not say what is kept: %s", out)
	}
	for name, c := range map[string]struct{ old, new, out, err string }{
		"what is gone": {"  - {status: 404, verbs: [update, delete], gone: true}\n", "  - {status: 418, fault: lead}\n",
			"BROKEN  a delete twice succeeds\n        Push of delete: acme_crm: delete: 404 Not Found\n", "promises"},
		"an example":    {"ref: answer.id", "ref: answer.ident", "", "acme.yaml:16: create: example: is no success: the answer names no record"},
		"no recipe":     {"verbs:", "verb:", "", "acme.yaml:13: verb: unknown; see leadrelay connectors schema"},
		"nothing of it": {acme, "", "", "acme.yaml: the recipe is empty"},
	} {
		code, out, errs := outcome("connectors", "conformance", recipeFile(t, strings.Replace(acme, c.old, c.new, 1)))
		if code != 1 || !strings.Contains(out, c.out) || !strings.Contains(errs, c.err) {
			t.Errorf("%s: got %d %q\n%s", name, code, errs, out)
		}
	}
}

// As people run it: from anywhere, without the source.
func TestConformanceFromABuiltBinary(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "leadrelay")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin, "connectors", "conformance", "acme.yaml")
	cmd.Dir = filepath.Dir(recipeFile(t, acme))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "acme.yaml keeps all") {
		t.Errorf("%v\n%s", err, out)
	}
}

// serviceAccount is a key as Google gives it.
func serviceAccount(t *testing.T) string {
	t.Helper()
	recipe, err := rest.Parse("x", []byte(strings.NewReplacer(
		`auth: {bearer: "{{ settings.api_key }}"}`, `auth: {oauth2: {grant: jwt_bearer, token_url: "{{ settings.base_url }}/token", client_id: x, audience: x, private_key: "{{ settings.api_key }}"}}`,
	).Replace(acme)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := recipe.StandIn(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(map[string]any{
		"type": "service_account", "client_email": "relay@example.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": s.Settings("")["api_key"], "token_uri": "https://oauth2.googleapis.com/token",
	})
	return string(text)
}
