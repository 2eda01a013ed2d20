package config_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
)

// values are what settings come to hold.
var values = []any{
	"plain", "", "yes", "null", "12", "1e3", "a: b", "a #b", " lead", "trail ", "it's", `say "x"`, "{a}", "[a, b]", "${KEY}", "*x", "&x", "!x",
	"- x", "? x", "one\ntwo", "one\n\n  two\n", "\n lead", "end\n\n", "a\r\nb", "tab\tbed", "ünï—☃", "a\u2028b", "\u0085", "%", "@", "`", "|", ">",
	7, -1, 1.5, true, false, []any{"a", 1}, []any{}, map[string]any{"k": "v", "l": []any{map[string]any{"m": "n\no"}}}, map[string]any{},
	"# x", "x:", ":x", "---", "...", "2026-01-01", "~", "<<", "0x10", "0o7", ",", "a,b", "a}b",
}

// drawn makes files, each comment of which is another.
type drawn struct {
	*rand.Rand
	comments int
}

func (d *drawn) of(options ...string) string { return options[d.IntN(len(options))] }

func (d *drawn) comment() string {
	d.comments++
	return fmt.Sprintf("# c%d.", d.comments)
}

// maybe is a comment, or nothing.
func (d *drawn) maybe(before string) string {
	if d.IntN(3) > 0 {
		return ""
	}
	return before + d.comment()
}

func (d *drawn) text() string {
	return d.of("x", `"x # y"`, "'it''s # x'", "${KEY}", "a b", "[1, 'b']", "{k: v, l: {m: n}}", "12", "", "~", `"a \" # b"`, "https://x/#y")
}

// file is a file with some entries, and what of it is the line of which setting.
func (d *drawn) file() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+d.of("", "", " ")+"\n", args...) }
	outer, inner := d.of("", "  ", "    "), d.of("  ", "    ")
	line("listen: 127.0.0.1:1%s", d.maybe(" "))
	line("%s", d.maybe(""))
	line("connectors:%s", d.maybe("  "))
	for i := range 1 + d.IntN(3) {
		if d.IntN(2) == 0 {
			line("%s%s", outer, d.comment())
		}
		key := outer + "  "
		switch d.IntN(5) {
		case 0:
			line("%s- {name: e%d, type: csv, settings: {path: x, size: %s}, when: 'a, b'}%s", outer, i, d.of("1", "'}'", "[1]"), d.maybe(" "))
			continue
		case 1:
			line("%s-%s", outer, d.maybe(" "))
			line("%sname: e%d%s", key, i, d.maybe(" "))
		default:
			line("%s- name: e%d%s", outer, i, d.maybe("  "))
		}
		line("%stype:%s%s%s", key, d.of(" ", "\t", "   "), d.of("csv", `"csv"`, "'csv'"), d.maybe(" "))
		if d.IntN(2) == 0 {
			line("%swhen: %s%s", key, d.of(`source == "x"`, "'a == \"b: #\"'", "\"a\\\n"+key+"   b\"", "a and\n"+key+"    b", "|-\n"+key+"  a\n\n"+key+"   # b"), "")
		}
		if d.IntN(4) > 0 {
			line("%ssettings:%s", key, d.maybe(" "))
			for _, name := range []string{"path", "size", "body", "more"}[:1+d.IntN(4)] {
				line("%s%s%s: %s%s", key, inner, name, d.text(), d.maybe(" "))
				if d.IntN(5) == 0 {
					line("%s%s%s", key, inner, d.comment())
				}
			}
		}
		if d.IntN(2) == 0 {
			dash := key + d.of("", "  ")
			line("%sfields:%s", key, d.maybe(" "))
			for _, field := range []string{"A", "B", "C"} {
				if d.IntN(2) == 0 {
					line("%s- {to: %s, from: name}%s", dash, field, d.maybe(" "))
				} else {
					line("%s- to: %s%s", dash, field, d.maybe(" "))
					line("%s  value: [1, %s]", dash, field)
				}
			}
		}
		line("%s", d.maybe(""))
	}
	if d.IntN(2) == 0 {
		line("data_dir: data")
	}
	text := b.String()
	if d.IntN(3) == 0 {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if d.IntN(4) == 0 {
		text = strings.TrimRight(text, " \r\n")
	}
	return text
}

// change changes one or some things of an entry; it returns what of a text goes with that.
func (d *drawn) change(e config.ConnectorEntry) config.ConnectorEntry {
	e.Settings, e.Fields = maps.Clone(e.Settings), slices.Clone(e.Fields)
	if e.Settings == nil {
		e.Settings = map[string]any{}
	}
	for range 1 + d.IntN(3) {
		value := values[d.IntN(len(values))]
		switch d.IntN(7) {
		case 0:
			e.Name = "other"
		case 1:
			e.When, _ = value.(string)
		case 2, 3:
			e.Settings[d.of("path", "size", "body", "new", "yes", "a b", "1")] = value
		case 4:
			e.Other = map[string]any{"retry": map[string]any{"max": "1m"}, "concurrency": 1 + d.IntN(9)}
		case 5:
			e.Fields = append(e.Fields, connectors.FieldRule{To: fmt.Sprint("F", len(e.Fields)), Template: "a, {{.name}}\n" + fmt.Sprint(value)})
		case 6:
			if len(e.Fields) > 0 {
				e.Fields[d.IntN(len(e.Fields))] = connectors.FieldRule{To: "Z", From: "email"}
			}
		}
	}
	return e
}

