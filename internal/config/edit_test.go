package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
)

// entryOf is the entry of a name in a text.
func entryOf(t *testing.T, text, name string) config.ConnectorEntry {
	t.Helper()
	entries, err := config.ReadConnectors([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name == name {
			return entry
		}
	}
	t.Fatalf("no connector %q", name)
	return config.ConnectorEntry{}
}

// edited is a text with the entry of a name changed by change.
func edited(t *testing.T, text, name string, change func(*config.ConnectorEntry)) string {
	t.Helper()
	entry := entryOf(t, text, name)
	change(&entry)
	result, err := config.SetConnector([]byte(text), name, entry)
	if err != nil {
		t.Fatal(err)
	}
	return string(result)
}

// edits are changes of the entry a, and what becomes of the text.
var edits = map[string]struct {
	before string
	change func(*config.ConnectorEntry)
	after  string
}{
	"a value, in its place, before its comment": {
		"listen: x\nconnectors:\n  # about a\n  - name: a   # its name\n    type: csv\n    settings:\n      path: old   # where\n      bom: true\n\n  #- name: b\n",
		func(e *config.ConnectorEntry) { e.Settings["path"] = "new" },
		"listen: x\nconnectors:\n  # about a\n  - name: a   # its name\n    type: csv\n    settings:\n      path: new   # where\n      bom: true\n\n  #- name: b\n",
	},
	"a new name": {
		"connectors:\n- name: a # c\n  type: csv\n",
		func(e *config.ConnectorEntry) { e.Name = "b" },
		"connectors:\n- name: b # c\n  type: csv\n",
	},
	"a setting more, behind the others": {
		"connectors:\n  - name: a\n    type: csv\n    settings:\n        path: x # where\n    retry: {max: 1m}\n",
		func(e *config.ConnectorEntry) { e.Settings["list_id"] = "a1" },
		"connectors:\n  - name: a\n    type: csv\n    settings:\n        path: x # where\n        list_id: a1\n    retry: {max: 1m}\n",
	},
	"a setting less, and its line with it": {
		"connectors:\n  - name: a\n    type: csv\n    settings:\n      path: x\n      # about bom\n      bom: true # yes\n      size: 1\n",
		func(e *config.ConnectorEntry) { delete(e.Settings, "bom") },
		"connectors:\n  - name: a\n    type: csv\n    settings:\n      path: x\n      # about bom\n      size: 1\n",
	},
	"the last setting replaced by another": {
		"connectors:\n  - name: a\n    settings: # all\n      path: x\n    type: csv\n",
		func(e *config.ConnectorEntry) { e.Settings = map[string]any{"url": "new"} },
		"connectors:\n  - name: a\n    settings:\n      url: new\n    type: csv\n",
	},
	"no settings any more": {
		"connectors:\n  - name: a\n    settings:\n      path: x\n    type: csv\n",
		func(e *config.ConnectorEntry) { e.Settings = nil },
		"connectors:\n  - name: a\n    type: csv\n",
	},
	"parts of an entry, in the order of the examples": {
		"connectors:\n  - name: a\n    type: csv\n    breaker: {failures: 3}\n",
		func(e *config.ConnectorEntry) {
			e.When = `source == "web: site" && note != "#"`
			e.Fields = []connectors.FieldRule{{To: "A", From: "name"}, {To: "B", Template: "{{.name}}, {{.email}}"}, {To: "C", Value: 7}}
			e.Settings = map[string]any{"key": "${KEY}", "deep": map[string]any{"b": []any{1, "1"}}}
			e.Other["limits"] = map[string]any{"rate": 1, "per": "1s"}
		},
		"connectors:\n  - name: a\n    type: csv\n    when: 'source == \"web: site\" && note != \"#\"'\n    settings:\n      deep:\n        b:\n          - 1\n          - \"1\"\n      key: ${KEY}\n" +
			"    fields:\n      - {to: A, from: name}\n      - {to: B, template: '{{.name}}, {{.email}}'}\n      - {to: C, value: 7}\n    breaker: {failures: 3}\n    limits: {per: 1s, rate: 1}\n",
	},
	"texts that would be something else without quotes": {
		"connectors:\n  - name: a\n    settings: {}\n    type: csv\n",
		func(e *config.ConnectorEntry) {
			e.Settings = map[string]any{"a": "yes", "b": "1e3", "c": "", "d": "*x", "e": "a: b", "f": " x", "g": "null", "h": "# x", "i": "a\tb", "j": "2026-01-01"}
		},
		"connectors:\n  - name: a\n    settings:\n      a: \"yes\"\n      b: \"1e3\"\n      c: \"\"\n      d: '*x'\n      e: 'a: b'\n      f: ' x'\n      g: \"null\"\n      h: '# x'\n      i: \"a\\tb\"\n      j: \"2026-01-01\"\n    type: csv\n",
	},
	"quotes stay quotes": {
		"connectors:\n  - name: \"a\"\n    type: csv\n    when: \"source == 'x'\"  # which\n    settings: {path: 'old'}\n",
		func(e *config.ConnectorEntry) { e.When, e.Settings["path"] = `note == "new"`, "it's" },
		"connectors:\n  - name: \"a\"\n    type: csv\n    when: \"note == \\\"new\\\"\"  # which\n    settings: {path: 'it''s'}\n",
	},
	"a text of several lines": {
		"connectors:\n  - name: a\n    type: smtp\n    settings:\n      body: short  # of the mail\n      to: x\n",
		func(e *config.ConnectorEntry) { e.Settings["body"] = "Dear you,\n\n  a lead: # {{.name}}\n" },
		"connectors:\n  - name: a\n    type: smtp\n    settings:\n      body: |  # of the mail\n        Dear you,\n\n          a lead: # {{.name}}\n      to: x\n",
	},
	"a text of several lines becomes another": {
		"connectors:\n  - name: a\n    type: smtp\n    settings:\n      body: |\n        # old\n\n        more\n      # about to\n      to: x\n",
		func(e *config.ConnectorEntry) { e.Settings["body"] = "new" },
		"connectors:\n  - name: a\n    type: smtp\n    settings:\n      body: new\n      # about to\n      to: x\n",
	},
	"a text of a browser, whose lines end otherwise": {
		"connectors:\n  - name: a\n    type: smtp\n    settings: {body: x}\n",
		func(e *config.ConnectorEntry) { e.Settings["body"] = "one\r\ntwo" },
		"connectors:\n  - name: a\n    type: smtp\n    settings: {body: \"one\\r\\ntwo\"}\n",
	},
	"a value that took several lines": {
		"connectors:\n  - name: a\n    type: csv\n    when: source == \"a\"\n      and name != \"b\"   # which\n    settings:\n      path: \"a\n        b\"\n      key:\n        c\n",
		func(e *config.ConnectorEntry) { e.When, e.Settings["path"], e.Settings["key"] = "true", "x", "new" },
		"connectors:\n  - name: a\n    type: csv\n    when: \"true\"   # which\n    settings:\n      path: \"x\"\n      key: new\n",
	},
	"an expression gone": {
		"connectors:\n  - when: true == true\n    name: a\n    type: csv\n",
		func(e *config.ConnectorEntry) { e.When = "" },
		"connectors:\n  - name: a\n    type: csv\n",
	},
	"what says nothing stays": {
		"connectors:\n  - name: a\n    type: csv\n    when: ''\n    settings:   # none\n    fields: []\n",
		func(e *config.ConnectorEntry) { e.Type = "xlsx" },
		"connectors:\n  - name: a\n    type: xlsx\n    when: ''\n    settings:   # none\n    fields: []\n",
	},
	"a key without a value gets one": {
		"connectors:\n  - name: a\n    type: csv\n    when:   # all\n    settings:\n      path:\n      key: # c\n",
		func(e *config.ConnectorEntry) { e.When, e.Settings["path"], e.Settings["key"] = "x", "new", "z" },
		"connectors:\n  - name: a\n    type: csv\n    when: x   # all\n    settings:\n      path: new\n      key: z # c\n",
	},
	"one rule of several": {
		"connectors:\n  - name: a\n    type: csv\n    fields:   # the columns\n      - {to: A, from: name}   # first\n      # second\n      - {to: B, from: email}  # b\n      - to: C\n        value: [1, 2]\n",
		func(e *config.ConnectorEntry) { e.Fields[1] = connectors.FieldRule{To: "B", Template: "{{.email}}"} },
		"connectors:\n  - name: a\n    type: csv\n    fields:   # the columns\n      - {to: A, from: name}   # first\n      # second\n      - {to: B, template: '{{.email}}'}  # b\n      - to: C\n        value: [1, 2]\n",
	},
	"a rule more and a rule less": {
		"connectors:\n- name: a\n  type: csv\n  fields:\n  - {to: A, from: name}   # first\n  - {to: B, from: email}  # b\n  - {to: C, from: note}  # c\n  retry: {max: 1m}\n",
		func(e *config.ConnectorEntry) {
			e.Fields = append(e.Fields[:1:1], e.Fields[2], connectors.FieldRule{To: "D", From: "source"})
		},
		"connectors:\n- name: a\n  type: csv\n  fields:\n  - {to: A, from: name}   # first\n  - {to: C, from: note}  # b\n  - {to: D, from: source}  # c\n  retry: {max: 1m}\n",
	},
	"a rule before the others": {
		"connectors:\n  - name: a\n    type: csv\n    fields:\n      - to: A\n        from: name\n",
		func(e *config.ConnectorEntry) {
			e.Fields = append([]connectors.FieldRule{{To: "Z", From: "note"}}, e.Fields...)
		},
		"connectors:\n  - name: a\n    type: csv\n    fields:\n      - to: Z\n        from: note\n      - to: A\n        from: name\n",
	},
	"rules gone, so that none is mapped": {
		"connectors:\n  - name: a\n    type: csv\n    fields:\n      - {to: A, from: name}\n",
		func(e *config.ConnectorEntry) { e.Fields = []connectors.FieldRule{} },
		"connectors:\n  - name: a\n    type: csv\n    fields: []\n",
	},
	"an entry in braces": {
		"connectors:\n  - {name: a, type: csv, settings: {path: x, bom: true}, when: 'y'} # short\n  - {name: b, type: csv}\n",
		func(e *config.ConnectorEntry) {
			delete(e.Settings, "path")
			e.Settings["key"], e.When, e.Other = "a, {b}", "", map[string]any{"concurrency": 2}
		},
		"connectors:\n  - {name: a, type: csv, settings: {bom: true, key: 'a, {b}'}, concurrency: 2} # short\n  - {name: b, type: csv}\n",
	},
	"braces over several lines": {
		"connectors: [\n  {name: a, # c\n   type: csv,\n   settings: {\n     path: x, # where\n   }},\n]\n",
		func(e *config.ConnectorEntry) { e.Settings["path"] = "new"; e.Settings["z"] = 1 },
		"connectors: [\n  {name: a, # c\n   type: csv,\n   settings: {\n     path: new, z: 1, # where\n   }},\n]\n",
	},
	"a line's end as on Windows": {
		"\ufeffconnectors:\r\n  - name: a\r\n    type: csv\r\n    settings:\r\n      path: x # c\r\n",
		func(e *config.ConnectorEntry) { e.Settings["path"] = "new"; e.Settings["body"] = "a\nb" },
		"\ufeffconnectors:\r\n  - name: a\r\n    type: csv\r\n    settings:\r\n      path: new # c\r\n      body: |-\r\n        a\r\n        b\r\n",
	},
	"no line's end": {
		"connectors:\n  - name: a\n    type: csv",
		func(e *config.ConnectorEntry) { e.Settings = map[string]any{"path": "new"} },
		"connectors:\n  - name: a\n    type: csv\n    settings:\n      path: new",
	},
	"keys in upper case": {
		"Connectors:\n  - Name: a\n    Type: csv\n    Settings: {Path: x}\n    Fields:\n      - {To: A, From: name}\n",
		func(e *config.ConnectorEntry) { e.Settings["Path"] = "new" },
		"Connectors:\n  - Name: a\n    Type: csv\n    Settings: {Path: new}\n    Fields:\n      - {To: A, From: name}\n",
	},
	"a value of its own in the place of a merged one": {
		"x: &x {retry: {max: 1m}, type: csv}\nconnectors:\n  - <<: *x\n    name: a\n  - <<: *x\n    name: b\n",
		func(e *config.ConnectorEntry) { e.Type = "xlsx" },
		"x: &x {retry: {max: 1m}, type: csv}\nconnectors:\n  - <<: *x\n    name: a\n    type: xlsx\n  - <<: *x\n    name: b\n",
	},
	"a value of its own in the place of an alias": {
		"connectors:\n  - name: b\n    settings: &s {path: x}\n  - name: a\n    settings: *s # the same\n",
		func(e *config.ConnectorEntry) { e.Settings["path"] = "new" },
		"connectors:\n  - name: b\n    settings: &s {path: x}\n  - name: a\n    settings: # the same\n      path: new\n",
	},
	"a dash by itself": {
		"connectors:\n  -\n    # about a\n    name: a\n    type: csv\n  - # about b\n    name: b\n",
		func(e *config.ConnectorEntry) { e.Type = "xlsx" },
		"connectors:\n  -\n    # about a\n    name: a\n    type: xlsx\n  - # about b\n    name: b\n",
	},
	"tabs between": {
		"connectors:\n  - name:\ta\n    type:\tcsv\t# c\n",
		func(e *config.ConnectorEntry) { e.Type = "xlsx" },
		"connectors:\n  - name:\ta\n    type:\txlsx\t# c\n",
	},
}

func TestAnEditChangesWhatDiffersAndNothingElse(t *testing.T) {
	for name, e := range edits {
		t.Run(name, func(t *testing.T) {
			equal(t, "text", edited(t, e.before, "a", e.change), e.after)
			equal(t, "an edit that changes nothing", edited(t, e.before, "a", func(*config.ConnectorEntry) {}), e.before)
		})
	}
}

func TestConnectorsAreReadAsTheyAreWritten(t *testing.T) {
	entries, err := config.ReadConnectors([]byte(`
x: &x {retry: {max: 1m}}
connectors:
  - <<: *x
    Name: a
    type: mailchimp
    when: source == "${SOURCE}"
    settings: {Api_Key: "${KEY}", timeout: 30s, n: 1, list: [a, true], text: "$${x}"}
    fields: [{To: A, from: name}, {to: B, value: 7}]
    Concurrency: 3
  - name: b
    settings:
    fields: []
`))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "entries", entries, []config.ConnectorEntry{
		{
			Name: "a", Type: "mailchimp", When: `source == "${SOURCE}"`,
			Settings: map[string]any{"Api_Key": "${KEY}", "timeout": "30s", "n": 1, "list": []any{"a", true}, "text": "$${x}"},
			Fields:   []connectors.FieldRule{{To: "A", From: "name"}, {To: "B", Value: 7}},
			Other:    map[string]any{"retry": map[string]any{"max": "1m"}, "concurrency": 3},
		},
		{Name: "b", Fields: []connectors.FieldRule{}},
	})
	for _, text := range []string{"", "# nothing\n", "connectors:\n", "connectors: []\n", "listen: x\n", "---\n"} {
		if entries, err := config.ReadConnectors([]byte(text)); len(entries) != 0 || err != nil {
			t.Errorf("%q: got %v, %v", text, entries, err)
		}
	}
}

