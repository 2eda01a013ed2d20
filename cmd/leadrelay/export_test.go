package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// nasty are texts of which a spreadsheet would make something else, or a reader of CSV.
var nasty = []string{
	"=1+1", "'=1+1", "''=1+1", "@SUM(A1)", "-1+1", "+44 20 7946 0000", " =1", "\u200b=1", "＝1", "\t=1", "x\t=1", "x;=1; =2,=3", "x\n=1\n-1\n\n@y",
	"0007", "'0007", "1500", "'1500", "0", "1.50", "1/2", "2026-03-14", "5 May 2026", "3:30 pm", "50%", "1e5", "4915112345678", "'4915112345678",
	"O'Quill", "'quoted'", "'", "''", `say "hi"`, `"`, "a,b;c|d\te", "two\nlines", "Zoë <b>&amp;</b>", " spaces ", "x'=1", "a,'=1", "\n", "日本語, 中文",
}

func TestAnExportCanBeImportedAgain(t *testing.T) {
	from := newDesk(t, redistest.Start(t), "")
	var lines strings.Builder
	var want []map[string]any
	for i, text := range nasty {
		l := map[string]any{"email": fmt.Sprintf("p%d@example.com", i), "note": text, "mail": "other", "First Name": "F", "Email": "E", "=cmd": "x", " a ": "y", "custom": text}
		if i%3 == 0 {
			l["name"], l["source"] = fmt.Sprintf("'=Person %d", i), "fair; web"
		}
		if strings.TrimSpace(text) == "" {
			delete(l, "custom")
			delete(l, "note")
		}
		encoded, _ := json.Marshal(l)
		lines.Write(append(encoded, '\n'))
		want = append(want, l)
	}
	from.run(0, "import", from.write("leads.ndjson", lines.String()))
	byEmail := func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a["email"]), fmt.Sprint(b["email"])) }
	slices.SortFunc(want, byEmail)

	for _, name := range []string{"leads.csv", "leads.ndjson"} {
		t.Run(name, func(t *testing.T) {
			file := from.path("out." + name)
			_, errs := from.run(0, "export", "-o", file)
			says(t, errs, fmt.Sprint(len(nasty), " leads exported"))
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file has mode %v, %v", info.Mode(), err)
			}
			to := newDesk(t, redistest.Start(t), "")
			_, errs = to.run(0, "import", file)
			says(t, errs, "left out, as leadrelay sets them itself: ", "created_at", "lead_id", "updated_at")
			got := to.leads()
			slices.SortFunc(got, byEmail)
			for i := range got {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Errorf("got  %q\nwant %q", got[i], want[i])
				}
			}
			if len(got) != len(want) {
				t.Errorf("there are %d", len(got))
			}
		})
	}
	if files, _ := filepath.Glob(from.path(".*")); len(files) > 0 {
		t.Errorf("it leaves %q", files)
	}
}

