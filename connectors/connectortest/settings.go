package connectortest

import (
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
)

// settingsChecks are about what an operator may write into config.yaml.
var settingsChecks = []check{
	{"opening calls nobody", needsHTTP, in(func(w *world) {
		if w.front.connected() != 0 {
			w.Errorf("%d connections were made", w.front.connected())
		}
	})},
	{"an unknown setting is refused by its name", nil, in(func(w *world) {
		settings := w.settings()
		settings["no_such_setting"] = "x"
		w.refuses(settings, "no_such_setting")
	})},
	{"a setting of the wrong type is refused by its name", nil, in(func(w *world) {
		if w.h.Kind.Settings == nil {
			w.Fatalf("the kind does not say what its settings are")
		}
		eachSetting(reflect.TypeOf(w.h.Kind.Settings), func(key string, t reflect.Type) {
			settings := w.settings()
			switch t.Kind() {
			case reflect.Interface:
				return
			case reflect.Map, reflect.Struct:
				settings[key] = "text where a mapping belongs"
			default:
				settings[key] = map[string]any{"a": "mapping"}
			}
			w.refuses(settings, key)
		})
	})},
	{"a secret may come from a file, but not from a file and the configuration", hasSecrets, in(func(w *world) {
		eachSetting(reflect.TypeOf(w.h.Kind.Settings), func(key string, t reflect.Type) {
			settings := w.settings()
			secret, given := settings[key].(string)
			if t != secretType || !given {
				return
			}
			file := filepath.Join(w.TempDir(), key)
			if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
				w.Fatalf("%v", err)
			}
			settings[key+"_file"] = file
			w.refuses(settings, key)
			delete(settings, key)
			for _, problem := range w.open(settings) {
				w.Errorf("%s_file: %s", key, problem)
			}
		})
	})},
	{"the YAML in the package comment loads, and names every setting", hasExample, in(func(w *world) {
		example := w.h.example()
		var config struct {
			Connectors []struct {
				Name, Type string
				When       string
				Settings   map[string]any
				Fields     []struct {
					To, From, Template string
					Value              any
				}
			}
		}
		decoder := yaml.NewDecoder(strings.NewReader(example))
		decoder.KnownFields(true)
		if err := decoder.Decode(&config); err != nil {
			w.Fatalf("%v", err)
		}
		if len(config.Connectors) != 1 || config.Connectors[0].Type != w.h.Kind.Name || config.Connectors[0].Name == "" {
			w.Fatalf("it is not of one %s with a name:\n%s", w.h.Kind.Name, example)
		}
		settings := config.Connectors[0].Settings
		working := w.settings()
		eachSetting(reflect.TypeOf(w.h.Kind.Settings), func(key string, _ reflect.Type) {
			if !strings.Contains(example, key) {
				w.Errorf("it does not name the setting %s", key)
			}
			if _, ok := settings[key+"_file"]; ok { // no such file here
				delete(settings, key+"_file")
				settings[key] = working[key]
			}
		})
		for _, problem := range w.open(settings) {
			w.Errorf("%s", problem)
		}
		var rules []connectors.FieldRule
		for _, f := range config.Connectors[0].Fields {
			rules = append(rules, connectors.FieldRule{To: f.To, From: f.From, Template: f.Template, Value: f.Value})
		}
		if _, err := connectors.NewMapping(rules); err != nil {
			w.Errorf("fields%v", err)
		}
	})},
	{"a missing setting is asked for by its name", func(can abilities) bool { return can.required }, in(func(w *world) {
		for _, key := range w.h.Required {
			settings := w.settings()
			if _, given := settings[key]; !given {
				w.Errorf("the harness requires %s and does not give it", key)
			}
			delete(settings, key)
			w.refuses(settings, key)
		}
		for _, err := range w.open(map[string]any{}) {
			for _, key := range w.h.Required {
				if !strings.Contains(err, key) {
					w.Errorf("without any setting, the error does not name %s: %s", key, err)
				}
			}
		}
	})},
}

var secretType = reflect.TypeFor[connectors.Secret]()

func hasSecrets(can abilities) bool { return can.secrets }
func hasExample(can abilities) bool { return can.example }

// example is the configuration in the comment of the package under test, "" where there is none.
func (h Harness) example() string {
	if h.NoExample {
		return ""
	}
	files, _ := filepath.Glob(filepath.Join(h.dir, "*.go"))
	for _, file := range files {
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil || source.Doc == nil {
			continue
		}
		var example strings.Builder
		for line := range strings.Lines(source.Doc.Text()) {
			text, indented := strings.CutPrefix(line, "\t")
			switch {
			case indented && (example.Len() > 0 || strings.TrimSpace(text) == "connectors:"):
				example.WriteString(text)
			case example.Len() > 0 && strings.TrimSpace(line) != "":
				return example.String()
			}
		}
		if example.Len() > 0 {
			return example.String()
		}
	}
	return ""
}

// settings returns the harness's settings, free to be changed.
func (w *world) settings() map[string]any {
	baseURL := ""
	if w.front != nil {
		baseURL = w.front.server.URL
	}
	return maps.Clone(w.h.Settings(baseURL, w.vendor))
}

// open returns the text of the error, if any.
func (w *world) open(settings map[string]any) (problems []string) {
	w.Helper()
	w.guarded("Open", func() {
		opened, err := w.h.Kind.Open(settings, environment(w, w.h, w.log))
		if err != nil {
			problems = []string{err.Error()}
		} else if closer, ok := opened.(io.Closer); ok {
			closer.Close()
		}
	})
	return problems
}

func (w *world) refuses(settings map[string]any, key string) {
	w.Helper()
	problems := w.open(settings)
	if problems == nil {
		w.Errorf("%s: accepted", key)
		return
	}
	named := false
	for _, line := range strings.Split(problems[0], "\n") {
		named = named || strings.HasPrefix(line, key)
	}
	if !named {
		w.Errorf("no problem begins with %q: %s", key, problems[0])
	}
	if leak := w.leak(problems[0]); leak != "" {
		w.Errorf("the error holds %s: %s", leak, problems[0])
	}
}

// eachSetting calls f with every setting's key, those of squashed structs too.
func eachSetting(t reflect.Type, f func(key string, t reflect.Type)) {
	for i := range t.NumField() {
		key, options, _ := strings.Cut(t.Field(i).Tag.Get("mapstructure"), ",")
		switch {
		case options == "squash":
			eachSetting(t.Field(i).Type, f)
		case key != "" && key != "-":
			f(key, t.Field(i).Type)
		}
	}
}
