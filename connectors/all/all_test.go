package all_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/connectors/recipes"
)

// TestEveryKindIsHeldToTheConformanceKit: a kind of its own folder by a test there, a recipe by one beside it.
func TestEveryKindIsHeldToTheConformanceKit(t *testing.T) {
	held := func(pattern string, calls ...string) bool {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(calls, func(call string) bool { return !strings.Contains(string(text), call) }) {
				return true
			}
		}
		return false
	}
	byRecipe := map[string]bool{}
	for _, recipe := range recipes.All() {
		byRecipe[recipe.Name] = true
	}
	for _, kind := range all.Whole() {
		switch {
		case byRecipe[kind.Name]:
			if !held("../recipes/*_test.go", "conformance.Run(", `"`+kind.Name+`"`) {
				t.Errorf("the recipe %s is not held to it", kind.Name)
			}
		case kind.Name == "rest": // what it is says a recipe
			if !held("../rest/conformance/*_test.go", "conformance.Run(") {
				t.Errorf("%s is not held to it", kind.Name)
			}
		default:
			if !held("../"+kind.Name+"/*_test.go", "connectortest.Run(") {
				t.Errorf("%s is not held to it", kind.Name)
			}
		}
	}
}

// TestEveryKindIsDescribed: what `leadrelay connectors` prints of it.
func TestEveryKindIsDescribed(t *testing.T) {
	for _, kind := range all.Whole() {
		if kind.Title == "" || !strings.HasPrefix(kind.Docs, "https://") {
			t.Errorf("%s has the title %q and the page %q", kind.Name, kind.Title, kind.Docs)
		}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(kind.Settings)) {
			if !field.Anonymous && field.Tag.Get("mapstructure") != "" && field.Tag.Get("help") == "" {
				t.Errorf("%s: the setting %s is not explained", kind.Name, field.Tag.Get("mapstructure"))
			}
		}
	}
}