func TestANewConnectorIsTheLast(t *testing.T) {
	added := "name: new\n    type: csv\n    settings:\n      path: x\n"
	for name, texts := range map[string][2]string{
		"of none":                        {"", "connectors:\n  - " + added},
		"of a file of comments":          {"# a\n", "# a\nconnectors:\n  - " + added},
		"of no key":                      {"listen: x", "listen: x\n\nconnectors:\n  - " + added},
		"of no key, and comments":        {"listen: x\n# end\n", "listen: x\n# end\n\nconnectors:\n  - " + added},
		"of a key without a value":       {"connectors: # all\nlisten: x\n", "connectors: # all\n  - " + added + "\nlisten: x\n"},
		"of a key before examples":       {"connectors:\n  # An example.\n  #- name: x\n", "connectors:\n  - " + added + "\n  # An example.\n  #- name: x\n"},
		"of a null":                      {"connectors: ~ # c\n", "connectors: # c\n  - " + added},
		"of an empty list":               {"connectors: []   # c\n\nlisten: x\n", "connectors:   # c\n  - " + added + "\nlisten: x\n"},
		"of one":                         {"connectors:\n  - name: a\n    settings:\n      path: y\n      # more: 1\n\n  #- name: b\nlisten: x\n", "connectors:\n  - name: a\n    settings:\n      path: y\n      # more: 1\n\n  - " + added + "\n  #- name: b\nlisten: x\n"},
		"of two without a line between":  {"connectors:\n  - name: a\n  - name: b", "connectors:\n  - name: a\n  - name: b\n  - " + strings.TrimSuffix(added, "\n")},
		"of two with a line between":     {"connectors:\n  - name: a\n\n  - name: b\n", "connectors:\n  - name: a\n\n  - name: b\n\n  - " + added},
		"of a list that is not indented": {"connectors:\n- name: a\n- name: b\nlisten: x\n", "connectors:\n- name: a\n- name: b\n- " + strings.ReplaceAll(added, "\n  ", "\n") + "listen: x\n"},
		"of a list in brackets":          {"connectors: [{name: a}, {name: b}, ] # c\n", "connectors: [{name: a}, {name: b}, {name: new, settings: {path: x}, type: csv}, ] # c\n"},
		"of a file of Windows":           {"connectors:\r\n  - name: a\r\n  - name: b\r\n", strings.ReplaceAll("connectors:\n  - name: a\n  - name: b\n  - "+added, "\n", "\r\n")},
		"of a text that ends a file":     {"connectors:\n  - name: a\n  - name: b\n    settings:\n      body: |+\n        # x\n\n\n", "connectors:\n  - name: a\n  - name: b\n    settings:\n      body: |+\n        # x\n\n\n  - " + added},
	} {
		t.Run(name, func(t *testing.T) {
			entry := config.ConnectorEntry{Name: "new", Type: "csv", Settings: map[string]any{"path": "x"}}
			text, err := config.SetConnector([]byte(texts[0]), "", entry)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "text", string(text), texts[1])
		})
	}
}

