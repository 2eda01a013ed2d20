package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	textunicode "golang.org/x/text/encoding/unicode"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

// desk is where an operator types commands: a folder, and a configuration that names a Redis.
type desk struct {
	t    *testing.T
	dir  string
	file string
}

// newDesk is one on a Redis, with more of a configuration.
func newDesk(t *testing.T, r *redistest.Redis, further string) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	d.file = d.write("config.yaml", fmt.Sprintf("redis: %s\napi_keys: [{name: k, key: a-key-of-sixteen-characters}]\n%s",
		redistest.Section(r.Options()), further))
	return d
}

const sheetConnector = "connectors: [{name: sheet, type: csv, settings: {path: sheet.csv}}]\n"

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) write(name, text string) (path string) {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.path(name)
}

func (d *desk) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.path(name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// run runs a command, which is to end with a code.
func (d *desk) run(want int, args ...string) (out, errs string) {
	d.t.Helper()
	code, out, errs := outcome(append(args, "--config", d.file)...)
	if code != want {
		d.t.Fatalf("%q ended with %d, want %d:\n%s%s", args, code, want, out, errs)
	}
	return out, errs
}

// leads are all that are there, oldest first, without what each import makes anew.
func (d *desk) leads() []map[string]any {
	d.t.Helper()
	out, _ := d.run(0, "export", "--format", "ndjson")
	leads := []map[string]any{}
	for line := range strings.Lines(out) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			d.t.Fatalf("%v: %s", err, line)
		}
		for _, name := range []string{"lead_id", "created_at", "updated_at"} {
			if l[name] == nil {
				d.t.Errorf("%s is missing: %s", name, line)
			}
			delete(l, name)
		}
		maps.DeleteFunc(l, func(_ string, value any) bool { return value == "" })
		leads = append(leads, l)
	}
	slices.Reverse(leads)
	return leads
}

// addresses are how many leads have each.
func (d *desk) addresses() map[string]int {
	d.t.Helper()
	counts := map[string]int{}
	for _, l := range d.leads() {
		counts[fmt.Sprint(l["email"])]++
	}
	return counts
}

// says fails the test unless a text holds all of some others.
func says(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said in:\n%s", want, text)
		}
	}
}

