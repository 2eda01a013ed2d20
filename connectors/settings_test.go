package connectors

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type everything struct {
	Text    string            `mapstructure:"text"`
	Yes     bool              `mapstructure:"yes"`
	Small   int8              `mapstructure:"small"`
	Whole   int64             `mapstructure:"whole"`
	Natural uint16            `mapstructure:"natural"`
	Real    float64           `mapstructure:"real"`
	Wait    time.Duration     `mapstructure:"wait"`
	Token   Secret            `mapstructure:"token"`
	Maybe   *int              `mapstructure:"maybe"`
	Any     any               `mapstructure:"any"`
	Texts   []string          `mapstructure:"texts"`
	Headers map[string]string `mapstructure:"headers"`
	Inner   inner             `mapstructure:"inner"`
	Inners  []inner           `mapstructure:"inners"`
	Shared  `mapstructure:",squash"`
	Hidden  string `mapstructure:"-"`
	hidden  string
}

type inner struct {
	Name  string `mapstructure:"name"`
	Token Secret `mapstructure:"token"`
}

type Shared struct {
	Common string `mapstructure:"common"`
}

func TestDecodeReadsWhatYAMLGives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("kept in a file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := everything{Wait: time.Hour, Texts: []string{"default", "default"}, Hidden: "as it was", hidden: "as it was"}
	defaultTexts := got.Texts
	err := Decode(map[string]any{
		"text": "a", "yes": true, "small": -8, "whole": int64(1) << 40, "natural": uint64(9), "real": 2,
		"wait": nil, "token_file": file, "maybe": 5,
		"any": []any{FromEnv("x"), map[string]any{"a": 1}}, "texts": []any{"one", FromEnv("two")},
		"headers": map[string]any{"a": "b"}, "inner": map[string]any{"name": "n"},
		"inners": []any{map[string]any{"token_file": file}, nil}, "common": "c",
	}, &got)
	if err != nil {
		t.Fatal(err)
	}
	five := 5
	want := everything{
		Text: "a", Yes: true, Small: -8, Whole: 1 << 40, Natural: 9, Real: 2,
		Wait: time.Hour, Token: "kept in a file", Maybe: &five,
		Any: []any{"x", map[string]any{"a": 1}}, Texts: []string{"one", "two"},
		Headers: map[string]string{"a": "b"}, Inner: inner{Name: "n"},
		Inners: []inner{{Token: "kept in a file"}, {}}, Shared: Shared{"c"},
		Hidden: "as it was", hidden: "as it was",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	if defaultTexts[0] != "default" {
		t.Error("the defaults' list was written into")
	}
}

func TestDecodeConvertsOnlyWhatComesFromTheEnvironment(t *testing.T) {
	text := map[string]string{
		"text": "5", "yes": "true", "small": "-8", "whole": "12", "natural": "9", "real": "0.5", "wait": "30s", "token": "7", "maybe": "5",
	}
	fromEnv, fromYAML := map[string]any{}, map[string]any{}
	for key, value := range text {
		fromEnv[key], fromYAML[key] = FromEnv(value), value
	}
	var got everything
	if err := Decode(fromEnv, &got); err != nil {
		t.Fatal(err)
	}
	five := 5
	want := everything{
		Text: "5", Yes: true, Small: -8, Whole: 12, Natural: 9, Real: 0.5, Wait: 30 * time.Second, Token: "7", Maybe: &five,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	err := Decode(fromYAML, &everything{})
	if want := strings.Join([]string{
		"maybe: must be a whole number",
		"natural: must be a whole number, not below 0",
		"real: must be a number",
		"small: must be a whole number",
		"whole: must be a whole number",
		"yes: must be true or false",
	}, "\n"); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestDecodeRefusesAndKeepsWhatWasThere(t *testing.T) {
	const hush = "hush"
	for _, row := range []struct {
		key  string
		raw  any
		want string
	}{
		{"text", 5, "text: must be text: put it in quotes"},
		{"text", true, "text: must be text: put it in quotes"},
		{"text", time.Now(), "text: must be text: put it in quotes"},
		{"text", []any{hush}, "text: must be text"},
		{"yes", 1, "yes: must be true or false"},
		{"yes", hush, "yes: must be true or false"},
		{"small", 128, "small: must be a whole number"},
		{"small", 1.0, "small: must be a whole number"},
		{"whole", uint64(math.MaxUint64), "whole: must be a whole number"},
		{"natural", -1, "natural: must be a whole number, not below 0"},
		{"natural", 65536, "natural: must be a whole number, not below 0"},
		{"real", math.NaN(), "real: must be a number"},
		{"real", math.Inf(1), "real: must be a number"},
		{"wait", 30, `wait: must be a duration such as "30s"`},
		{"wait", hush, `wait: must be a duration such as "30s"`},
		{"token", 12345, "token: must be text: put it in quotes"},
		{"token_file", 5, "token_file: must be text: put it in quotes"},
		{"token_file", "/nowhere/token", "token_file: /nowhere/token: no such file or directory"},
		{"token_file", "/dev/zero", "token_file: /dev/zero: the file is too large for a secret"},
		{"token_file", "/dev/null", "token_file: /dev/null: the file is empty"},
		{"texts", hush, "texts: must be a list"},
		{"texts", []any{hush, 5}, "texts[1]: must be text: put it in quotes"},
		{"headers", hush, "headers: must be a mapping"},
		{"headers", map[string]any{"a": 5}, "headers.a: must be text: put it in quotes"},
		{"inner", hush, "inner: must be a mapping"},
		{"inner", map[string]any{"nmae": hush}, "inner.nmae: unknown setting, did you mean name?"},
		{"inners", []any{map[string]any{"tokn_file": hush}}, "inners[0].tokn_file: unknown setting, did you mean token_file?"},
		{"text_file", hush, "text_file: unknown setting, did you mean token_file?"},
		{"Text", hush, "Text: unknown setting, did you mean text?"},
		{"-", hush, "-: unknown setting (known: text, yes, small, whole, natural, real, wait, token, token_file, maybe, any, texts, headers, inner, inners, common)"},
		{"a\nb", nil, `"a\nb": unknown setting`},
	} {
		got := everything{Text: "was", Small: 1, Wait: time.Second, Token: "was"}
		err := Decode(map[string]any{row.key: row.raw}, &got)
		if err == nil || !strings.HasPrefix(err.Error(), row.want) || strings.Contains(err.Error(), hush) {
			t.Errorf("%s: %v:\n got %v\nwant %s", row.key, row.raw, err, row.want)
		}
		if got.Text != "was" || got.Small != 1 || got.Wait != time.Second || got.Token != "was" {
			t.Errorf("%s: %v: a value was replaced", row.key, row.raw)
		}
	}
	if err := Decode(map[string]any{"token": hush, "token_file": "x"}, &everything{}); err == nil || err.Error() != "token: give it or token_file, not both" {
		t.Errorf("got %v", err)
	}
	for _, two := range []map[string]any{
		{"token": "", "token_file": nil}, {"token": hush, "token_file": FromEnv("")}, {"token": FromEnv(""), "token_file": ""},
	} {
		if err := Decode(two, &everything{}); err != nil {
			t.Errorf("%v, of which at most one says something: %v", two, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"webhook", "csv", "mailchimp", "googlesheets"}
	for word, want := range map[string]string{
		"mailchip": "mailchimp", "webhooks": "webhook", "google_sheets": "googlesheets", "cvs": "csv", "salesforce": "", "": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