func TestRemovedConnectorsLeaveTheRest(t *testing.T) {
	for name, texts := range map[string][2]string{
		"the first":                            {"connectors:\n  # about a\n  - name: a # c\n    settings:\n      path: x\n      # more\n\n  # about b\n  - name: b\n", "connectors:\n  # about a\n\n  # about b\n  - name: b\n"},
		"the last":                             {"connectors:\n  - name: b\n\n  - name: a\n    fields:\n      - {to: A, from: name}\n\n  #- name: c\n", "connectors:\n  - name: b\n\n  #- name: c\n"},
		"the only one":                         {"connectors: # all\n- name: a\n  type: csv\nlisten: x\n", "connectors: # all\nlisten: x\n"},
		"at the end of the file":               {"connectors:\n- name: b\n- name: a\n  type: csv", "connectors:\n- name: b"},
		"of a list in brackets":                {"connectors: [{name: a}, {name: b}]\n", "connectors: [{name: b}]\n"},
		"last of a list in brackets":           {"connectors: [{name: b}, {name: a}] # c\n", "connectors: [{name: b}] # c\n"},
		"only one of brackets":                 {"connectors: [{name: a}]\n", "connectors: []\n"},
		"in braces":                            {"connectors:\n  - {name: a,\n     type: csv} # c\n  - {name: b}\n", "connectors:\n  - {name: b}\n"},
		"on Windows":                           {"connectors:\r\n  - name: b\r\n  - name: a\r\n    type: csv\r\nlisten: x\r\n", "connectors:\r\n  - name: b\r\nlisten: x\r\n"},
		"with a text that looks like comments": {"connectors:\n  - name: a\n    settings:\n      body: |\n        # x\n\n        # y\n  # z\n  - name: b\n", "connectors:\n  # z\n  - name: b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := config.RemoveConnector([]byte(texts[0]), "a")
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "text", string(text), texts[1])
		})
	}
}

