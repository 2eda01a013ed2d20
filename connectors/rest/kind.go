package rest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
)

// Kind is a connector to a vendor that only the operator's own recipe knows: its settings are recipe, the path of the
// recipe's file or its text, and those of the recipe.
var Kind = connectors.Kind{
	Name:  "rest",
	Title: "any REST API, by a recipe of your own",
	Docs:  "https://github.com/leadrelay/leadrelay/tree/main/connectors/rest",
	Settings: struct {
		Recipe string `mapstructure:"recipe" help:"the path of the recipe's YAML file, or its text" required:"true" multiline:"true"`
	}{},
	Resolve: resolve,
}

func resolve(settings map[string]any) (connectors.Kind, map[string]any, error) {
	text, ok := settings["recipe"].(string)
	if env, isEnv := settings["recipe"].(connectors.FromEnv); isEnv {
		text, ok = string(env), true
	}
	switch {
	case settings["recipe"] == nil || ok && text == "":
		return connectors.Kind{}, nil, errors.New("recipe: required: the path of a recipe, or its text after recipe: |")
	case !ok:
		return connectors.Kind{}, nil, errors.New("recipe: must be a path, or text after recipe: |")
	}
	recipe, err := Read(text)
	if err != nil {
		return connectors.Kind{}, nil, err
	}
	kind := recipe.Kind()
	rest := map[string]any{}
	for name, value := range settings {
		if name != "recipe" {
			rest[name] = value
		}
	}
	return kind, rest, nil
}

// maxRecipe is more than any vendor takes, and keeps a wrong path harmless.
const maxRecipe = 1 << 20

// Read reads a recipe from a file, or from its text, which has more than one line. All problems are said at once.
func Read(pathOrText string) (*Recipe, error) {
	if strings.Contains(pathOrText, "\n") {
		recipe, err := Parse("line", []byte(pathOrText))
		return recipe, prefixed("recipe: ", err)
	}
	file, err := os.Open(pathOrText)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	defer file.Close()
	source, err := io.ReadAll(io.LimitReader(file, maxRecipe+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("recipe: %w", err)
	case len(source) > maxRecipe:
		return nil, fmt.Errorf("recipe: %s is too large for a recipe", pathOrText)
	}
	recipe, err := Parse(pathOrText, source)
	return recipe, prefixed("recipe: ", err)
}

// prefixed puts a text before each of the problems that err joins.
func prefixed(prefix string, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, problem := range joined.Unwrap() {
			all = append(all, fmt.Errorf("%s%w", prefix, problem))
		}
		return errors.Join(all...)
	}
	if err != nil {
		return fmt.Errorf("%s%w", prefix, err)
	}
	return nil
}