func utf16(t *testing.T, text string, order textunicode.Endianness) string {
	t.Helper()
	encoded, err := textunicode.UTF16(order, textunicode.UseBOM).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestImportMakesLeadsOfRows(t *testing.T) {
	type leads = []map[string]any
	jane := leads{{"email": "jane@example.com", "name": "Jane Doe", "note": "hello"}}
	for name, test := range map[string]struct {
		file, text string
		args       []string
		want       leads
	}{
		"the members' own names": {text: "email,name,source,note\njane@example.com,Jane,fair,hello\n",
			want: leads{{"email": "jane@example.com", "name": "Jane", "source": "fair", "note": "hello"}}},
		"usual names, a semicolon, a byte order mark": {text: "\ufeffE-Mail;Full Name;Message;Phone\r\njane@example.com;Jane Doe;hello;+44 20\r\n",
			want: leads{{"email": "jane@example.com", "name": "Jane Doe", "note": "hello", "Phone": "+44 20"}}},
		"a name in parts, a tab":          {text: "Last Name\tFirst name\tmail\tNote\nDoe\tJane\tjane@example.com\thello\n", want: jane},
		"UTF-16 of Excel":                 {text: utf16(t, "Email\tName\tNotes\r\njane@example.com\tJane Doe\thello\r\n", textunicode.LittleEndian), want: jane},
		"UTF-16, the other way round":     {text: utf16(t, "Email\tName\tNotes\r\njane@example.com\tJane Doe\thello\r\n", textunicode.BigEndian), want: jane},
		"a line that names the separator": {text: "sep=|\r\nemail|name|note,x\r\njane@example.com|Jane|a,b\r\n", want: leads{{"email": "jane@example.com", "name": "Jane", "note,x": "a,b"}}},
		"a separator that is given":       {text: "email,name;x\njane@example.com,Jane;y\n", args: []string{"--delimiter", ";", "--map", "email,name=email"}, want: leads{}},
		"quotes": {text: "email,\"a;b;c;d\",note\njane@example.com,\"say \"\"hi\"\"\",\"two\nlines, one cell\"\n",
			want: leads{{"email": "jane@example.com", "a;b;c;d": `say "hi"`, "note": "two\nlines, one cell"}}},
		"cells that are empty or missing": {text: "email,name,phone,city,\njane@example.com, ,,\n\njoe@example.com\n",
			want: leads{{"email": "jane@example.com"}, {"email": "joe@example.com"}}},
		"no end of the last line": {text: "email\njane@example.com", want: leads{{"email": "jane@example.com"}}},
		"what the command line says": {text: "Work Mail,Email,Row,Title,Source,campaign\njane@example.com,old@example.com,1,Dr,ad,x\n",
			args: []string{"--map", "Work Mail=email", "--map", "Title=salutation", "--ignore", "Row", "--source", "fair", "--set", "campaign=spring", "--set", "a=b=c"},
			want: leads{{"email": "jane@example.com", "Email": "old@example.com", "salutation": "Dr", "source": "fair", "campaign": "spring", "a": "b=c"}}},
		"a name whole and in parts": {text: "email,name,First Name\njane@example.com,Jane Doe,Jane\n",
			want: leads{{"email": "jane@example.com", "name": "Jane Doe", "First Name": "Jane"}}},
		"parts of a name that are given": {text: "email,A,B\njane@example.com,Jane,Doe\n", args: []string{"--map", "A=first_name", "--map", "B=last_name"},
			want: leads{{"email": "jane@example.com", "name": "Jane Doe"}}},
		"a file of leadrelay's own": {text: "lead_id,email,created_at,phone\nlead_x,jane@example.com,2026-01-02T03:04:05Z,'+44 20\n",
			want: leads{{"email": "jane@example.com", "phone": "+44 20"}}},
		"NDJSON": {file: "leads.jsonl", text: "\ufeff" + `{"email":"jane@example.com","n":1.50,"tags":["a"],"lead_id":"x","E":"y"}` + "\n\n" + `{"mail":"joe@example.com"}`,
			args: []string{"--map", "mail=email", "--ignore", "E", "--set", "by=hand"},
			want: leads{{"email": "jane@example.com", "n": 1.50, "tags": []any{"a"}, "by": "hand"}, {"email": "joe@example.com", "by": "hand"}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, redistest.Start(t), "")
			if test.file == "" {
				test.file = "leads.csv"
			}
			code := 0
			if len(test.want) == 0 {
				code = 1
			}
			d.run(code, append([]string{"import", d.write(test.file, test.text)}, test.args...)...)
			got := d.leads()
			byEmail := func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a["email"]), fmt.Sprint(b["email"])) }
			slices.SortFunc(got, byEmail)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestImportSaysWhatToDoAboutAFileItCannotRead(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		args []string
		want []string
	}{
		"nothing":                   {"", nil, []string{"the first line has to name the columns"}},
		"no address":                {"a,b\n1,2\n", nil, []string{`--map "HEADER=email"`, `by ","`, "a, b"}},
		"two addresses":             {"E-Mail,Mail\n", nil, []string{`columns "E-Mail", "Mail" would all be email`, "--map or --ignore"}},
		"two of one name":           {"email,x,x\n", nil, []string{`columns "x", "x" would all be x`, "rename"}},
		"an unknown column":         {"email,x\n", []string{"--map", "y=name"}, []string{`there is no column "y"`, "email, x"}},
		"an unknown column ignored": {"email,x\n", []string{"--ignore", "y"}, []string{`there is no column "y"`}},
		"a long header":             {"email," + strings.Repeat("x", 101) + "\n", nil, []string{"cannot be a custom field", "longer than 100"}},
		"a map that is none":        {"email\n", []string{"--map", "x"}, []string{"HEADER=FIELD"}},
		"a map to what is set":      {"email\n", []string{"--map", "email=lead_id"}, []string{"lead_id is set by the server"}},
		"a set that is none":        {"email\n", []string{"--set", "x"}, []string{"FIELD=VALUE"}},
		"one address for all":       {"email\n", []string{"--set", "email=a@example.com"}, []string{"no address in common"}},
		"a delimiter":               {"email\n", []string{"--delimiter", "x"}, []string{"--delimiter: must be"}},
		"a format":                  {"email\n", []string{"--format", "xml"}, []string{"--format: must be"}},
		"a workbook":                {"PK\x03\x04\x00", nil, []string{"CSV UTF-8"}},
		"UTF-16 without a mark":     {"e\x00m\x00", nil, []string{"byte order mark", "CSV UTF-8"}},
		"JSON":                      {`{"email":"a@example.com"}`, nil, []string{"--format ndjson"}},
		"a JSON array":              {`[{"email":"a@example.com"}]`, []string{"--format", "ndjson"}, []string{"one object a line"}},
		"lines of an old Mac":       {"email,name\ra@example.com,A\r", nil, []string{"Mac"}},
		"a header of another code":  {"email,stra\xdfe\n", nil, []string{"the header is not UTF-8", "iconv"}},
		"a header with a quote":     {"email,a\"b\n", nil, []string{"the header cannot be read", "quote"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "leads.csv")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := outcome(append([]string{"import", "--dry-run", file}, test.args...)...)
			if code != 1 || out != "" {
				t.Errorf("ended with %d: %s", code, out)
			}
			says(t, errs, test.want...)
		})
	}
	code, _, errs := outcome("import", filepath.Join(t.TempDir(), "missing.csv"))
	if code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("a missing file: %d %s", code, errs)
	}
	if code, _, errs := outcome("import", t.TempDir()); code != 1 || !strings.Contains(errs, "is a folder") {
		t.Errorf("a folder: %d %s", code, errs)
	}
}

func TestADryRunSaysWhatAnImportWouldDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leads.csv")
	text := "E-Mail,First Name,lead_id,Phone,x,\njane@example.com,Jane,1,+44,y\nnobody,Joe,2,+44\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := outcome("import", file, "--dry-run", "--ignore", "x", "--set", "campaign=spring")
	if code != 1 {
		t.Errorf("with a row that is no lead it ended with %d", code)
	}
	for _, want := range []string{`E-Mail +email`, `First Name +name, first name`, `lead_id +- \(set by leadrelay itself\)`, `Phone +custom field Phone`,
		`x +- \(--ignore\)`, `\(every lead\) +campaign: spring`, `line 3: email: is not a valid e-mail address`, `2 rows: 1 leads would be added .* 1 rejected; nothing was written`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%q is not said in:\n%s", want, out)
		}
	}
	says(t, errs, "lead_id", "1 of 2 rows are no leads")
	if strings.Contains(out+errs, "nobody") || strings.Contains(out+errs, "jane@") {
		t.Errorf("it tells of persons:\n%s%s", out, errs)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); len(files) != 1 {
		t.Errorf("it wrote %q", files)
	}
}

// many is a CSV file of so many leads.
func many(n int) string {
	var b strings.Builder
	b.WriteString("email,name,phone\n")
	for i := range n {
		fmt.Fprintf(&b, "p%d@example.com,Person %d,+44 %d\n", i, i, i)
	}
	return b.String()
}

func TestImportAgainAddsNothing(t *testing.T) {
	was := progressEvery
	progressEvery = 0
	t.Cleanup(func() { progressEvery = was })
	d := newDesk(t, redistest.Start(t), sheetConnector)
	file := d.write("leads.csv", many(2500)+"twice@example.com,T,\ntwice@example.com,T,\n")
	out, errs := d.run(0, "import", file)
	says(t, out, "2502 rows: 2502 new leads, 0 were there already, 0 rejected")
	says(t, errs, "1000 rows, ", "2502 rows, 100%")
	out, _ = d.run(0, "import", file)
	says(t, out, "2502 rows: 0 new leads, 2502 were there already, 0 rejected")

	// Only what is new of a file that has grown, wherever it stands.
	out, _ = d.run(0, "import", d.write("more.csv", "phone,email,name\n+1,new@example.com,N\n+44 7,p7@example.com,Person 7\n"))
	says(t, out, "2 rows: 1 new leads, 1 were there already")
	got := d.addresses()
	if len(got) != 2502 || got["twice@example.com"] != 2 || got["p7@example.com"] != 1 || got["new@example.com"] != 1 {
		t.Errorf("there are %d addresses, twice: %d", len(got), got["twice@example.com"])
	}
	if out, _ := d.run(0, "status"); !regexp.MustCompile(`sheet +behind +2503`).MatchString(out) {
		t.Errorf("not all leads are work for the connector: %s", out)
	}
}

