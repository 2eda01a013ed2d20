package rest

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
)

// setting is one of a recipe's settings, as operators write it in config.yaml.
type setting struct {
	name     string
	kind     string // text, secret, number, integer, bool, list, duration
	required bool
	initial  any // the default
	oneOf    []string
	help     string
}

type settingDocument struct {
	Name     string    `yaml:"name"`
	Type     string    `yaml:"type"`
	Secret   bool      `yaml:"secret"`
	Required bool      `yaml:"required"`
	Default  yaml.Node `yaml:"default"`
	OneOf    []string  `yaml:"one_of"`
	Help     string    `yaml:"help"`
}

// Settings that every recipe has.
const (
	baseURLSetting = "base_url"
	timeoutSetting = "timeout"
	reserveSetting = "reserve"
	onDelete       = "on_delete"
)

var goTypes = map[string]reflect.Type{
	"text":     reflect.TypeFor[string](),
	"secret":   reflect.TypeFor[connectors.Secret](),
	"number":   reflect.TypeFor[float64](),
	"integer":  reflect.TypeFor[int](),
	"bool":     reflect.TypeFor[bool](),
	"list":     reflect.TypeFor[[]any](),
	"duration": reflect.TypeFor[time.Duration](),
}

var settingName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// readSettings reads the recipe's own settings and adds those that every recipe has.
func (p *reader) readSettings(d *document, top *yaml.Node) []setting {
	nodes := child(top, "settings")
	var all []setting
	for i, s := range d.Settings {
		node := nodes
		if i < len(nodes.Content) {
			node = nodes.Content[i]
		}
		own := setting{name: s.Name, kind: s.Type, required: s.Required, oneOf: s.OneOf, help: s.Help}
		if own.kind == "" {
			own.kind = "text"
		}
		if s.Secret {
			own.kind = "secret"
		}
		if !s.Default.IsZero() {
			value := reflect.New(goTypes[own.kind])
			if own.kind == "secret" {
				p.problem(node, "settings: %s: a secret has no default", s.Name)
			} else if err := s.Default.Decode(value.Interface()); err != nil {
				p.problem(node, "settings: %s: default: must be %s", s.Name, own.kind)
			}
			own.initial = value.Elem().Interface()
		}
		switch {
		case !settingName.MatchString(s.Name):
			p.problem(node, "settings: %q: a name is of a-z, 0-9 and _", s.Name)
		case slices.Contains([]string{timeoutSetting, reserveSetting, "recipe"}, s.Name), s.Name == baseURLSetting, slices.Contains(p.settings, s.Name):
			p.problem(node, "settings: %s: every recipe has it, or it is there twice", s.Name)
		}
		all = append(all, own)
		p.settings = append(p.settings, s.Name)
	}
	base := setting{name: baseURLSetting, kind: "text", help: "where the API is; empty: " + d.BaseURL.Value}
	if d.BaseURL.IsZero() {
		base.required, base.help = true, "where the API is, such as https://crm.example.com"
	}
	all = append(all, base, setting{name: timeoutSetting, kind: "duration", initial: 30 * time.Second, help: "of one request"})
	p.settings = append(p.settings, baseURLSetting, timeoutSetting)
	if len(d.Limits.Rates) > 0 {
		all = append(all, setting{name: reserveSetting, kind: "number", initial: 0.3, help: "the share of the vendor's limits that is left to your other applications, 0 to 0.9"})
		p.settings = append(p.settings, reserveSetting)
	}
	_, erases := d.Verbs[erase]
	_, deletes := d.Verbs[remove]
	if erases && deletes {
		all = append(all, setting{name: onDelete, kind: "text", initial: remove, oneOf: []string{remove, erase},
			help: "what becomes of the record when its lead is deleted; erase is for good"})
		p.settings = append(p.settings, onDelete)
	}
	return all
}

// structure is a struct value with the settings as fields, holding their defaults, as connectors.Decode reads it.
func (r *Recipe) structure() any {
	var fields []reflect.StructField
	for i, s := range r.settings {
		tags := fmt.Sprintf(`mapstructure:%q help:%q`, s.name, s.help)
		if s.required {
			tags += ` required:"true"`
		}
		if len(s.oneOf) > 0 {
			tags += fmt.Sprintf(` oneof:%q`, strings.Join(s.oneOf, " "))
		}
		fields = append(fields, reflect.StructField{Name: "Setting" + strconv.Itoa(i), Type: goTypes[s.kind], Tag: reflect.StructTag(tags)})
	}
	value := reflect.New(reflect.StructOf(fields)).Elem()
	for i, s := range r.settings {
		if s.initial != nil {
			value.Field(i).Set(reflect.ValueOf(s.initial))
		}
	}
	return value.Interface()
}

// defaults are the settings where the operator sets none.
func (r *Recipe) defaults() map[string]any {
	values := map[string]any{}
	for _, s := range r.settings {
		values[s.name] = s.initial
	}
	return values
}

// given is what an operator set.
type given struct {
	values  map[string]any // by name; secrets in the clear, for templates
	secrets []string
	timeout time.Duration
	reserve float64
	baseURL string
}

// read checks the decoded settings. Problems begin with the setting they are about.
func (r *Recipe) read(decoded reflect.Value) (g given, problems []error) {
	g.values = map[string]any{}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for i, s := range r.settings {
		value := decoded.Field(i).Interface()
		if s.required && decoded.Field(i).IsZero() {
			problem("%s: required%s", s.name, where(s))
		}
		switch v := value.(type) {
		case connectors.Secret:
			g.values[s.name] = v.Reveal()
			if v != "" {
				g.secrets = append(g.secrets, v.Reveal())
			}
		case time.Duration:
			g.values[s.name] = v.String()
		case string:
			g.values[s.name] = v
			if len(s.oneOf) > 0 && (v != "" || s.required) && !slices.Contains(s.oneOf, v) {
				problem("%s: must be %s", s.name, strings.Join(s.oneOf, " or "))
			}
		default:
			g.values[s.name] = v
		}
		switch s.name {
		case timeoutSetting:
			if g.timeout = value.(time.Duration); g.timeout < time.Second || g.timeout > time.Minute+30*time.Second {
				problem("%s: must be from 1s to 90s", s.name)
			}
		case reserveSetting:
			if g.reserve = value.(float64); g.reserve < 0 || g.reserve > 0.9 {
				problem("%s: must be from 0 to 0.9", s.name)
			}
		case baseURLSetting:
			g.baseURL = strings.TrimRight(value.(string), "/")
		}
	}
	return g, problems
}

func where(s setting) string {
	if s.help == "" {
		return ""
	}
	return " (" + s.help + ")"
}
