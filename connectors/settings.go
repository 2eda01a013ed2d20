package connectors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FromEnv is a text that came from the environment, not from YAML, where everything is a text: Decode reads it
// as the type of its setting.
type FromEnv string

// Decode reads raw, as YAML gave it, into the struct that into points to, and reports all problems at once
// (errors.Join), each beginning with its key and none repeating a value: it may be a secret.
//
//   - Keys are the fields' `mapstructure` tags; one that no field has is an error.
//   - A value must have its field's type; nothing is converted, but a time.Duration is written as "30s".
//   - A field that raw does not mention, or mentions without a value, keeps what it holds; lists and mappings
//     are replaced whole.
//   - A Secret x may be given as x_file instead: the file's text, less one line end.
//
// It stands in for mapstructure's own decoder, which reads 1.5 as 1, 30 as 30ns and one value as a list, writes
// into the defaults' lists and mappings, and repeats values in its errors.
func Decode(raw map[string]any, into any) error {
	_, err := decode(raw, into)
	return err
}

// decode is Decode. Its first result says which settings at the top of into are not what the user meant.
func decode(raw map[string]any, into any) (faulty map[string]bool, err error) {
	d := decoder{faulty: map[string]bool{}}
	d.structure("", raw, reflect.ValueOf(into).Elem())
	return d.faulty, errors.Join(d.problems...)
}

type decoder struct {
	problems []error
	faulty   map[string]bool
}

func (d *decoder) problem(key, format string, args ...any) {
	d.problems = append(d.problems, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	d.faulty[setting(key)] = true
}

// setting is the setting at the top that a key or the beginning of an error is about.
func setting(text string) string {
	if end := strings.IndexAny(text, ".[: "); end >= 0 {
		text = text[:end]
	}
	return strings.TrimSuffix(text, "_file")
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
)

func (d *decoder) value(key string, raw any, into reflect.Value) {
	if raw == nil {
		return
	}
	if text, ok := raw.(FromEnv); ok {
		raw = text.as(into.Type())
	}
	given := reflect.ValueOf(raw)
	fits := false
	was := reflect.New(into.Type()).Elem()
	was.Set(into)
	switch kind := into.Kind(); {
	case into.Type() == durationType:
		if text, ok := raw.(string); ok {
			duration, err := time.ParseDuration(text)
			fits = err == nil
			into.SetInt(int64(duration))
		}
	case kind == reflect.Pointer:
		target := reflect.New(into.Type().Elem())
		into.Set(target)
		d.value(key, raw, target.Elem())
		return
	case kind == reflect.Struct:
		if mapping, ok := raw.(map[string]any); ok {
			d.structure(key, mapping, into)
			return
		}
	case kind == reflect.Map:
		if mapping, ok := raw.(map[string]any); ok {
			d.mapping(key, mapping, into)
			return
		}
	case kind == reflect.Slice:
		if list, ok := raw.([]any); ok {
			d.list(key, list, into)
			return
		}
	case kind == reflect.Interface:
		into.Set(reflect.ValueOf(plain(raw)))
		return
	case kind == reflect.String:
		text, ok := raw.(string)
		fits = ok
		into.SetString(text)
	case kind == reflect.Bool:
		yes, ok := raw.(bool)
		fits = ok
		into.SetBool(yes)
	case into.CanInt() && given.CanInt():
		fits = !into.OverflowInt(given.Int())
		into.SetInt(given.Int())
	case into.CanUint() && given.CanInt():
		fits = given.Int() >= 0 && !into.OverflowUint(uint64(given.Int()))
		into.SetUint(uint64(given.Int()))
	case into.CanUint() && given.CanUint():
		fits = !into.OverflowUint(given.Uint())
		into.SetUint(given.Uint())
	case into.CanFloat() && given.CanInt():
		fits = true
		into.SetFloat(float64(given.Int()))
	case into.CanFloat() && given.CanUint():
		fits = true
		into.SetFloat(float64(given.Uint()))
	case into.CanFloat() && given.CanFloat():
		fits = !math.IsNaN(given.Float()) && !math.IsInf(given.Float(), 0)
		into.SetFloat(given.Float())
	}
	if !fits {
		into.Set(was) // no second problem comes of the first
		d.problem(key, "must be %s", wanted(into.Type(), raw))
	}
}

// structure decodes a mapping with known keys.
func (d *decoder) structure(key string, raw map[string]any, into reflect.Value) {
	fields := map[string]reflect.Value{}
	collect(into, fields)
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		place := join(key, name)
		if field, ok := fields[name]; ok {
			d.value(place, raw[name], field)
			continue
		}
		secret, isFile := strings.CutSuffix(name, "_file")
		if field, ok := fields[secret]; isFile && ok && field.Type() == secretType {
			switch {
			case empty(raw[name]):
			case !empty(raw[secret]):
				d.problem(join(key, secret), "give it or %s, not both", name)
			default:
				d.secretFile(place, raw[name], field)
			}
			continue
		}
		known := keysWithFiles(into.Type())
		d.problems = append(d.problems, UnknownKey(place, known))
		d.faulty[setting(join(key, Nearest(name, known)))] = true
	}
}