// What comes and goes again leaves no trace.
func TestAddedAndRemovedIsAsBefore(t *testing.T) {
	before, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	after, err := config.SetConnector(before, "", config.ConnectorEntry{Name: "new", Type: "csv"})
	if err != nil {
		t.Fatal(err)
	}
	after, err = config.RemoveConnector(after, "new")
	if err != nil || string(after) != string(before) {
		t.Errorf("%v\n%s", err, config.Diff(before, after))
	}
}

func TestWhatCannotBeEditedIsRefused(t *testing.T) {
	set := func(name string, e config.ConnectorEntry) func([]byte) ([]byte, error) {
		return func(text []byte) ([]byte, error) { return config.SetConnector(text, name, e) }
	}
	a := config.ConnectorEntry{Name: "a", Type: "csv", Settings: map[string]any{"token": "s3cret-new"}}
	remove := func(text []byte) ([]byte, error) { return config.RemoveConnector(text, "a") }
	for name, c := range map[string]struct {
		text string
		edit func([]byte) ([]byte, error)
		want string
	}{
		"an anchor that others use":     {"connectors:\n  - name: a\n    settings: &s {token: s3cret}\n  - name: b\n    settings: *s\n", set("a", a), "edit it by hand"},
		"an entry that others use":      {"connectors:\n  - &a\n    name: a\n    settings: {token: s3cret}\n  - <<: *a\n    name: b\n", set("a", a), "edit it by hand"},
		"an anchor that is removed":     {"connectors:\n  - name: a\n    settings: &s {token: s3cret}\n  - name: b\n    settings: *s\n", remove, "edit it by hand"},
		"a merged key that is to go":    {"x: &x {when: s3cret}\nconnectors:\n  - <<: *x\n    name: a\n", set("a", a), "edit it by hand"},
		"an entry that is an alias":     {"x: &x {name: a}\nconnectors:\n  - *x\n", set("a", a), "edit it by hand"},
		"a list that is an alias":       {"x: &x\n  - name: a\nconnectors: *x\n", set("a", a), "edit it by hand"},
		"a list that is merged":         {"x: &x\n  connectors:\n    - name: a\n<<: *x\n", set("a", a), "edit it by hand"},
		"a list that is merged, to add": {"x: &x\n  connectors:\n    - name: b\n<<: *x\n", set("", a), "by hand"},
		"question marks":                {"connectors:\n  - ? name\n    : a\n    ? settings\n    : {token: s3cret}\n", set("a", config.ConnectorEntry{Name: "a", When: "x"}), "edit it by hand"},
		"a file in braces":              {"{listen: x}\n", set("", a), "with a setting in each line first"},
		"an end":                        {"listen: x\n...\n", set("", a), "edit it by hand"},
		"two documents":                 {"listen: x\n---\nlisten: s3cret\n", set("", a), "a second YAML document"},
		"no YAML":                       {"connectors: [s3cret\n", set("", a), "not YAML: line 1"},
		"a tab":                         {"connectors:\n\t- name: s3cret\n", set("", a), "not YAML: line 2"},
		"a key twice":                   {"connectors:\n  - name: a\n    Name: s3cret\n", set("a", a), `connectors[0] "a": name: given twice, in lines 2 and 3`},
		"a key that is no text":         {"connectors:\n  - name: a\n    1: s3cret\n", set("a", a), "line 3: a key must be text"},
		"no UTF-8":                      {"# \xe4\nconnectors:\n  - name: a\n", set("a", a), "save it as UTF-8"},
		"no list":                       {"connectors: s3cret\n", set("", a), "connectors: must be a list"},
		"no mapping":                    {"connectors:\n  - s3cret\n", set("", a), "connectors[0]: must be a mapping"},
		"settings that are none":        {"connectors:\n  - name: a\n    settings: s3cret\n", set("a", a), `connectors[0] "a": settings: must be a mapping`},
		"a rule with a slip":            {"connectors:\n  - name: a\n    fields: [{to: A, frm: s3cret}]\n", set("a", a), `connectors[0] "a": fields[0].frm: unknown setting, did you mean from?`},
		"an expression that is none":    {"connectors:\n  - name: a\n    when: true\n", set("a", a), "when: must be text: put it in quotes"},
		"two of a name":                 {"connectors:\n  - name: a\n  - name: a\n    type: s3cret\n", set("a", a), `there are two connectors "a"`},
		"none of a name":                {"connectors:\n  - name: b\n", set("a", a), `there is no connector "a"`},
		"none to remove":                {"connectors:\n  - name: b\n", remove, `there is no connector "a"`},
		"a name that is taken":          {"connectors:\n  - name: a\n  - name: b\n", set("b", a), `there is a connector "a" already`},
		"a name that is taken, to add":  {"connectors:\n  - name: a\n", set("", a), `there is a connector "a" already`},
		"no name":                       {"connectors:\n  - name: a\n", set("a", config.ConnectorEntry{Type: "csv"}), "name: required"},
		"a text that is no UTF-8":       {"connectors:\n  - name: a\n", set("a", config.ConnectorEntry{Name: "a", Settings: map[string]any{"b": []any{"s3cret\xff"}}}), "settings.b[0]: must be UTF-8"},
		"a value that is none":          {"connectors:\n  - name: a\n", set("a", config.ConnectorEntry{Name: "a", Settings: map[string]any{"b": connectors.Secret("s3cret")}}), "settings.b: cannot be written"},
		"another key that is none":      {"connectors:\n  - name: a\n", set("a", config.ConnectorEntry{Name: "a", Other: map[string]any{"when": "x"}}), "when: not one of an entry's other keys"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := c.edit([]byte(c.text))
			if err == nil {
				t.Fatalf("no error, but %q", text)
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
}
