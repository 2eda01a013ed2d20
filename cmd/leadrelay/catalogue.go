package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
)

// catalogue is every kind of connector as the console's forms need it.
var catalogue = sync.OnceValue(func() (kinds []console.Kind) {
	for _, kind := range all.Whole() {
		kinds = append(kinds, formOf(describe(kind)))
	}
	return kinds
})

// kindOfEntry is the kind of an entry; of one by a recipe, what the recipe says, as soon as it can be read.
func kindOfEntry(e console.Entry) (console.Kind, error) {
	for _, kind := range catalogue() {
		if kind.Name != e.Kind {
			continue
		}
		pathOrText, _ := e.Settings["recipe"].(string)
		if kind.Name != rest.Kind.Name || pathOrText == "" {
			return kind, nil
		}
		recipe, err := rest.Read(pathOrText)
		if err != nil {
			return kind, err
		}
		own := formOf(describe(recipe.Kind()))
		own.Name, own.Settings = kind.Name, append(kind.Settings[:len(kind.Settings):len(kind.Settings)], own.Settings...)
		return own, nil
	}
	return console.Kind{Name: e.Kind, Common: commonSettings()}, fmt.Errorf("type: there is no kind %s", e.Kind)
}

func formOf(d description) console.Kind {
	kind := console.Kind{
		Name: d.Name, Title: d.Title, Docs: d.Docs, Event: d.Event, Settings: formSettings("", d.Settings), Common: commonSettings(),
	}
	for _, rule := range d.Fields {
		kind.Fields = append(kind.Fields, console.FieldRule(rule))
	}
	return kind
}

func formSettings(prefix string, described []describedSetting) (list []console.Setting) {
	for _, s := range described {
		f := console.Setting{
			Name: prefix + s.Name, Help: s.Help, Type: s.Type, Secret: s.Secret, Required: s.Required, Lines: s.Multiline, OneOf: s.OneOf,
		}
		switch initial := s.Default.(type) {
		case nil:
		case string:
			f.Default = initial
		case bool, int, int64, float64:
			f.Default = fmt.Sprint(initial)
		default:
			f.Default = inline(initial)
		}
		list = append(list, f)
	}
	return list
}

// commonSettings are those beside the kind's own, with dots where they stand below another.
var commonSettings = sync.OnceValue(func() (list []console.Setting) {
	var d description
	d.settings(reflect.ValueOf(config.CommonDefaults()))
	for _, s := range d.Settings {
		if s.Type != "mapping" {
			list = append(list, formSettings("", []describedSetting{s})...)
		}
	}
	common := reflect.ValueOf(config.CommonDefaults())
	for i := range common.NumField() {
		if common.Field(i).Kind() != reflect.Struct {
			continue
		}
		var below description
		below.settings(common.Field(i))
		list = append(list, formSettings(common.Type().Field(i).Tag.Get("mapstructure")+".", below.Settings)...)
	}
	return list
})

// fieldText is a field's value as people read it.
func fieldText(value any) string {
	switch typed := value.(type) {
	case nil:
		return ""
	case string:
		return typed
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}