// said is an entry as far as its meaning goes.
func said(e config.ConnectorEntry) string {
	if len(e.Settings) == 0 {
		e.Settings = nil
	}
	if len(e.Other) == 0 {
		e.Other = nil
	}
	return fmt.Sprintf("%#v", []any{e.Name, e.Type, e.When, e.Settings, e.Fields, e.Fields == nil, e.Other})
}

// saidElsewhere is what a text says beside its connectors.
func saidElsewhere(t *testing.T, text []byte) string {
	t.Helper()
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for key := range document {
		if strings.EqualFold(key, "connectors") {
			delete(document, key)
		}
	}
	if len(document) == 0 {
		return "" // whether there is one or none
	}
	return fmt.Sprintf("%#v", document)
}

// wantEdited says whether an edit did what it was asked for and left everything else: before is what there was, after what
// there is, want the entries.
func wantEdited(t *testing.T, before, after []byte, want []config.ConnectorEntry) {
	t.Helper()
	got, err := config.ReadConnectors(after)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(a, b config.ConnectorEntry) bool { return said(a) == said(b) }) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
	if saidElsewhere(t, before) != saidElsewhere(t, after) {
		t.Fatal("something else says something else")
	}
}

// comments lists the comments of a drawn file in their order, but for those on lines that are gone.
func comments(text string) (all []string) {
	for _, part := range strings.Split(text, "# c")[1:] {
		if number, _, found := strings.Cut(part, "."); found {
			all = append(all, number)
		}
	}
	return all
}

// Files of all the styles that people write, and all that a form can make of them: no edit of these is refused, and no
// comment is lost where nothing is removed.
func TestEveryStyleCanBeEdited(t *testing.T) {
	for seed := range uint64(1000) {
		d := &drawn{Rand: rand.New(rand.NewPCG(seed, 1))}
		before := []byte(d.file())
		entries, err := config.ReadConnectors(before)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, before)
		}
		i := d.IntN(len(entries))
		want := slices.Clone(entries)
		want[i] = d.change(entries[i])
		after, err := config.SetConnector(before, entries[i].Name, want[i])
		if err != nil {
			t.Fatalf("seed %d: %v\n%q\n%+v", seed, err, before, want[i])
		}
		wantEdited(t, before, after, want)
		if had, has := comments(string(before)), comments(string(after)); !slices.Equal(had, has) {
			t.Fatalf("seed %d: a comment is lost\n%s", seed, config.Diff(before, after))
		}
		if strings.Contains(string(before), "\r\n") != strings.Contains(string(after), "\r\n") {
			t.Fatalf("seed %d: the lines end otherwise", seed)
		}

		added, err := config.SetConnector(after, "", d.change(config.ConnectorEntry{Name: "new", Type: "csv"}))
		if err != nil && !strings.Contains(err.Error(), "already") {
			t.Fatalf("seed %d: %v\n%s", seed, err, after)
		}
		if err == nil && !slices.Equal(comments(string(added)), comments(string(before))) {
			t.Fatalf("seed %d: a comment is lost\n%s", seed, config.Diff(after, added))
		}
		removed, err := config.RemoveConnector(after, want[i].Name)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, after)
		}
		wantEdited(t, before, removed, slices.Delete(slices.Clone(want), i, i+1))
	}
}

func FuzzSetConnector(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(files, shipped) {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint64(1), "a: b\n #c")
	}
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		f.Add([]byte(edits[name].before), uint64(2), "x")
	}
	f.Fuzz(func(t *testing.T, before []byte, seed uint64, value string) {
		entries, err := config.ReadConnectors(before)
		if err != nil {
			return
		}
		d := &drawn{Rand: rand.New(rand.NewPCG(seed, 1))}
		for i, entry := range entries {
			if entry.Name == "" {
				continue // "" is one that is to be added
			}
			if same, err := config.SetConnector(before, entry.Name, entry); err == nil && string(same) != string(before) {
				t.Fatalf("an edit that changes nothing changed\n%s", config.Diff(before, same))
			}
			want := slices.Clone(entries)
			want[i] = d.change(entry)
			want[i].Settings["fuzz"] = value
			if after, err := config.SetConnector(before, entry.Name, want[i]); err == nil {
				wantEdited(t, before, after, want)
			}
			if after, err := config.RemoveConnector(before, entry.Name); err == nil {
				wantEdited(t, before, after, slices.Delete(slices.Clone(entries), i, i+1))
			}
		}
		added := config.ConnectorEntry{Name: "fuzz", Type: value, Settings: map[string]any{"fuzz": value}}
		if after, err := config.SetConnector(before, "", added); err == nil {
			wantEdited(t, before, after, append(entries, added))
		}
	})
}