func TestImportKeepsRowsThatAreNoLeadsApart(t *testing.T) {
	d := newDesk(t, redistest.Start(t), "")
	text := "Email;Name\r\n" +
		"jane@example.com;Jane\r\n" +
		"nobody;\"Joe; the\r\nsecond\"\r\n" + // line 3
		"\r\n" +
		"joe@example.com;Joe \"JJ\"\r\n" + // 6
		"ann@example.com;Ann;and more\r\n" + // 7
		"zo\xeb@example.com;Zo\xeb\r\n" + // 8
		";Nameless\r\n" + // 9
		"bob@example.com;Bob\r\n" +
		"eve@example.com;\"Eve\r\nmia@example.com;Mia\r\n" // 11
	file := d.write("leads.csv", text)
	d.write("leads.csv.rejected.csv", "of a former import")
	os.Chmod(d.path("leads.csv.rejected.csv"), 0o644)
	out, errs := d.run(1, "import", file)
	says(t, out, "8 rows: 2 new leads, 0 were there already, 6 rejected", "the rejected rows are in "+d.path("leads.csv.rejected.csv"))
	says(t, errs, "6 of 8 rows are no leads")
	if got := d.addresses(); len(got) != 2 || got["jane@example.com"] != 1 || got["bob@example.com"] != 1 {
		t.Errorf("got %v", got)
	}
	rejected := d.read("leads.csv.rejected.csv")
	lines := strings.Split(rejected, "\n")
	if lines[0] != "rejected_line;rejected_reason;Email;Name" {
		t.Errorf("its header is %q", lines[0])
	}
	for _, want := range []string{
		"3;\"email: is not a valid e-mail address; name: holds control characters\";nobody;\"Joe; the\r\nsecond\"\n",
		"joe@example.com;Joe \"JJ\"\n", "6;\"a quote stands",
		"\n7;", ";ann@example.com;Ann;and more\n",
		"\n8;\"is not UTF-8", ";zo\xeb@example.com;Zo\xeb\n",
		"\n9;email: is required;;Nameless\n",
		"\n11;", ";eve@example.com;\"Eve\r\nmia@example.com;Mia\n",
	} {
		if !strings.Contains(rejected, want) {
			t.Errorf("%q is not in:\n%s", want, rejected)
		}
	}
	if info, err := os.Stat(d.path("leads.csv.rejected.csv")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it has mode %v, %v", info.Mode(), err)
	}

	// It can be mended and imported.
	mended := strings.NewReplacer(`Joe "JJ"`, "Joe", ";and more", "", "\xeb", "e", "nobody;", "joe2@example.com;", "the\r\n", "the ",
		";;Nameless", ";less@example.com;Nameless", `;"Eve`, ";Eve", "mia@", "12;;mia@").Replace(rejected)
	out, errs = d.run(0, "import", d.write("mended.csv", mended))
	says(t, out, "7 rows: 7 new leads")
	says(t, errs, "left out, as leadrelay sets them itself: rejected_line, rejected_reason")
	if _, err := os.Stat(d.path("mended.csv.rejected.csv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file for rejected rows, and none were: %v", err)
	}

	// Nothing is lost of NDJSON, either.
	text = `{"email":"x@example.com"}` + "\n" + `{"email":"x","a":1}` + "\nnothing\n{}\n"
	d.run(1, "import", d.write("leads.ndjson", text), "--rejected", d.path("bad.ndjson"))
	if got, want := d.read("bad.ndjson"), `{"rejected_line":2,"rejected_reason":"email: is not a valid e-mail address","email":"x","a":1}
{"rejected_line":3,"rejected_reason":"is not one JSON object","rejected_row":"nothing"}
{"rejected_line":4,"rejected_reason":"email: is required"}
`; got != want {
		t.Errorf("got %s", got)
	}
	if _, errs := d.run(1, "import", file, "--rejected", file); !strings.Contains(errs, "--rejected") || d.read("leads.csv") == "" {
		t.Errorf("the file itself may be written: %s", errs)
	}
}

