package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/internal/config"
)

const recipe = `
name: acme
title: Acme
docs: https://acme.example
settings:
  - {name: api_key, secret: true, required: true, help: Settings}
  - {name: pipeline, type: integer, default: 1, help: where leads go}
base_url: https://api.acme.example
auth: {bearer: "{{ settings.api_key }}"}
fields: [{to: first, from: first_name}]
limits: {concurrency: 5}
verbs:
  check: {request: GET /me, success: answer.id != nil}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id"}
  create: {request: POST /people, body: {ext: "{{ lead.id }}", pipeline: "{{ settings.pipeline }}", "...": "{{ fields }}"}, ref: answer.id}
  update: {request: "PATCH /people/{{ ref }}", body: "{{ fields }}"}
  delete: {request: "DELETE /people/{{ ref }}"}
`

const chat = `
name: chat
title: Chat
docs: https://chat.example
event: true
base_url: https://chat.example
verbs:
  check: {request: GET /me}
  create: {request: POST /messages, body: {text: "{{ lead.name }}"}}
`

// loadRecipe loads a configuration with one connector whose type is rest.
func loadRecipe(t *testing.T, settings string, options ...config.Option) (*config.Config, error) {
	t.Helper()
	text := "connectors:\n  - name: crm\n    type: rest\n    settings:\n      " + strings.ReplaceAll(settings, "\n", "\n      ") + "\n"
	c, err := config.Load(write(t, text), []connectors.Kind{rest.Kind}, append(options, config.SkipFrontEnd())...)
	if c != nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func recipeAt(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "acme.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func indented(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") }

func TestAConnectorMayBeARecipe(t *testing.T) {
	path := recipeAt(t, recipe)
	environ(t, "RECIPE="+path, "KEY=k3y-of-acme")
	for name, settings := range map[string]string{
		"by its path":          "recipe: " + path + "\napi_key: k3y",
		"by a variable":        "recipe: ${RECIPE}\napi_key: ${KEY}\npipeline: ${NUMBER}",
		"by its text":          "recipe: |\n  " + indented(recipe) + "\napi_key: k3y\nbase_url: https://eu.acme.example\ntimeout: 10s",
		"with a secret's file": "recipe: " + path + "\napi_key_file: " + recipeAt(t, "k3y"),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := loadRecipe(t, settings)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Connectors[0]
			if got.Name != "crm" || got.Type != "acme" || got.Event || got.Connector == nil || got.Limits.Concurrency != 5 {
				t.Errorf("got %+v", got)
			}
			if _, finds := got.Connector.(connectors.Finder); !finds {
				t.Error("it cannot find")
			}
		})
	}
}

