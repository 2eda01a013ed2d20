// Package recipes has the vendors that need no code: one YAML file each, executed by connectors/rest. A new one is a
// file here and its test beside it.
package recipes

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/rest"
)

//go:embed *.yaml
var files embed.FS

// recipes has each recipe by name, read when it is asked for: a process needs few of them.
var recipes = func() map[string]func() *rest.Recipe {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(err)
	}
	recipes := map[string]func() *rest.Recipe{}
	for _, file := range names {
		name := strings.TrimSuffix(file, ".yaml")
		recipes[name] = sync.OnceValue(func() *rest.Recipe { return read(file, name) })
	}
	return recipes
}()

// read reads a recipe. One that is wrong is a bug that the tests of this package find.
func read(file, name string) *rest.Recipe {
	source, err := files.ReadFile(file)
	if err != nil {
		panic(err)
	}
	recipe, err := rest.Parse(file, source)
	if err != nil {
		panic(fmt.Sprintf("recipes: %v", err))
	}
	if recipe.Name != name {
		panic("recipes: " + file + " has another name within")
	}
	return recipe
}

// All reads all recipes, by name.
func All() (all []*rest.Recipe) {
	for _, name := range slices.Sorted(maps.Keys(recipes)) {
		all = append(all, recipes[name]())
	}
	return all
}

// Kinds lists the recipes as kinds of connectors, by name. Each has its name alone until it is resolved.
func Kinds() (kinds []connectors.Kind) {
	for _, name := range slices.Sorted(maps.Keys(recipes)) {
		kinds = append(kinds, connectors.Kind{Name: name, Settings: struct{}{}, Resolve: func(settings map[string]any) (connectors.Kind, map[string]any, error) {
			return recipes[name]().Kind(), settings, nil
		}})
	}
	return kinds
}
