// Package recipes has the vendors that need no code: one YAML file each, executed by connectors/rest. A new one is a
// file here and its test beside it.
package recipes

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/rest"
)

//go:embed *.yaml
var files embed.FS

var all = func() (recipes []*rest.Recipe) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		source, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		recipe, err := rest.Parse(name, source)
		if err != nil {
			panic(fmt.Sprintf("recipes: %v", err)) // the tests of this package keep it from happening
		}
		if recipe.Name != strings.TrimSuffix(name, ".yaml") {
			panic("recipes: " + name + " has another name within")
		}
		recipes = append(recipes, recipe)
	}
	return recipes
}()

// All lists the recipes, by name.
func All() []*rest.Recipe { return all }

// Kinds lists the recipes as kinds of connectors, by name.
func Kinds() (kinds []connectors.Kind) {
	for _, recipe := range all {
		kinds = append(kinds, recipe.Kind())
	}
	return kinds
}
