package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
)

func connectorsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "connectors",
		Short: "List the kinds of connectors there are; describe one; try out a recipe of your own",
		Example: `  leadrelay connectors
  leadrelay connectors describe hubspot
  leadrelay connectors schema > recipe.schema.json
  leadrelay connectors conformance acme.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kinds := all.Whole()
			if asJSON {
				descriptions := []description{}
				for _, kind := range kinds {
					descriptions = append(descriptions, describe(kind))
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(descriptions)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "KIND\tTITLE\tIS SENT\tBATCH\tDOCS")
			for _, kind := range kinds {
				sent, batch := "records", "-"
				if kind.Event {
					sent = "events"
				}
				if kind.MaxBatch > 1 {
					batch = fmt.Sprint(kind.MaxBatch)
				}
				if kind.Resolve != nil {
					sent, batch = "-", "-"
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", kind.Name, kind.Title, sent, batch, kind.Docs)
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(describeCommand(), schemaCommand(), conformanceCommand())
	return cmd
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the format of recipes as a JSON Schema, which editors complete and check by",
		Example: `  leadrelay connectors schema > recipe.schema.json
  # and as the first line of a recipe:
  # yaml-language-server: $schema=recipe.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(rest.Schema)
			return err
		},
	}
}

func describeCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "describe KIND|RECIPE.yaml",
		Short: "Say what one kind of connector is set up with, as text to paste into config.yaml",
		Example: `  leadrelay connectors describe hubspot
  leadrelay connectors describe path/to/acme.yaml
  leadrelay connectors describe --json webhook`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, kind := range all.Whole() {
				names = append(names, kind.Name)
			}
			return names, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, recipe, err := kindOf(args[0])
			if err != nil {
				return err
			}
			d := describe(kind)
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(d)
			}
			return d.print(cmd.OutOrStdout(), recipe)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// kindOf finds a kind by its name or, where that is none, by its recipe's path, which is then returned.
func kindOf(nameOrPath string) (kind connectors.Kind, recipe string, err error) {
	var names []string
	for _, kind := range all.Whole() {
		if kind.Name == nameOrPath {
			return kind, "", nil
		}
		names = append(names, kind.Name)
	}
	if _, err := os.Stat(nameOrPath); err != nil && !strings.ContainsAny(nameOrPath, "./\\\n") {
		if nearest := connectors.Nearest(nameOrPath, names); nearest != "" {
			return kind, "", fmt.Errorf("there is no kind and no recipe %s; did you mean %s?", nameOrPath, nearest)
		}
		return kind, "", fmt.Errorf("there is no kind and no recipe %s; the kinds are %s", nameOrPath, strings.Join(names, ", "))
	}
	r, err := rest.Read(nameOrPath)
	if err != nil {
		return kind, "", err
	}
	return r.Kind(), nameOrPath, nil
}

// description is a kind as --json prints it.
type description struct {
	Name     string               `json:"name"`
	Title    string               `json:"title"`
	Docs     string               `json:"docs"`
	Event    bool                 `json:"event"`
	MaxBatch int                  `json:"max_batch"`
	Limits   describedLimits      `json:"limits"`
	Settings []describedSetting   `json:"settings"`
	Fields   []describedFieldRule `json:"fields"`
}

type describedLimits struct {
	Concurrency int             `json:"concurrency,omitempty"`
	Rates       []describedRate `json:"rates,omitempty"`
}

type describedRate struct {
	Most   int    `json:"most"`
	Per    string `json:"per"`
	ByCost bool   `json:"by_cost,omitempty"`
}

type describedSetting struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // text, integer, number, bool, duration, list or mapping
	Secret   bool     `json:"secret,omitempty"`
	Required bool     `json:"required,omitempty"`
	Default  any      `json:"default,omitempty"`
	OneOf    []string `json:"one_of,omitempty"`
	Help     string   `json:"help,omitempty"`

	Multiline bool `json:"multiline,omitempty"` // a text of many lines
}

type describedFieldRule struct {
	To       string `json:"to" yaml:"to"`
	From     string `json:"from,omitempty" yaml:"from,omitempty"`
	Template string `json:"template,omitempty" yaml:"template,omitempty"`
	Value    any    `json:"value,omitempty" yaml:"value,omitempty"`
}