// TestImportKilledInTheMiddleIsResumed ends an import as kill -9 does, between rows that it was given and those it was
// not, and then in the middle of a file, more than once. In the end each row is there once.
func TestImportKilledInTheMiddleIsResumed(t *testing.T) {
	for _, dedupe := range []bool{false, true} {
		t.Run(fmt.Sprintf("dedupe %v", dedupe), func(t *testing.T) {
			r := redistest.Start(t)
			further := ""
			if dedupe {
				further = "leads: {dedupe: email}\n"
			}
			d := newDesk(t, r, further)
			const n = 6000
			text := many(n)
			file := d.write("leads.csv", text)
			there := func() int { return len(r.Keys(t, "lr:*:l:*")) }

			half := strings.Index(text, "p3500@")
			cmd := exec.Command(os.Args[0], "import", "-", "--config", d.file)
			cmd.Env = append(os.Environ(), "LEADRELAY_TEST_IS_MAIN=1")
			stdin, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(stdin, text[:half])
			wait(t, "what was given so far", func() bool { return there() == 3000 })
			cmd.Process.Kill()
			cmd.Wait()

			for range 3 {
				before := there()
				p := launch(t, "import", file, "--config", d.file)
				ended := make(chan error, 1)
				go func() { ended <- p.cmd.Wait() }()
				wait(t, "the import to go on", func() bool { return there() > before || len(ended) > 0 })
				p.cmd.Process.Kill()
				<-ended
			}
			out, _ := d.run(0, "import", file)
			says(t, out, fmt.Sprint(n, " rows: "), "0 rejected")
			got := d.addresses()
			for address, count := range got {
				if count != 1 {
					t.Errorf("%s is there %d times", address, count)
				}
			}
			if len(got) != n {
				t.Errorf("there are %d of %d", len(got), n)
			}
		})
	}
}

