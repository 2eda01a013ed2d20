package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/viper"

	"github.com/leadrelay/leadrelay/connectors"
)

const prefix = "LEADRELAY_"

// environment is the process's environment. An empty variable counts as one that is not set: that is what
// `NAME: ${NAME:-}` in a compose file makes of it.
func environment() map[string]string {
	variables := map[string]string{}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			variables[name] = value
		}
	}
	return variables
}

// setting is one that a LEADRELAY_ variable can give.
type setting struct {
	section, key string // section is "" at the top
	other        string // the other of x and x_file, or ""
}

func (s setting) path() string {
	if s.section == "" {
		return s.key
	}
	return s.section + "." + s.key
}

func (s setting) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.path(), ".", "_"))
}

// settings lists them all, lists excepted: their entries have no names of their own.
func settings() []setting {
	var all []setting
	var add func(section string, t reflect.Type)
	add = func(section string, t reflect.Type) {
		for i := range t.NumField() {
			field := t.Field(i)
			switch key := field.Tag.Get("mapstructure"); {
			case key == "-" || field.Type.Kind() == reflect.Slice:
			case field.Type.Kind() == reflect.Struct:
				add(key, field.Type)
			case field.Type == reflect.TypeFor[connectors.Secret]():
				all = append(all, setting{section, key, key + "_file"}, setting{section, key + "_file", key})
			default:
				all = append(all, setting{section, key, ""})
			}
		}
	}
	add("", reflect.TypeFor[Config]())
	return all
}

// override puts the variables that are settings above the file's settings.
func (l *loader) override(v *viper.Viper) map[string]any {
	l.fromEnv = map[string]string{}
	for _, s := range settings() {
		value, given := l.environment[s.variable()]
		if !given {
			continue
		}
		l.used[s.variable()] = true
		if _, mapping := v.Get(s.section).(map[string]any); s.section != "" && v.InConfig(s.section) && !mapping {
			continue // decoding says what is wrong with the section
		}
		v.Set(strings.ReplaceAll(s.path(), ".", delimiter), connectors.FromEnv(value))
		l.fromEnv[s.path()] = s.variable()
	}
	document := v.AllSettings()
	for _, s := range settings() {
		// A variable for x replaces the file's x_file, and the other way round.
		other := setting{section: s.section, key: s.other}
		if mapping, ok := document[s.section].(map[string]any); ok && l.fromEnv[other.path()] != "" && l.fromEnv[s.path()] == "" {
			delete(mapping, s.key)
		}
	}
	return document
}

var (
	namePattern = regexp.MustCompile(`^\{([A-Za-z_][A-Za-z0-9_]*)\}`)

	// kubernetesPattern is what Kubernetes sets for a Service called leadrelay, or leadrelay-something
	// (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
	kubernetesPattern = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)$`)
)

// errUnset is a ${NAME} without a value.
type errUnset struct{ name string }

func (e errUnset) Error() string {
	return fmt.Sprintf("the environment variable %s is not set", e.name)
}

// substitute replaces each ${NAME} in text; $${ stands for ${. The result is a FromEnv if anything was replaced.
func (l *loader) substitute(text string) (any, error) {
	var out strings.Builder
	replaced := false
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			break
		}
		text = after
		switch name := namePattern.FindStringSubmatch(text); {
		case strings.HasPrefix(text, "${"):
			out.WriteString("${")
			text = text[2:]
		case name != nil:
			value, ok := l.environment[name[1]]
			if !ok {
				return nil, errUnset{name[1]}
			}
			out.WriteString(value)
			text = text[len(name[0]):]
			replaced = true
		case strings.HasPrefix(text, "{"):
			return nil, fmt.Errorf(`"${" begins the name of an environment variable, as in ${NAME}; write "$${" for the characters themselves`)
		default:
			out.WriteByte('$')
		}
	}
	if replaced {
		return connectors.FromEnv(out.String()), nil
	}
	return out.String(), nil
}

// expand substitutes in all strings below value. Values, not YAML: what a variable holds is never parsed.
func (l *loader) expand(place, key string, value any) any {
	switch v := value.(type) {
	case string:
		result, err := l.substitute(v)
		if err != nil {
			l.problem(place, "%s: %w", key, err)
			l.faulty[place+key] = true
			return nil
		}
		return result
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = l.expand(place, fmt.Sprintf("%s[%d]", key, i), element)
		}
		return list
	case map[string]any:
		mapping := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			below := name
			if key != "" {
				below = key + "." + name
			}
			mapping[name] = l.expand(place, below, v[name])
		}
		return mapping
	}
	return value
}

// note remembers the variables the document names, also where this process does not need their values.
func (l *loader) note(value any) {
	switch v := value.(type) {
	case string:
		for _, part := range strings.Split(v, "$")[1:] {
			if name := namePattern.FindStringSubmatch(part); name != nil {
				l.used[name[1]] = true
			}
		}
	case []any:
		for _, element := range v {
			l.note(element)
		}
	case map[string]any:
		for _, element := range v {
			l.note(element)
		}
	}
}

// strays warns of LEADRELAY_ variables that change nothing.
func (l *loader) strays() []string {
	var known, warnings []string // without the prefix, which would make any two names look alike
	for _, s := range settings() {
		known = append(known, strings.TrimPrefix(s.variable(), prefix))
	}
	for variable := range l.environment {
		name, ours := strings.CutPrefix(variable, prefix)
		if !ours || l.used[variable] || slices.Contains(known, name) || kubernetesPattern.MatchString(variable) {
			continue
		}
		text := "not a setting, and the file does not name it"
		if list := listOf(name); list != "" {
			text = "not a setting: " + list + " are set in the file, where ${NAME} stands for a variable's value"
		} else if nearest := connectors.Nearest(strings.ToUpper(name), known); nearest != "" {
			text = "not a setting, did you mean " + prefix + nearest + "?"
		}
		warnings = append(warnings, variable+": "+text)
	}
	slices.Sort(warnings)
	return warnings
}

// listOf returns the list of the file that a name without prefix seems to mean, or "".
func listOf(name string) string {
	for _, list := range namedLists {
		if strings.HasPrefix(strings.ToLower(name)+"_", strings.ReplaceAll(list, ".", "_")+"_") {
			return list
		}
	}
	return ""
}