func describe(kind connectors.Kind) description {
	d := description{
		Name: kind.Name, Title: kind.Title, Docs: kind.Docs, Event: kind.Event, MaxBatch: max(1, kind.MaxBatch),
		Limits: describedLimits{Concurrency: kind.Limits.Concurrency}, Settings: []describedSetting{}, Fields: []describedFieldRule{},
	}
	for _, rate := range kind.Limits.Rates {
		d.Limits.Rates = append(d.Limits.Rates, describedRate{rate.Most, plainly(rate.Per), rate.ByCost})
	}
	for _, rule := range kind.Fields {
		d.Fields = append(d.Fields, describedFieldRule(rule))
	}
	if kind.Settings != nil {
		d.settings(reflect.ValueOf(kind.Settings))
	}
	return d
}

// settings reads a struct of settings that holds their defaults.
func (d *description) settings(v reflect.Value) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case options == "squash":
			d.settings(value)
			continue
		case name == "", name == "-":
			continue
		}
		s := describedSetting{
			Name: name, Type: typeName(field.Type), Secret: field.Type == reflect.TypeFor[connectors.Secret](),
			Required: field.Tag.Get("required") == "true", OneOf: strings.Fields(field.Tag.Get("oneof")), Help: field.Tag.Get("help"),
			Multiline: field.Tag.Get("multiline") == "true",
		}
		switch initial := value.Interface().(type) {
		case connectors.Secret:
		case time.Duration:
			if initial != 0 {
				s.Default = plainly(initial)
			}
		default:
			if !value.IsZero() || field.Type.Kind() == reflect.Bool {
				s.Default = initial
			}
		}
		d.Settings = append(d.Settings, s)
	}
}

func typeName(t reflect.Type) string {
	switch kind := t.Kind(); {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case kind == reflect.Pointer:
		return typeName(t.Elem())
	case kind == reflect.Bool:
		return "bool"
	case kind >= reflect.Int && kind <= reflect.Uint64:
		return "integer"
	case kind == reflect.Float32 || kind == reflect.Float64:
		return "number"
	case kind == reflect.Slice:
		return "list"
	case kind == reflect.Map || kind == reflect.Struct:
		return "mapping"
	default:
		return "text"
	}
}

// plainly is a duration without its zeros: 24h, not 24h0m0s.
func plainly(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// print tells people. recipe is the path of the kind's recipe, "" for one that comes with leadrelay.
func (d description) print(out io.Writer, recipe string) error {
	fmt.Fprintf(out, "%s: %s\n%s\n\n", d.Name, d.Title, d.Docs)
	switch {
	case d.Name == rest.Kind.Name && recipe == "":
		fmt.Fprintln(out, "What it is sent, and its other settings, are up to the recipe: describe that.")
	case d.Event:
		fmt.Fprintln(out, "Is told of every accepted change, in order.")
	default:
		fmt.Fprintln(out, "Keeps one record of each lead, in step with it.")
	}
	if d.MaxBatch > 1 {
		fmt.Fprintf(out, "Takes up to %d leads in one call.\n", d.MaxBatch)
	}
	if limits := d.Limits.String(); limits != "" {
		fmt.Fprintf(out, "Is called within the vendor's limits, over all workers: %s.\n", limits)
	}

	fmt.Fprint(out, "\nSettings\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range d.Settings {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", s.Name, strings.Join(s.traits(), ", "), s.Help)
	}
	table.Flush()
	if len(d.Fields) > 0 {
		fmt.Fprint(out, "\nFields, where you map none\n")
		table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, f := range d.Fields {
			source := f.From
			switch {
			case f.Template != "":
				source = f.Template
			case f.Value != nil:
				source = fmt.Sprint(f.Value)
			}
			fmt.Fprintf(table, "  %s\t%s\n", f.To, source)
		}
		table.Flush()
	}
	snippet, err := d.snippet(recipe)
	if err == nil {
		_, err = fmt.Fprintf(out, "\nFor config.yaml\n\n%s", snippet)
	}
	return err
}

