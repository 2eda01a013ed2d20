package config_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
)

// Everything that begins with s3cret is one.
const withSecrets = `# api_key: s3cret-of-old
redis:
  url: redis://:s3cret@redis:6379/0   # where
  sentinel_password: "s3cret \"two\""
data_dir: data
api_keys:
  - {name: backend, key: s3cret-0123456789}
  - name: form
    key: ${FORM_KEY}
    key_file: /run/key
operators:
  - name: anna
    password_hash: '$2a$12$s3cret'
forms:
  - name: contact
    captcha: {provider: turnstile, secret: s3cret}
sources:
  - name: signup
    type: typeform
    settings: {secret: s3cret-of-typeform}
  - name: slip
    type: typefrom
    settings: {secret: s3cret-of-nobody, list: [s3cret, 1]}
x-common: &common
  access_token: s3cret-common
connectors:
  - name: crm
    type: hubspot
    settings: *common
  - name: news
    type: mailchimp
    api_key: s3cret-in-the-wrong-place
    settings:
      api_key: >-
        s3cret
        # s3cret more
      list_id: a1b2   # api_key: s3cret-was
      api_kye: s3cret-slip
  #- name: hook
  #  type: webhook
  #  settings: {secret: "s3cret, one", url: https://example.com/s3cret }
  #  timeout: 3s
  - name: base
    type: postgres
    settings:
      url: postgres://u:${PG_PASSWORD}@db-s3cret/leads
      table: leads
  - name: own
    type: rest
    settings:
      recipe: no-such-file.yaml
      anything: s3cret
  - s3cret
`

const shownWithoutSecrets = `# api_key: ••••
redis:
  url: ••••   # where
  sentinel_password: ••••
data_dir: data
api_keys:
  - {name: backend, key: ••••}
  - name: form
    key: ${FORM_KEY}
    key_file: /run/key
operators:
  - name: anna
    password_hash: ••••
forms:
  - name: contact
    captcha: {provider: turnstile, secret: ••••}
sources:
  - name: signup
    type: typeform
    settings: {secret: ••••}
  - name: slip
    type: typefrom
    settings: {secret: ••••, list: [••••, ••••]}
x-common: &common
  access_token: ••••
connectors:
  - name: crm
    type: hubspot
    settings: *common
  - name: news
    type: mailchimp
    api_key: ••••
    settings:
      api_key: ••••
      list_id: a1b2   # api_key: ••••
      api_kye: ••••
  #- name: hook
  #  type: webhook
  #  settings: {secret: ••••, url: •••• }
  #  timeout: 3s
  - name: base
    type: postgres
    settings:
      url: ••••${PG_PASSWORD}
      table: leads
  - name: own
    type: rest
    settings:
      recipe: no-such-file.yaml
      anything: ••••
  - ••••
`

func TestP7SecretsOfAConfigurationAreNotShown(t *testing.T) {
	shown, err := config.Mask([]byte(withSecrets), all.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if diff := config.Diff([]byte(shownWithoutSecrets), []byte(shown)); diff != "" {
		t.Error(diff)
	}
}

func TestP7ADiffTellsThatASecretChangedAndNotTheSecret(t *testing.T) {
	after := strings.NewReplacer("s3cret-of-typeform", "s3cret-new", "a1b2", "c3d4").Replace(withSecrets)
	diff, err := config.MaskedDiff([]byte(withSecrets), []byte(after), all.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n-    settings: {secret: ••••}\n+    settings: {secret: •••• (new)}\n",
		"\n-      list_id: a1b2   # api_key: ••••\n+      list_id: c3d4   # api_key: ••••\n",
	} {
		if !strings.Contains(diff, want) {
			t.Errorf("the diff lacks %q:\n%s", want, diff)
		}
	}
	if strings.Contains(diff, "s3cret") || strings.Count(diff, "\n-") != 2 {
		t.Errorf("got\n%s", diff)
	}
	same, err := config.MaskedDiff([]byte(withSecrets), []byte(withSecrets), all.Kinds())
	if same != "" || err != nil {
		t.Errorf("got %q, %v", same, err)
	}
}

func TestP7ATextThatIsNoYAMLIsNotShown(t *testing.T) {
	for _, text := range []string{"redis: {url: s3cret", "a: &a [*a]\n", "- s3cret\n", "redis:\n\turl: s3cret"} {
		shown, err := config.Mask([]byte(text), all.Kinds())
		if err == nil || strings.Contains(err.Error(), "s3cret") || shown != "" {
			t.Errorf("%q: got %q, %v", text, shown, err)
		}
	}
}

// Of the comments of the shipped file only what looks like a value of a secret is hidden.
func TestShippedFileIsShownButForItsExamplesOfSecrets(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := config.Mask(text, all.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	restored := strings.NewReplacer(
		"  #    url: ••••      # or", "  #    url: http://127.0.0.1:9000/leads      # or",
		"    #    url: ••••", "    #    url: https://alerts.example.com/leadrelay",
		"key: ••••             # the column", "key: lead_id             # the column",
	).Replace(shown)
	if diff := config.Diff(text, []byte(restored)); diff != "" {
		t.Error(diff)
	}
}

// A secret is hidden in whatever way it is written.
func FuzzMask(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		f.Add([]byte(edits[name].before), " #\n'\"x")
	}
	f.Add([]byte(withSecrets), "${X}")
	f.Fuzz(func(t *testing.T, text []byte, secret string) {
		if shown, err := config.Mask(text, all.Kinds()); err != nil && shown != "" {
			t.Fatalf("got %q, %v", shown, err)
		}
		if strings.Contains(string(text), "Z9") {
			return
		}
		with, err := config.SetConnector(text, "", config.ConnectorEntry{
			Name: "fuzz", Type: "mailchimp", Settings: map[string]any{"api_key": "Z9" + secret + "Z9", "list_id": "a"},
		})
		if err != nil {
			return
		}
		if shown, err := config.Mask(with, all.Kinds()); strings.Contains(shown, "Z9") {
			t.Fatalf("got %q, %v", shown, err)
		}
	})
}