// TestAnExportIsWhatTheCSVConnectorWrites compares cell by cell: there is one form of file for people and spreadsheets.
func TestAnExportIsWhatTheCSVConnectorWrites(t *testing.T) {
	dir := t.TempDir()
	r := startUp(t, dir, "in-process", fmt.Sprintf("  - name: second\n    type: csv\n    settings: {path: %q}\n    fields: "+
		"[{to: name, from: name}, {to: email, from: email}, {to: source, from: source}, {to: note, from: note}, {to: created_at, from: created_at}, "+
		"{to: updated_at, from: updated_at}, {to: n, from: n}, {to: on, from: on}, {to: tags, from: tags}, {to: text, from: text}]\n", filepath.Join(dir, "second.csv")))
	for i, text := range nasty {
		encoded, _ := json.Marshal(map[string]any{"email": fmt.Sprintf("p%d@example.com", i), "note": text, "text": text, "n": json.Number("491511234567890"), "on": true, "tags": []string{"=a", "b"}})
		r.post(string(encoded))
	}
	wait(t, "the connector", func() bool { return r.syncs("second", "--dry-run")["in_step"] == float64(len(nasty)) })
	code, out, errs := outcome("export", "--config", filepath.Join(dir, "config.yaml"))
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	table := func(text string) [][]string {
		text, marked := strings.CutPrefix(text, "\ufeff")
		all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || !marked {
			t.Fatalf("%v, a byte order mark: %v", err, marked)
		}
		slices.SortFunc(all[1:], slices.Compare)
		return all
	}
	sheet, err := os.ReadFile(filepath.Join(dir, "second.csv"))
	if err != nil {
		t.Fatal(err)
	}
	got, want := table(out), table(string(sheet))
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("got  %q\nwant %q", got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}

	// So its sheet can be imported, too: into the same leads, which know these rows by nothing but their addresses.
	code, out, errs = outcome("import", filepath.Join(dir, "second.csv"), "--dry-run")
	if code != 0 || !strings.Contains(out, fmt.Sprint(len(nasty), " leads would be added")) {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestExportSelectsAndTellsStates(t *testing.T) {
	dir := t.TempDir()
	r := startUp(t, dir, "in-process")
	config := filepath.Join(dir, "config.yaml")
	for i := range 1203 {
		r.post(fmt.Sprintf(`{"email":"p%d@example.com","source":"%s"}`, i, []string{"web", "fair", "web"}[i%3]))
	}
	gone := r.post(`{"email":"gone@example.com"}`)
	r.call("DELETE", "/api/v1/leads/"+gone, "")
	wait(t, "the connector", func() bool { return r.syncs("sheet", "--dry-run")["in_step"] == 1203.0 })
	export := func(args ...string) []string {
		t.Helper()
		code, out, errs := outcome(append([]string{"export", "--config", config, "--bom=false"}, args...)...)
		if code != 0 {
			t.Fatalf("%q: %d %s", args, code, errs)
		}
		return slices.Collect(strings.Lines(out))
	}
	all := export()
	if len(all) != 1204 || all[0] != "lead_id,name,email,source,note,created_at,updated_at\n" {
		t.Errorf("got %d lines, the first %q", len(all), all[0])
	}
	ids := all[1:]
	if !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Error("they are not the newest first")
	}
	if got := len(export("--source", "fair")); got != 402 {
		t.Errorf("of a source: %d", got)
	}
	if got := len(export("--since", "1h")); got != 1204 {
		t.Errorf("since an hour: %d", got)
	}
	if got := len(export("--since", "2100-01-01")); got != 1 {
		t.Errorf("since a day to come: %d", got)
	}
	for _, line := range export("--with-state")[1:] {
		if !strings.HasSuffix(line, ",sheet: in_step\n") {
			t.Fatalf("got %q", line)
		}
	}
	for _, line := range export("--with-state", "--format", "ndjson") {
		if !regexp.MustCompile(`"connectors":\[\{"name":"sheet","state":"in_step","synced_revision":1,`).MatchString(line) {
			t.Fatalf("got %q", line)
		}
	}
	for _, args := range [][]string{{"--format", "xml"}, {"--since", "x"}, {"-o", filepath.Join(dir, "no", "such", "folder.csv")}} {
		if code, _, errs := outcome(append([]string{"export", "--config", config}, args...)...); code != 1 || errs == "" {
			t.Errorf("%q: %d %s", args, code, errs)
		}
	}
}

func TestExportSaysThatColumnsAreTooMany(t *testing.T) {
	d := newDesk(t, redistest.Start(t), "")
	var lines strings.Builder
	for i := range maxExportColumns/100 + 1 {
		l := map[string]any{"email": fmt.Sprintf("p%d@example.com", i)}
		for n := range 100 {
			l[fmt.Sprintf("f%d_%d", i, n)] = "x"
		}
		encoded, _ := json.Marshal(l)
		lines.Write(append(encoded, '\n'))
	}
	d.run(0, "import", d.write("leads.ndjson", lines.String()))
	_, errs := d.run(1, "export", "-o", d.path("out.csv"))
	says(t, errs, "use --format ndjson")
	if _, err := os.Stat(d.path("out.csv")); err == nil {
		t.Error("half a file is left")
	}
	d.run(0, "export", "-o", d.path("out.ndjson"))
}