// pipe is a file that is written while it is read.
func (d *desk) pipe(name string) (path string, open func() *os.File) {
	d.t.Helper()
	if err := syscall.Mkfifo(d.path(name), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.path(name), func() *os.File {
		file, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
		if err != nil {
			d.t.Fatal(err)
		}
		return file
	}
}

// start begins a command that goes on until it ends or ctx does.
func (d *desk) start(ctx context.Context, args ...string) (out, errs *output, ended chan int) {
	out, errs, ended = &output{}, &output{}, make(chan int, 1)
	go func() { ended <- run(ctx, append(args, "--config", d.file), out, errs) }()
	return out, errs, ended
}

func TestImportEndsInGoodOrder(t *testing.T) {
	r := redistest.Start(t)
	d := newDesk(t, r, "")
	path, open := d.pipe("pipe.csv")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	out, errs, ended := d.start(ctx, "import", path)
	file := open()
	defer file.Close()
	text := many(4500)
	io.WriteString(file, text[:strings.Index(text, "p2500@")])
	wait(t, "what was given so far", func() bool { return len(r.Keys(t, "lr:*:l:*")) == 2000 })
	stop() // while it waits for more
	if code := <-ended; code != 1 {
		t.Errorf("it ended with %d", code)
	}
	says(t, out.String(), "2000 rows: 2000 new leads", "run the same command again")
	says(t, errs.String(), "told to stop")
	again, _ := d.run(0, "import", d.write("leads.csv", text))
	says(t, again, "4500 rows: 2500 new leads, 2000 were there already")
}

func TestImportWaitsForARedisThatIsAway(t *testing.T) {
	for _, further := range []string{"", "leads: {dedupe: email}\n"} {
		t.Run(further, func(t *testing.T) {
			r := redistest.StartAlone(t)
			d := newDesk(t, r, further)
			path, open := d.pipe("pipe.csv")
			out, errs, ended := d.start(context.Background(), "import", path)
			file := open()
			text := many(3500)
			part := strings.Index(text, "p1500@")
			io.WriteString(file, text[:part])
			wait(t, "the first of them", func() bool { return len(r.Keys(t, "lr:*:l:*")) == 1000 })
			r.Kill()
			io.WriteString(file, text[part:])
			file.Close()
			wait(t, "the trouble to be told", func() bool { return strings.Contains(errs.String(), "Redis takes no leads at the moment") })
			r.Restart(t)
			if code := <-ended; code != 0 {
				t.Fatalf("it ended with %d: %s", code, errs)
			}
			says(t, out.String(), "3500 rows: 3500 new leads")
			says(t, errs.String(), "Redis takes leads again")
			got := d.addresses()
			for address, n := range got {
				if n != 1 {
					t.Errorf("%s is there %d times", address, n)
				}
			}
			if len(got) != 3500 {
				t.Errorf("there are %d", len(got))
			}
		})
	}
}

func TestImportGivesUpOnARedisThatStaysAway(t *testing.T) {
	was, every := awayFor, progressEvery
	awayFor, progressEvery = 0, 0
	t.Cleanup(func() { awayFor, progressEvery = was, every })
	r := redistest.StartAlone(t)
	d := newDesk(t, r, "")
	path, open := d.pipe("pipe.csv")
	out, errs, ended := d.start(context.Background(), "import", path)
	file := open()
	text := many(2000)
	part := strings.Index(text, "p1001@")
	io.WriteString(file, text[:part])
	wait(t, "the first of them to be told", func() bool { return strings.Contains(errs.String(), "1000 rows") })
	r.Kill()
	io.WriteString(file, text[part:])
	file.Close()
	if code := <-ended; code != 1 {
		t.Errorf("it ended with %d", code)
	}
	says(t, out.String(), "1000 rows: 1000 new leads", "run the same command again")
	says(t, errs.String(), "redis took no lead for")
	r.Restart(t)
	again, _ := d.run(0, "import", d.write("leads.csv", text))
	says(t, again, "2000 rows: 1000 new leads, 1000 were there already")
}

func TestImportUnderDedupeChangesTheLeadOfAnAddressInTheOrderOfItsRows(t *testing.T) {
	d := newDesk(t, redistest.Start(t), "leads: {dedupe: email}\n")
	d.run(0, "import", d.write("before.csv", "email,name,phone\nzoe@example.com,Zoe,+44\n"))
	var b strings.Builder
	b.WriteString("email,name,visits\n")
	const people, visits = 200, 12
	for visit := range visits {
		for person := range people {
			fmt.Fprintf(&b, "p%d@example.com,Person %d,%d\n", person, person, visit)
		}
	}
	b.WriteString("ZOE@example.com,,1\nzoe@example.com,,1\np1@example.com,Person 1,11\n")
	file := d.write("visits.csv", b.String())
	out, _ := d.run(0, "import", file)
	says(t, out, fmt.Sprintf("%d rows: %d new leads, %d changed ones, 1 were there already, 0 rejected", people*visits+3, people, people*(visits-1)+2))
	check := func() {
		t.Helper()
		leads := d.leads()
		if len(leads) != people+1 {
			t.Errorf("there are %d leads", len(leads))
		}
		for _, l := range leads {
			want := fmt.Sprint(visits - 1)
			if strings.EqualFold(fmt.Sprint(l["email"]), "zoe@example.com") {
				if want = "1"; l["name"] != "Zoe" || l["phone"] != "+44" {
					t.Errorf("an empty cell changed something: %v", l)
				}
			}
			if l["visits"] != want {
				t.Errorf("the last row of an address does not count: %v", l)
			}
		}
	}
	check()
	out, _ = d.run(0, "import", file)
	says(t, out, "0 new leads, 0 changed ones, 2403 were there already")
	check()
}

func TestImportSaysWhichOfAnAddressHoldsTooMuch(t *testing.T) {
	d := newDesk(t, redistest.Start(t), "leads: {dedupe: email}\n")
	wide := func(name string) string {
		header, cells := "email", "a@example.com"
		for i := range 60 {
			header += fmt.Sprintf(",%s%d", name, i)
			cells += ",x"
		}
		return d.write(name+".csv", header+"\n"+cells+"\n")
	}
	d.run(0, "import", wide("a"))
	out, _ := d.run(1, "import", wide("b"))
	says(t, out, "0 were there already, 1 rejected")
	says(t, d.read("b.csv.rejected.csv"), "custom fields: would be more than 100")
}

func TestImportBoundsARow(t *testing.T) {
	d := newDesk(t, redistest.Start(t), "")
	long := strings.Repeat("never closed,\n", maxRow/14+1000)
	for name, text := range map[string]string{
		"leads.csv":    "email,note\na@example.com,x\nb@example.com,\"" + long,
		"leads.ndjson": `{"email":"a@example.com"}` + "\n" + `{"email":"b@example.com","note":"` + strings.ReplaceAll(long, "\n", "") + strings.Repeat(" ", 1<<20),
	} {
		out, errs := d.run(1, "import", d.write(name, text))
		says(t, out, "1 rows: 1 new leads")
		says(t, errs, "cannot be read on after 1 rows", "is a quote never closed?")
	}
}

// FuzzRows reads what people call CSV and NDJSON. Whatever it is, every row is a lead or has a reason, and what is kept
// of a rejected one is what stands in the file.
func FuzzRows(f *testing.F) {
	for _, seed := range []string{
		"email,name\na@example.com,A\n", "email;x\r\n\"a;b\"\"\";\"two\r\nlines\"\r\n", "sep=|\nemail|n\n", "\ufeffemail\n\"open", "email,a\"b\nx,\"y\"z\n",
		"lead_id,email,x\n1,a@example.com,'=1+1\n", "\xff\xfee\x00m\x00a\x00i\x00l\x00\n\x00a\x00", "email\n\xff\n,\n", "Mail,First Name,Surname,,\na@b.co,A,B,,c\n",
		`{"email":"a@example.com"}` + "\n[]\nnull\n{\"a\":", "{}\n{} {}\n", "email\r\na\rb\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, ndjson bool) {
		var r rowReader
		var err error
		w := wishes{renamed: map[string]string{}, fixed: map[string]any{"by": "fuzz"}}
		if ndjson {
			r, err = newNDJSONRows(bytes.NewReader(text), w)
		} else {
			r, err = newCSVRows(bytes.NewReader(text), 0, w)
		}
		if err != nil {
			return
		}
		if err := r.show(io.Discard); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(text, []byte("\n")) + 1
		isUTF16 := bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff"))
		last := 0
		for {
			one, err := r.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if (one.err == nil) == (one.body == nil) {
				t.Fatalf("row at line %d: %q, %v", one.line, one.body, one.err)
			}
			if one.line <= last || !isUTF16 && one.line > lines {
				t.Fatalf("a row at line %d, after one at %d, of %d", one.line, last, lines)
			}
			last = one.line
			if !isUTF16 && !bytes.Contains(text, one.raw) {
				t.Fatalf("%q is not in the file", one.raw)
			}
			if one.err == nil {
				if !json.Valid(one.body) || !utf8.Valid(one.body) {
					t.Fatalf("%q is not JSON", one.body)
				}
				if _, err := lead.ParseNew(one.body); err != nil && errors.Is(err, lead.ErrMalformed) {
					t.Fatalf("%q: %v", one.body, err)
				}
				one.err = errors.New("a \"reason\"; for it")
			}
			if rejected := r.rejected(one); !bytes.Contains(rejected, bytes.TrimPrefix(one.raw, []byte("{"))) && !bytes.Contains(rejected, []byte("rejected_row")) {
				t.Fatalf("%q is kept as %q", one.raw, rejected)
			}
		}
	})
}
