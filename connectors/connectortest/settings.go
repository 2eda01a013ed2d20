package connectortest

import (
	"maps"
	"reflect"
	"strings"
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
		eachSetting(reflect.TypeOf(w.h.Kind.Settings), func(key string, kind reflect.Kind) {
			settings := w.settings()
			switch kind {
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
		_, err := w.h.Kind.Open(settings, environment(w, w.h, w.log))
		if err != nil {
			problems = []string{err.Error()}
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
func eachSetting(t reflect.Type, f func(key string, kind reflect.Kind)) {
	for i := range t.NumField() {
		key, options, _ := strings.Cut(t.Field(i).Tag.Get("mapstructure"), ",")
		switch {
		case options == "squash":
			eachSetting(t.Field(i).Type, f)
		case key != "" && key != "-":
			f(key, t.Field(i).Type.Kind())
		}
	}
}