func TestARecipeSaysWhetherItIsToldOfEvents(t *testing.T) {
	environ(t)
	for _, options := range [][]config.Option{nil, {config.SkipConnectors()}} {
		c, err := loadRecipe(t, "recipe: "+recipeAt(t, chat), options...)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Connectors[0]; !got.Event || got.Type != "chat" || (got.Connector == nil) != (options != nil) {
			t.Errorf("got %+v", got)
		}
	}
	// Who does not open connectors needs none of their secrets.
	c, err := loadRecipe(t, "recipe: "+recipeAt(t, recipe)+"\napi_key: ${NO_SUCH_VARIABLE}", config.SkipConnectors())
	if err != nil || c.Connectors[0].Event {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestP8AWrongRecipeSaysWhatIsWrongAndWhere(t *testing.T) {
	environ(t)
	path := recipeAt(t, recipe)
	broken := recipeAt(t, strings.NewReplacer("request: GET /me", "request: FETCH /me", "answer.id}", "answerr.id}").Replace(recipe))
	for name, c := range map[string]struct {
		settings string
		want     []string
	}{
		"no recipe":        {"api_key: hush", []string{"settings.recipe: required: the path of a recipe, or its text after recipe: |"}},
		"of another type":  {"recipe: [a, b]", []string{"settings.recipe: must be a path, or text after recipe: |"}},
		"no such file":     {"recipe: no/such.yaml", []string{"settings.recipe: open no/such.yaml: no such file or directory"}},
		"no such variable": {"recipe: ${NO_SUCH_VARIABLE}", []string{"settings.recipe: the environment variable NO_SUCH_VARIABLE is not set"}},
		"a broken file": {"recipe: " + broken + "\napi_key: hush", []string{
			"settings.recipe: " + broken + ":13: verbs.check.request: 'FETCH /me' does not match pattern '^(GET|POST|PUT|PATCH|DELETE)( /.*)?$'"}},
		"a broken text": {"recipe: |\n  " + indented(strings.Replace(recipe, "answer.id}", "answerr.id}", 1)) + "\napi_key: hush", []string{
			"settings.recipe: line:14: answerr is not known here (known: "}},
		"a missing setting":  {"recipe: " + path, []string{"settings.api_key: required (Settings)"}},
		"an unknown setting": {"recipe: " + path + "\napi_key: hush\npipelin: 7", []string{"settings.pipelin: unknown setting, did you mean pipeline?"}},
		"a wrong setting":    {"recipe: " + path + "\napi_key: hush\npipeline: seven", []string{"settings.pipeline: must be a whole number"}},
		"several of them": {"recipe: " + path + "\npipeline: seven\ntimeout: 2h", []string{
			"settings.pipeline: must be a whole number", "settings.api_key: required (Settings)", "settings.timeout: must be from 1s to 90s"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadRecipe(t, c.settings)
			var invalid *config.Invalid
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v", err)
			}
			if len(invalid.Problems) != len(c.want) {
				t.Errorf("got %q", invalid.Problems)
			}
			for _, want := range c.want {
				found := false
				for _, problem := range invalid.Problems {
					found = found || strings.HasPrefix(problem, `connectors[0] "crm": `+want)
				}
				if !found {
					t.Errorf("%q is not among %q", want, invalid.Problems)
				}
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

// What is a setting of the recipe belongs below settings, and fields are the entry's own.
func TestARecipesEntryIsAsAnyOther(t *testing.T) {
	environ(t)
	text := `connectors:
  - name: crm
    type: rest
    pipeline: 7
    when: source ==
    fields: [{to: a, from: name}, {to: a, from: email}]
    retry: {initial: 5s}
    settings: {recipe: ` + recipeAt(t, recipe) + `, api_key: k3y}
`
	_, err := config.Load(write(t, text), []connectors.Kind{rest.Kind}, config.SkipFrontEnd())
	var invalid *config.Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != 3 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{"pipeline: belongs below settings", "when: column ", `fields[1]: to: "a" is mapped twice`} {
		if !strings.HasPrefix(invalid.Problems[i], `connectors[0] "crm": `+want) {
			t.Errorf("got %q, want %q", invalid.Problems[i], want)
		}
	}
	c, err := config.Load(write(t, strings.NewReplacer("    pipeline: 7\n", "", "source ==", `source == "shop"`, "{to: a, from: email}", "{to: b, from: email}").Replace(text)), []connectors.Kind{rest.Kind}, config.SkipFrontEnd())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Connectors[0]; got.Retry.Initial != 5*time.Second || got.Type != "acme" {
		t.Errorf("got %+v", got)
	}
}

func TestP8AConnectorIsNotKeptWhereItsRecipeIsAnother(t *testing.T) {
	environ(t)
	path := recipeAt(t, recipe)
	other := strings.Replace(recipe, "GET /me", "GET /whoami", 1)
	for name, settings := range map[string][2]string{
		"another text": {"recipe: |\n  " + indented(recipe) + "\napi_key: k3y", "recipe: |\n  " + indented(other) + "\napi_key: k3y"},
		"another file": {"recipe: " + path + "\napi_key: k3y", "recipe: " + path + "\napi_key: k3y"},
	} {
		former, err := loadRecipe(t, settings[0])
		if err != nil {
			t.Fatal(err)
		}
		same, err := loadRecipe(t, settings[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		next, err := loadRecipe(t, settings[1])
		if err != nil {
			t.Fatal(err)
		}
		same.Adopt(former)
		next.Adopt(former)
		if same.Connectors[0].Connector != former.Connectors[0].Connector || next.Connectors[0].Connector == former.Connectors[0].Connector {
			t.Errorf("%s: the same is kept: %v, the other is: %v", name, same.Connectors[0].Connector == former.Connectors[0].Connector, next.Connectors[0].Connector == former.Connectors[0].Connector)
		}
		if err := os.WriteFile(path, []byte(recipe), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