// mapping decodes a mapping whose keys the user chose. viper has lower-cased them.
func (d *decoder) mapping(key string, raw map[string]any, into reflect.Value) {
	into.Set(reflect.MakeMapWithSize(into.Type(), len(raw)))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		element := reflect.New(into.Type().Elem()).Elem()
		d.value(join(key, name), raw[name], element)
		into.SetMapIndex(reflect.ValueOf(name).Convert(into.Type().Key()), element)
	}
}

func (d *decoder) list(key string, raw []any, into reflect.Value) {
	into.Set(reflect.MakeSlice(into.Type(), len(raw), len(raw)))
	for i, element := range raw {
		d.value(fmt.Sprintf("%s[%d]", key, i), element, into.Index(i))
	}
}

// maxSecretFile is more than any key or service account takes, and keeps a wrong path (/dev/zero) harmless.
const maxSecretFile = 1 << 20

func (d *decoder) secretFile(key string, raw any, into reflect.Value) {
	var path string
	before := len(d.problems)
	if d.value(key, raw, reflect.ValueOf(&path).Elem()); len(d.problems) > before {
		return
	}
	text, err := readFile(path)
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case err != nil:
		var reason *fs.PathError
		if errors.As(err, &reason) {
			err = reason.Err
		}
		d.problem(key, "%s: %v", path, err)
	case text == "":
		d.problem(key, "%s: the file is empty", path)
	default:
		into.SetString(text)
	}
}

func readFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err == nil && len(text) > maxSecretFile {
		err = errors.New("the file is too large for a secret")
	}
	return string(text), err
}

// as reads the text as t wants it; what cannot be read stays a text and is refused as any other.
func (text FromEnv) as(t reflect.Type) any {
	switch {
	case t == durationType:
	case t.Kind() == reflect.Bool:
		if yes, err := strconv.ParseBool(string(text)); err == nil {
			return yes
		}
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		if number, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return number
		}
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		if number, err := strconv.ParseFloat(string(text), 64); err == nil {
			return number
		}
	case t.Kind() == reflect.Pointer:
		return text.as(t.Elem())
	}
	return string(text)
}

// plain is raw as its own copy, every FromEnv a string.
func plain(raw any) any {
	switch v := raw.(type) {
	case FromEnv:
		return string(v)
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = plain(element)
		}
		return list
	case map[string]any:
		mapping := make(map[string]any, len(v))
		for name, element := range v {
			mapping[name] = plain(element)
		}
		return mapping
	}
	return raw
}

func wanted(t reflect.Type, raw any) string {
	switch kind := t.Kind(); {
	case t == durationType:
		return `a duration such as "30s"`
	case kind == reflect.String:
		switch raw.(type) {
		case map[string]any, []any:
			return "text"
		}
		return "text: put it in quotes"
	case kind == reflect.Bool:
		return "true or false"
	case kind >= reflect.Int && kind <= reflect.Int64:
		return "a whole number"
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		return "a whole number, not below 0"
	case kind == reflect.Float32 || kind == reflect.Float64:
		return "a number"
	case kind == reflect.Slice:
		return "a list"
	default:
		return "a mapping"
	}
}

func empty(raw any) bool { return raw == nil || raw == "" || raw == FromEnv("") }

func join(key, name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		name = quoted
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

// collect finds the fields of a struct value by their setting names.
func collect(v reflect.Value, fields map[string]reflect.Value) {
	for i := range v.NumField() {
		switch name, squash := tag(v.Type().Field(i)); {
		case squash:
			collect(v.Field(i), fields)
		case name != "":
			fields[name] = v.Field(i)
		}
	}
}

func tag(field reflect.StructField) (name string, squash bool) {
	name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
	if name == "-" {
		name = ""
	}
	return name, options == "squash"
}

// KeysOf lists the setting names of a struct type, from its mapstructure tags.
func KeysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		switch name, squash := tag(t.Field(i)); {
		case squash:
			keys = append(keys, KeysOf(t.Field(i).Type)...)
		case name != "":
			keys = append(keys, name)
		}
	}
	return keys
}

// keysWithFiles is KeysOf, and x_file after each Secret x.
func keysWithFiles(t reflect.Type) []string {
	fields := map[string]reflect.Value{}
	collect(reflect.New(t).Elem(), fields)
	var keys []string
	for _, key := range KeysOf(t) {
		keys = append(keys, key)
		if fields[key].Type() == secretType {
			keys = append(keys, key+"_file")
		}
	}
	return keys
}

// UnknownKey is the error for a key that is none of known; it names the nearest of them. Of a key with dots, the
// last part is compared.
func UnknownKey(key string, known []string) error {
	if nearest := Nearest(key[strings.LastIndexByte(key, '.')+1:], known); nearest != "" {
		return fmt.Errorf("%s: unknown setting, did you mean %s?", key, nearest)
	}
	return fmt.Errorf("%s: unknown setting (known: %s)", key, strings.Join(known, ", "))
}

// Nearest returns the one of known that word most looks like a slip of, or "".
func Nearest(word string, known []string) string {
	best, distance := "", 1+(len(word)+1)/2
	for _, k := range known {
		if d := editDistance(word, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance of two short names.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, previous+1, row[j]+1)
		}
	}
	return row[len(b)]
}
