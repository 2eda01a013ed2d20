package config_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/connectors/recipes"
	"github.com/leadrelay/leadrelay/internal/alerts"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/sources"
)

const shipped = "../../config.yaml"

func TestShippedFileWorksAsItStands(t *testing.T) {
	environ(t)
	c, err := config.Load(shipped, all.Kinds(), config.AllowMissingKeys())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	equal(t, "missing keys", c.MissingKeys, []config.MissingKey{{Name: "backend", Scope: "full", Variable: "LEADRELAY_API_KEY"}})
	equal(t, "warnings", len(c.Warnings), 0)
	if len(c.Connectors) != 1 || c.Connectors[0].Name != "sheet" {
		t.Errorf("got %v, want one sheet", c.Connectors)
	}
}

// The values in the file are the defaults it says they are.
func TestShippedFileShowsTheDefaults(t *testing.T) {
	environ(t)
	c, err := config.Load(shipped, all.Kinds(), config.SkipFrontEnd(), config.SkipConnectors())
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := config.Load("testdata/good-empty.yaml", nil, config.SkipFrontEnd())
	if err != nil {
		t.Fatal(err)
	}
	c.Path, c.Revision, c.Connectors = defaults.Path, defaults.Revision, nil
	defaults.Warnings = nil
	equal(t, "settings", c, defaults)
}

// example is a line that begins with # and, unlike a comment in words, not with one space after it.
var example = regexp.MustCompile(`(?m)^( *)#( {2,}\S|[^ #\n])`)

// uncommented is the shipped file with its examples in use.
func uncommented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	head, entries, found := strings.Cut(string(text), "\napi_keys:\n")
	if !found {
		t.Fatal("no api_keys")
	}
	return head + "\napi_keys:\n" + example.ReplaceAllString(entries, "$1$2")
}

// serviceAccount returns the path of a key such as Google gives out.
func serviceAccount(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "leads@example.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "google.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestShippedExamplesWork(t *testing.T) {
	environ(t,
		"LEADRELAY_API_KEY=0123456789abcdef",
		"LEADRELAY_FORM_KEY=fedcba9876543210",
		"HOOK_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
		"MAILCHIMP_API_KEY=0123456789abcdef0123456789abcdef-us1",
		"POSTGRES_URL=postgres://u:p@127.0.0.1/leads", "SMTP_USER=u", "SMTP_PASSWORD=p", "HUBSPOT_TOKEN=pat-1", "ACME_API_KEY=k",
		"ANNA_PASSWORD_HASH=$2a$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuabcdefghijklm", "CAPTCHA_SECRET=c", "TYPEFORM_SECRET=a-secret-of-typeform", "CALENDLY_SIGNING_KEY=a-key-of-calendly-1234", "META_APP_SECRET=0123456789abcdef0123456789abcdef",
		"META_VERIFY_TOKEN=a-token-for-verification", "META_ACCESS_TOKEN=EAAB", "TALLY_SECRET=a-secret-of-tally-1234", "WEBFLOW_SECRET=a-secret-of-webflow-1234",
		"WORDPRESS_SECRET=a-secret-of-wordpress", "PARTNER_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "OTHER_SECRET=another-secret-of-others",
		"SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T0/B0/x", "ALERTS_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
	)
	text := strings.NewReplacer("/run/secrets/google.json", serviceAccount(t), "acme.yaml", "testdata/acme.yaml").Replace(uncommented(t))
	c, err := config.Load(write(t, text), all.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	equal(t, "keys", len(c.APIKeys), 2)
	equal(t, "forms", len(c.Forms), 2)
	sorts := map[string]bool{}
	for _, source := range c.Sources {
		sorts[source.Type] = true
	}
	for _, kind := range sources.Kinds() {
		if !sorts[kind.Name] {
			t.Errorf("there is no example of a source of type %s", kind.Name)
		}
	}
	var told []string
	for _, d := range c.Alerts.To {
		told = append(told, d.Type)
	}
	for _, kind := range alerts.Kinds() {
		if !slices.Contains(told, kind.Name) {
			t.Errorf("there is no example of alerts to a %s", kind.Name)
		}
	}
	var types []string
	for _, connector := range c.Connectors {
		types = append(types, connector.Type)
	}
	for _, kind := range all.Whole() {
		example := kind.Name
		if kind.Resolve != nil {
			example = "acme" // is what its recipe is
		}
		if !slices.Contains(types, example) && !isRecipe(kind) {
			t.Errorf("%s has no example", kind.Name)
		}
	}
}

func TestShippedFileNamesEverySetting(t *testing.T) {
	text := uncommented(t)
	names := func(where string, keys []string) {
		t.Helper()
		for _, key := range keys {
			if !regexp.MustCompile(`(^|[\s{,#])` + key + `(_file)?:(\s|$)`).MatchString(text) {
				t.Errorf("%s: %s is not in the file", where, key)
			}
		}
	}
	c := reflect.TypeFor[config.Config]()
	names("the file", connectors.KeysOf(c))
	for i := range c.NumField() {
		field := c.Field(i)
		t := field.Type
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() == reflect.Struct && field.Tag.Get("mapstructure") != "-" {
			names(field.Tag.Get("mapstructure"), connectors.KeysOf(t))
		}
	}
	names("connectors", strings.Fields("name type when settings fields to from template value concurrency retry breaker limits"))
	names("retry", connectors.KeysOf(reflect.TypeFor[config.Retry]()))
	names("breaker", connectors.KeysOf(reflect.TypeFor[config.Breaker]()))
	names("limits", []string{"rate", "per", "concurrency"})
	for _, kind := range alerts.Kinds() {
		names("alerts.to", connectors.KeysOf(reflect.TypeOf(kind.Settings)))
	}
	for _, kind := range all.Whole() {
		if !isRecipe(kind) {
			names(kind.Name, connectors.KeysOf(reflect.TypeOf(kind.Settings)))
		}
	}
}

// isRecipe says whether a kind's settings are described by `leadrelay connectors describe` alone.
func isRecipe(kind connectors.Kind) bool {
	return slices.ContainsFunc(recipes.Kinds(), func(recipe connectors.Kind) bool { return recipe.Name == kind.Name })
}