func (l describedLimits) String() string {
	var parts []string
	for _, rate := range l.Rates {
		what := "calls"
		if rate.ByCost {
			what = "units of cost"
		}
		parts = append(parts, fmt.Sprintf("%d %s in %s", rate.Most, what, rate.Per))
	}
	if l.Concurrency > 0 {
		parts = append(parts, fmt.Sprintf("%d at once", l.Concurrency))
	}
	return strings.Join(parts, ", ")
}

func (s describedSetting) traits() (traits []string) {
	if s.Required {
		traits = append(traits, "required")
	}
	if s.Secret {
		traits = append(traits, "secret, or "+s.Name+"_file")
	} else if s.Type != "text" {
		traits = append(traits, s.Type)
	}
	if len(s.OneOf) > 0 {
		traits = append(traits, strings.Join(s.OneOf, " | "))
	}
	if s.Default != nil && s.Default != false {
		traits = append(traits, "default "+inline(s.Default))
	}
	return traits
}

// inline is a value as YAML has it in one line.
func inline(value any) string {
	var node yaml.Node
	if err := node.Encode(value); err != nil {
		return fmt.Sprint(value)
	}
	node.Style |= yaml.FlowStyle
	text, err := yaml.Marshal(&node)
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSpace(string(text))
}

// snippet is a configuration of one such connector. What is required comes from the environment; the rest stands there
// as comments.
func (d description) snippet(recipe string) (string, error) {
	var b strings.Builder
	kind := d.Name
	if recipe != "" {
		kind = rest.Kind.Name
	}
	fmt.Fprintf(&b, "connectors:\n  - name: %s\n    type: %s\n    settings:\n", strings.ReplaceAll(d.Name, "_", "-"), kind)
	if recipe != "" {
		fmt.Fprintf(&b, "      recipe: %s\n", inline(recipe))
	}
	for _, s := range slices.Concat(d.required(true), d.required(false)) {
		mark := ""
		if !s.Required {
			mark = "#"
		}
		value := `""`
		switch {
		case s.Required && s.Default == nil && len(s.OneOf) == 0:
			value = "${" + strings.ToUpper(d.Name+"_"+s.Name) + "}"
			if s.Type == "list" {
				value = "[" + `"` + value + `"` + "]"
			}
		case s.Default != nil:
			value = inline(s.Default)
		case len(s.OneOf) > 0:
			value = s.OneOf[0]
		case s.Type == "list":
			value = "[]"
		case s.Type == "mapping":
			value = "{}"
		case s.Type == "integer", s.Type == "number":
			value = "0"
		}
		file := ""
		if s.Secret {
			file = "  # or " + s.Name + "_file: a file that holds it"
		}
		fmt.Fprintf(&b, "      %s%s: %s%s\n", mark, s.Name, value, file)
	}
	return b.String(), nil
}

func (d description) required(required bool) (settings []describedSetting) {
	for _, s := range d.Settings {
		if s.Required == required {
			settings = append(settings, s)
		}
	}
	return settings
}

func conformanceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "conformance RECIPE.yaml",
		Short: "Hold a recipe to what every connector promises, against a stand-in of its vendor",
		Long: `Make a stand-in of the vendor from the recipe itself (its requests, its examples of answers, its rules), and hold the
recipe to what every connector promises: one record of each lead, whatever is repeated or lost on the way; nothing
personal in errors, logs and addresses; the right reaction to each failure. Nothing leaves this machine, and no account
is needed. What the vendor does otherwise than the recipe says, only the vendor can show: ` + "`leadrelay check --live`" + `.`,
		Example: `  leadrelay connectors conformance acme.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			recipe, err := rest.Read(args[0])
			if err != nil {
				return err
			}
			promises, err := conformance.Examine(recipe, conformance.Options{})
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			kept, broken := 0, 0
			for promise, complaints := range promises {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				if complaints == nil {
					kept++
					fmt.Fprintf(out, "ok      %s\n", promise)
					continue
				}
				broken++
				fmt.Fprintf(out, "BROKEN  %s\n", promise)
				for _, complaint := range complaints {
					fmt.Fprintf(out, "        %s\n", strings.ReplaceAll(complaint, "\n", "\n        "))
				}
			}
			if broken > 0 {
				return fmt.Errorf("%s breaks %d of %d promises", args[0], broken, kept+broken)
			}
			fmt.Fprintf(out, "%s keeps all %d promises\n", args[0], kept)
			return nil
		},
	}
}
