package googlesheets

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// world is a stand-in and a connector to it.
type world struct {
	*testing.T
	*vendor
	c      *connector
	log    *bytes.Buffer
	url    string
	spoilt []string // of the last push
}

func newWorld(t *testing.T) *world {
	v := newVendor(t)
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	w := &world{T: t, vendor: v, url: server.URL, log: &bytes.Buffer{}}
	w.c = w.open(nil)
	return w
}

// fewFields make rows that a test can write down.
var fewFields = []connectors.FieldRule{{To: "name", From: "name"}, {To: "email", From: "email"}}

func (w *world) open(settings map[string]any) *connector {
	w.Helper()
	mapping, err := connectors.NewMapping(fewFields)
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]any{"credentials": testCredentials(w.url + "/token"), "spreadsheet_id": testSpreadsheet, "base_url": w.url}
	for key, value := range settings {
		all[key] = value
	}
	opened, err := Kind.Open(all, connectors.Env{Name: "sheet", Fields: mapping, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		w.Fatal(err)
	}
	c := opened.(*connector)
	w.Cleanup(func() { c.Close() })
	return c
}

func (w *world) push(changes ...lead.Change) []error {
	w.Helper()
	items := make([]connectors.Item, len(changes))
	for i, change := range changes {
		items[i].Change = change
	}
	errs := make([]error, len(changes))
	w.spoilt = nil
	for i, result := range w.c.PushBatch(context.Background(), items) {
		errs[i] = result.Err
		w.spoilt = append(w.spoilt, result.Spoilt...)
	}
	return errs
}

func (w *world) pushed(changes ...lead.Change) {
	w.Helper()
	for i, err := range w.push(changes...) {
		if err != nil {
			w.Fatalf("item %d: %v", i, err)
		}
	}
}

func (w *world) holds(want ...[]string) {
	w.Helper()
	if got := w.texts(); !reflect.DeepEqual(got, want) {
		w.Errorf("the tab holds\n%s\nwant\n%s", grid(got), grid(want))
	}
}

func (w *world) logged(wants ...string) {
	w.Helper()
	for _, want := range wants {
		if !strings.Contains(w.log.String(), want) {
			w.Errorf("the log lacks %q: %s", want, w.log)
		}
	}
	for i := range 9 {
		if p := person(i); strings.Contains(w.log.String(), p.Name) || strings.Contains(w.log.String(), p.Email) {
			w.Errorf("the log shows a person: %s", w.log)
		}
	}
}

func grid(rows [][]string) string {
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = strings.Join(row, " | ")
	}
	return strings.Join(lines, "\n")
}

func person(i int) lead.Lead {
	l := connectortest.Sample(i)
	l.Name, l.Email = fmt.Sprintf("Person %d", i), fmt.Sprintf("p%d@example.com", i)
	return l
}

func renamed(l lead.Lead, name string) lead.Lead {
	l.Revision++
	l.Name = name
	return l
}

func row(l lead.Lead, more ...string) []string {
	return append([]string{l.ID, l.Name, l.Email}, more...)
}

var header = []string{"lead_id", "name", "email"}

var created, updated, deleted = connectortest.Created, connectortest.Updated, connectortest.Deleted

// insertRow and swapRows are what people do; called from vendor.between, which holds its lock.
func (v *vendor) insertRow(at int, texts ...string) {
	v.rows = slices.Insert(v.rows, at, make([]content, v.columns))
	for j, text := range texts {
		if text != "" {
			v.rows[at][j] = content{"stringValue", text}
		}
	}
}

func (v *vendor) swapRows(a, b int) { v.rows[a], v.rows[b] = v.rows[b], v.rows[a] }

func TestABatchIsOneReadAndOneWrite(t *testing.T) {
	w := newWorld(t)
	count := func() (reads, writes int) {
		for _, call := range w.calls() {
			if call.isWrite() {
				writes++
			} else {
				reads++
			}
		}
		return reads, writes
	}
	wants := func(what string, wantReads, wantWrites int) {
		t.Helper()
		if reads, writes := count(); reads != wantReads || writes != wantWrites {
			t.Errorf("%s: %d reads and %d writes, want %d and %d", what, reads, writes, wantReads, wantWrites)
		}
	}
	w.pushed(deleted(person(0)))
	wants("a delete in an empty tab, with a new connector", 2, 0)
	var creates []lead.Change
	for i := range 100 {
		creates = append(creates, created(person(i)))
	}
	w.pushed(creates...)
	wants("100 creates", 1, 1)
	w.pushed(created(person(100)))
	wants("a lone create", 1, 1)
	w.pushed(updated(renamed(person(7), "Seven")))
	wants("a lone update", 1, 1)
	w.pushed(deleted(person(7)))
	wants("a lone delete", 1, 1)
	w.pushed(deleted(person(7)))
	wants("a delete of what is gone", 1, 0)
	var mixed []lead.Change
	for i := range 99 {
		switch i % 3 {
		case 0:
			mixed = append(mixed, updated(renamed(person(i), "N")))
		case 1:
			mixed = append(mixed, deleted(person(i)))
		default:
			mixed = append(mixed, created(person(200+i)))
		}
	}
	w.pushed(mixed...)
	wants("99 changes of all sorts", 1, 1)
	if got := len(w.Records()); got != 101-1-32+33 { // number 7 was gone already
		t.Errorf("%d rows are left", got)
	}
	if w.tokens != 1 {
		t.Errorf("%d sign-ins", w.tokens)
	}
	limits := w.c.Limits()
	if limits.Concurrency != 1 || len(limits.Rates) != 1 || limits.Rates[0].Per != time.Minute || limits.Rates[0].Most*2 > 60 || limits.Scope != "googlesheets:"+testSpreadsheet+"/Leads" {
		t.Errorf("the limits are %+v", limits)
	}
}

func TestTheBodiesSent(t *testing.T) {
	for _, sent := range []struct {
		name    string
		prepare []lead.Change
		changes []lead.Change
	}{
		{"create-in-empty-tab", nil, []lead.Change{created(person(1))}},
		{"create", []lead.Change{created(person(1))}, []lead.Change{created(person(2)), created(person(3))}},
		{"update", []lead.Change{created(person(1)), created(person(2))}, []lead.Change{updated(renamed(person(2), ""))}},
		{"delete", []lead.Change{created(person(1)), created(person(2))}, []lead.Change{deleted(person(1))}},
		{"mixed", []lead.Change{created(person(1)), created(person(2)), created(person(3))},
			[]lead.Change{deleted(person(2)), updated(renamed(person(3), "Three")), created(person(4))}},
	} {
		t.Run(sent.name, func(t *testing.T) {
			w := newWorld(t)
			if sent.prepare != nil {
				w.pushed(sent.prepare...)
			}
			w.calls()
			w.pushed(sent.changes...)
			calls := w.calls()
			last := calls[len(calls)-1]
			file := filepath.Join("testdata", sent.name+".json")
			got := canonicalJSON(t, last.body)
			if os.Getenv("UPDATE_TESTDATA") != "" {
				os.WriteFile(file, []byte(got), 0o644)
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: sent\n%s", file, got)
			}
			if mask := last.query["fields"]; len(mask) != 1 || mask[0] != batchFields {
				t.Errorf("the field mask is %q", mask)
			}
		})
	}
}

func TestWhatPeopleAddedStays(t *testing.T) {
	w := newWorld(t)
	one, two := person(1), person(2)
	w.fill(
		[]string{"Owner", "email", "lead_id", "Called?", "name", "email"},
		[]string{"Bo", "old@example.com", one.ID, "yes", "Old"},
		nil,
		[]string{"a row of ours"},
	)
	w.frozen = 1
	w.pushed(updated(one), created(two))
	w.holds(
		[]string{"Owner", "email", "lead_id", "Called?", "name", "email"},
		[]string{"Bo", one.Email, one.ID, "yes", one.Name},
		[]string{"", two.Email, two.ID, "", two.Name},
		[]string{"a row of ours"},
	)
	w.pushed(updated(renamed(two, "")), deleted(one))
	w.holds(
		[]string{"Owner", "email", "lead_id", "Called?", "name", "email"},
		[]string{"", two.Email, two.ID},
		[]string{"a row of ours"},
	)
}

func TestAMissingColumnIsInsertedBehindTheOthers(t *testing.T) {
	w := newWorld(t)
	w.resize(3, 2)
	w.fill([]string{"lead_id", "Owner"}, []string{person(1).ID, "Bo"})
	w.pushed(updated(person(1)))
	w.holds([]string{"lead_id", "Owner", "name", "email"}, []string{person(1).ID, "Bo", "Person 1", "p1@example.com"})
}

func TestTheFirstOfSeveralRowsOfALeadIsKept(t *testing.T) {
	w := newWorld(t)
	one, two := person(1), person(2)
	w.fill(header, row(one), row(two), row(one), row(one))
	w.pushed(updated(renamed(one, "Uno")))
	w.holds(header, row(renamed(one, "Uno")), row(two))
	w.fill(header, row(one), row(two), row(one))
	w.pushed(deleted(one))
	w.holds(header, row(two))
}

func TestTheLastRowOfATrimmedTabCanBeDeleted(t *testing.T) {
	w := newWorld(t)
	w.resize(3, 3)
	w.fill(header, row(person(1)), row(person(2)))
	w.frozen = 1
	w.pushed(deleted(person(1)), deleted(person(2)))
	w.holds(header)
	w.pushed(created(person(3)))
	w.holds(header, row(person(3)))
}

func TestATabThatIsFullToItsLastRowGrows(t *testing.T) {
	w := newWorld(t)
	w.resize(1, 1)
	w.pushed(created(person(1)))
	w.pushed(created(person(2)), created(person(3)))
	w.holds(header, row(person(1)), row(person(2)), row(person(3)))
}

func TestATabThatIsNotOursIsNotWritten(t *testing.T) {
	for _, tab := range []struct {
		name string
		rows [][]string
		want string
	}{
		{"lead_id renamed", [][]string{{"ID", "name", "email"}, row(person(1))}, "row 1 has no lead_id"},
		{"no header", [][]string{nil, {"Bo"}}, "row 1 is empty"},
	} {
		w := newWorld(t)
		w.fill(tab.rows...)
		before := w.texts()
		errs := w.push(created(person(1)), deleted(person(2)))
		for _, err := range errs {
			if fault, _ := connectors.FaultOf(err); fault != connectors.Setup || !strings.Contains(fmt.Sprint(err), tab.want) {
				t.Errorf("%s: got %v", tab.name, err)
			}
		}
		w.holds(before...)
	}
}

func TestAMissingTabIsSetup(t *testing.T) {
	w := newWorld(t)
	w.title = "It's mine"
	for _, err := range []error{w.push(created(person(1)))[0], w.c.Check(context.Background())} {
		if fault, _ := connectors.FaultOf(err); fault != connectors.Setup || !strings.HasSuffix(fmt.Sprint(err), `is there a tab "Leads"?`) {
			t.Errorf("got %v", err)
		}
	}
	w.c = w.open(map[string]any{"sheet": "It's mine"})
	if err := w.c.Check(context.Background()); err != nil {
		t.Error(err)
	}
	w.pushed(created(person(1)))
	w.holds(header, row(person(1)))
}

func TestALongTabIsReadInPages(t *testing.T) {
	w := newWorld(t)
	w.resize(2*pageRows+500, 4)
	w.fill(header)
	for i := 1; i < 2*pageRows+200; i++ {
		w.rows[i][0] = content{"stringValue", fmt.Sprintf("lead_1jkq7g2a0%014d", 100_000+i)}
	}
	last := lead.Lead{ID: w.rows[2*pageRows+199][0].text, Name: "Last", Email: "l@example.com", Revision: 2}
	before := len(w.Records())
	w.pushed(updated(last), created(person(1)))
	if reads := len(w.calls()) - 1; reads != 4 {
		t.Errorf("%d reads", reads)
	}
	w.pushed(updated(last))
	if reads := len(w.calls()) - 1; reads != 3 {
		t.Errorf("%d reads the second time", reads)
	}
	if got := len(w.Records()); got != before+1 {
		t.Errorf("%d rows, want %d", got, before+1)
	}
}

// T12: an append is applied and its answer lost, or others append at the same time.
func TestT12AnAppendThatIsRepeatedLeavesOneRow(t *testing.T) {
	w := newWorld(t)
	w.answered = func(_ http.ResponseWriter, n int) {
		if n == 1 {
			panic(http.ErrAbortHandler)
		}
	}
	changes := []lead.Change{created(person(1)), created(person(2))}
	for _, err := range w.push(changes...) {
		if fault, _ := connectors.FaultOf(err); fault != connectors.Unknown {
			t.Errorf("got %v", err)
		}
	}
	w.holds(header, row(person(1)), row(person(2)))
	w.pushed(changes...)
	w.holds(header, row(person(1)), row(person(2)))
}

func TestT12ParallelWritersOverwriteNoRow(t *testing.T) {
	w := newWorld(t)
	w.pushed(created(person(0)))
	const writers, each = 4, 10
	var group sync.WaitGroup
	for n := range writers {
		c := w.open(nil) // as another process: only the worker's limits keep them apart, not here
		group.Go(func() {
			for i := range each {
				if _, err := c.Push(context.Background(), created(person(1+n*each+i)), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	found := map[string]int{}
	for _, record := range w.Records() {
		found[record.Key]++
	}
	for i := range 1 + writers*each {
		if found[person(i).ID] != 1 {
			t.Errorf("lead %d has %d rows", i, found[person(i).ID])
		}
	}
}

// T13: rows move, between two pushes and between our read and our write.
func TestT13RowsThatMovedAreFoundAgain(t *testing.T) {
	w := newWorld(t)
	one, two, three := person(1), person(2), person(3)
	w.resize(2, 3)
	w.fill(header)
	w.pushed(created(one), created(two), created(three))
	w.swapRows(1, 3)
	w.insertRow(2, "", "a person's row")
	for i, row := range w.rows { // and the columns, too
		w.rows[i] = append(slices.Clone(row[1:]), row[0])
	}
	w.pushed(updated(renamed(one, "Uno")), deleted(two))
	w.holds(
		[]string{"name", "email", "lead_id"},
		[]string{three.Name, three.Email, three.ID},
		[]string{"a person's row"},
		[]string{"Uno", one.Email, one.ID},
	)
	if w.log.Len() > 0 {
		t.Errorf("the log says %s", w.log)
	}
}

func TestT13RowsThatMoveBetweenReadAndWrite(t *testing.T) {
	one, two, three, four := person(1), person(2), person(3), person(4)
	uno := renamed(one, "Uno")
	for _, move := range []struct {
		name    string
		person  func(v *vendor)
		changes []lead.Change
		failed  []int
		between [][]string // after the first push, but for the header
		log     []string   // nil: nothing to say
		want    [][]string // after the failed were pushed again
	}{
		{
			name: "an insert harms no new lead", person: func(v *vendor) { v.insertRow(1, "", "mine") },
			changes: []lead.Change{created(four)},
			between: [][]string{{"", "mine"}, row(one, "his"), row(two, "hers"), row(four), row(three)},
			want:    [][]string{{"", "mine"}, row(one, "his"), row(two, "hers"), row(four), row(three)},
		},
		{
			name: "a sort under an update", person: func(v *vendor) { v.swapRows(1, 2) },
			changes: []lead.Change{updated(uno)}, failed: []int{0},
			between: [][]string{{two.ID, "", "", "hers"}, row(one, "his"), row(three)},
			log:     []string{"leads=[" + two.ID + "]", "overwritten_emptied=true", "rows_without_lead_id=0"},
			want:    [][]string{{two.ID, "", "", "hers"}, row(uno, "his"), row(three)},
		},
		{
			name: "a sort under an update of both", person: func(v *vendor) { v.swapRows(1, 2) },
			changes: []lead.Change{updated(uno), updated(two)}, failed: []int{0, 1},
			between: [][]string{{two.ID, uno.Name, one.Email, "hers"}, {one.ID, two.Name, two.Email, "his"}, row(three)},
			want:    [][]string{row(two, "hers"), row(uno, "his"), row(three)},
		},
		{
			name: "an insert under an update", person: func(v *vendor) { v.insertRow(1, "", "mine") },
			changes: []lead.Change{updated(uno)}, failed: []int{0},
			between: [][]string{{"", "Uno", one.Email}, row(one, "his"), row(two, "hers"), row(three)},
			log:     []string{"leads=[]", "rows_without_lead_id=1"},
			want:    [][]string{{"", "Uno", one.Email}, row(uno, "his"), row(two, "hers"), row(three)},
		},
		{
			name: "a sort under a delete", person: func(v *vendor) { v.swapRows(1, 2) },
			changes: []lead.Change{deleted(one), created(four)}, failed: []int{0},
			between: [][]string{row(one, "his"), row(three), row(four)},
			log:     []string{"leads=[" + two.ID + "]"},
			want:    [][]string{row(three), row(four)},
		},
		{
			name: "an insert under a delete", person: func(v *vendor) { v.insertRow(1, "", "mine") },
			changes: []lead.Change{deleted(one)}, failed: []int{0},
			between: [][]string{row(one, "his"), row(two, "hers"), row(three)},
			log:     []string{"leads=[]", "rows_without_lead_id=1"},
			want:    [][]string{row(two, "hers"), row(three)},
		},
		{
			name: "a column moved", person: func(v *vendor) {
				for i := range v.rows {
					v.rows[i][1], v.rows[i][3] = v.rows[i][3], v.rows[i][1]
				}
			},
			changes: []lead.Change{updated(uno)}, failed: []int{0},
			between: [][]string{{one.ID, "Uno", one.Email, one.Name}, {two.ID, "hers", two.Email, two.Name}, {three.ID, "", three.Email, three.Name}},
			log:     []string{"columns_moved=true"},
			want:    [][]string{{one.ID, "Uno", one.Email, "Uno"}, {two.ID, "hers", two.Email, two.Name}, {three.ID, "", three.Email, three.Name}},
		},
	} {
		t.Run(move.name, func(t *testing.T) {
			w := newWorld(t)
			w.fill([]string{"lead_id", "name", "email", "Notes"}, row(one, "his"), row(two, "hers"), row(three))
			w.between = func() { move.person(w.vendor) }
			var again []lead.Change
			var failed []int
			for i, err := range w.push(move.changes...) {
				if err == nil {
					continue
				}
				if fault, _ := connectors.FaultOf(err); fault != connectors.Remote {
					t.Errorf("item %d: %v", i, err)
				}
				failed, again = append(failed, i), append(again, move.changes[i])
			}
			if !slices.Equal(failed, move.failed) {
				t.Errorf("failed are %v, want %v", failed, move.failed)
			}
			if got := w.texts()[1:]; !reflect.DeepEqual(got, move.between) {
				t.Errorf("the tab holds\n%s\nwant\n%s", grid(got), grid(move.between))
			}
			w.logged(move.log...)
			if said := fmt.Sprintf("leads=%v ", w.spoilt); move.log != nil && !strings.Contains(w.log.String(), said) {
				t.Errorf("to be pushed again are %s; the log says %s", said, w.log)
			}
			if move.log == nil && w.log.Len() > 0 {
				t.Errorf("the log says %s", w.log)
			}
			if again != nil {
				w.pushed(again...)
			}
			if got := w.texts()[1:]; !reflect.DeepEqual(got, move.want) {
				t.Errorf("in the end the tab holds\n%s\nwant\n%s", grid(got), grid(move.want))
			}
		})
	}
}

func TestAWriteThatIsRefusedForRowsThatAreGoneIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	one, two := person(1), person(2)
	w.fill(header, row(one), row(two))
	w.between = func() { w.vendor.rows = w.vendor.rows[:2] } // the last row of the grid is the first lead's
	errs := w.push(deleted(two))
	if fault, _ := connectors.FaultOf(errs[0]); fault != connectors.Remote {
		t.Errorf("got %v, %v", fault, errs[0])
	}
	w.pushed(deleted(two))
	w.holds(header, row(one))
}

func TestATabThatShrankIsReadAnew(t *testing.T) {
	w := newWorld(t)
	one := person(1)
	w.fill([]string{"Owner", "Notes", "lead_id", "name", "email"}, append([]string{"", ""}, row(one)...))
	w.pushed(updated(one))
	for i, row := range w.rows { // the columns before are deleted, and so are the empty ones behind
		w.rows[i] = []content{row[3], row[2]}
	}
	w.columns = 2
	if fault, _ := connectors.FaultOf(w.push(updated(one))[0]); fault != connectors.Remote {
		t.Errorf("got %v", fault)
	}
	w.pushed(updated(one))
	w.holds([]string{"name", "lead_id", "email"}, []string{one.Name, one.ID, one.Email})
}

// A process that is stopped between its read and its write may find the tab in another's hands when it goes on.
func TestNothingIsWrittenByWhatWasReadLongAgo(t *testing.T) {
	for _, clock := range []struct {
		name   string
		before func(time.Time) time.Time
	}{
		{"paused", func(at time.Time) time.Time { return at.Add(-staleAfter - time.Second) }},
		{"asleep", func(at time.Time) time.Time { return at.Add(-staleAfter - time.Second).Round(0) }},
	} {
		w := newWorld(t)
		e, _ := w.c.edit(created(person(1)))
		before, err := w.c.read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		before.at = clock.before(before.at)
		w.calls()
		_, err = w.c.carryOut(context.Background(), w.c.plan(before, []edit{e}))
		if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Remote || len(w.calls()) != 0 {
			t.Errorf("%s: got %v", clock.name, err)
		}
	}
}

func TestAProtectedRowIsItsLeadsFaultAlone(t *testing.T) {
	one, two, three, four := person(1), person(2), person(3), person(4)
	lock := func(fromRow, toRow, fromColumn, toColumn int) (l protectedRange) {
		l.Range.StartRowIndex, l.Range.EndRowIndex = fromRow, toRow
		l.Range.StartColumnIndex, l.Range.EndColumnIndex = fromColumn, toColumn
		return l
	}
	ours, warns := lock(2, 3, 0, 0), lock(2, 3, 0, 0)
	ours.RequestingUserCanEdit, warns.WarningOnly = true, true
	all := []lead.Change{updated(renamed(one, "Uno")), updated(renamed(two, "Due")), deleted(three), created(four)}
	for _, tab := range []struct {
		name   string
		locks  []protectedRange
		faults []connectors.Fault // nil: none fails
	}{
		{"a row", []protectedRange{lock(2, 3, 0, 0)}, []connectors.Fault{-1, connectors.Lead, -1, -1}},
		{"two rows", []protectedRange{lock(2, 4, 0, 2)}, []connectors.Fault{-1, connectors.Lead, connectors.Lead, -1}},
		{"cells beside ours", []protectedRange{lock(1, 4, 3, 4)}, []connectors.Fault{-1, -1, connectors.Lead, -1}},
		{"a row for others", []protectedRange{ours, warns}, nil},
		{"the header", []protectedRange{lock(0, 1, 0, 0)}, nil},
		{"what is far below", []protectedRange{lock(15, 18, 0, 0)}, nil},
		{"the whole tab", []protectedRange{lock(0, 0, 0, 0)}, []connectors.Fault{connectors.Setup, connectors.Setup, connectors.Setup, connectors.Setup}},
		{"a column of ours", []protectedRange{lock(1, 0, 1, 2)}, []connectors.Fault{connectors.Setup, connectors.Setup, connectors.Setup, connectors.Setup}},
		{"all rows and more", []protectedRange{lock(1, 10, 0, 0)}, []connectors.Fault{connectors.Setup, connectors.Setup, connectors.Setup, connectors.Setup}},
	} {
		w := newWorld(t)
		w.fill([]string{"lead_id", "name", "email", "Notes"}, row(one), row(two), row(three))
		w.locks = tab.locks
		before := w.texts()
		for i, err := range w.push(all...) {
			fault, _ := connectors.FaultOf(err)
			if err == nil {
				fault = -1
			}
			if want := append(tab.faults, -1, -1, -1, -1)[i]; fault != want {
				t.Errorf("%s: item %d: got %v, %v; want %v", tab.name, i, fault, err, want)
			}
		}
		if tab.faults != nil && tab.faults[0] == connectors.Setup {
			if fault, _ := connectors.FaultOf(w.push(all[1])[0]); fault != connectors.Setup {
				t.Errorf("%s: an update alone is %v", tab.name, fault)
			}
			w.holds(before...)
			continue
		}
		w.locks = nil
		w.pushed(all...)
		w.holds(before[0], row(renamed(one, "Uno")), row(renamed(two, "Due")), row(four))
	}
}

// T26: no text becomes a formula, a number or a date.
func TestT26ATextStaysAText(t *testing.T) {
	for _, text := range []string{
		`=cmd|'/C calc'!A0`, `=HYPERLINK("https://evil.example","x")`, "=1+1", "+44 20 7946 0000", "-1", "@SUM(A1)", "0007", "1/2", "2026-01-02", "TRUE", "'quoted",
	} {
		w := newWorld(t)
		l := person(1)
		l.Name = text
		w.pushed(created(l))
		if got := w.rows[1][1]; got != (content{"stringValue", text}) {
			t.Errorf("%q became %+v", text, got)
		}
		w.pushed(updated(renamed(l, text)))
		if got := w.rows[1][1]; got != (content{"stringValue", text}) {
			t.Errorf("%q became %+v with an update", text, got)
		}
	}
}

func TestCells(t *testing.T) {
	for _, row := range []struct {
		value any
		want  string
	}{
		{nil, `{}`},
		{"", `{}`},
		{"Ann", `{"userEnteredValue":{"stringValue":"Ann"}}`},
		{"a\r\nb\tc\x00\x1b\u0085d", `{"userEnteredValue":{"stringValue":"a\nb\tcd"}}`},
		{true, `{"userEnteredValue":{"boolValue":true}}`},
		{false, `{"userEnteredValue":{"boolValue":false}}`},
		{int64(0), `{"userEnteredValue":{"numberValue":0}}`},
		{json.Number("1500"), `{"userEnteredValue":{"numberValue":1500}}`},
		{json.Number("-0.1e-3"), `{"userEnteredValue":{"numberValue":-0.1e-3}}`},
		{json.Number("123456789012345"), `{"userEnteredValue":{"numberValue":123456789012345}}`},
		{json.Number("1234567890123456"), `{"userEnteredValue":{"stringValue":"1234567890123456"}}`},
		{json.Number("1e999"), `{"userEnteredValue":{"stringValue":"1e999"}}`},
		{math.Inf(1), `{"userEnteredValue":{"stringValue":"+Inf"}}`},
		{[]any{"a", json.Number("2"), nil, true}, `{"userEnteredValue":{"stringValue":"a, 2, , true"}}`},
		{[]any{map[string]any{"a": "<b>"}}, `{"userEnteredValue":{"stringValue":"[{\"a\":\"<b>\"}]"}}`},
		{map[string]any{"b": "x", "a": json.Number("1")}, `{"userEnteredValue":{"stringValue":"{\"a\":1,\"b\":\"x\"}"}}`},
	} {
		var got strings.Builder
		encoder := json.NewEncoder(&got)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(cellOf(row.value)); err != nil || strings.TrimSpace(got.String()) != row.want {
			t.Errorf("%#v: got %s, %v; want %s", row.value, got.String(), err, row.want)
		}
	}
}

func TestAValueThatNoCellHoldsIsTheLeadsFaultAlone(t *testing.T) {
	w := newWorld(t)
	long, full := person(1), person(2)
	long.Name, full.Name = strings.Repeat("😀", 25_001), strings.Repeat("長", 50_000)
	c := w.c
	for _, row := range []struct {
		l  lead.Lead
		ok bool
	}{{long, false}, {full, true}} {
		_, err := c.edit(created(row.l))
		if fault, _ := connectors.FaultOf(err); row.ok != (err == nil) || err != nil && fault != connectors.Lead {
			t.Errorf("got %v", err)
		}
	}
	errs := w.push(created(long), created(person(3)))
	if fmt.Sprint(errs[0]) != "googlesheets: row: field name: longer than the 50000 characters a cell holds" || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
	w.holds(header, row(person(3)))
}

func TestABatchOfMuchTextIsSplit(t *testing.T) {
	w := newWorld(t)
	var changes []lead.Change
	for i := range 90 {
		l := person(i)
		l.Name = strings.Repeat("x", 40_000)
		changes = append(changes, created(l))
	}
	var left []lead.Change
	for i, err := range w.push(changes...) {
		if fault, wait := connectors.FaultOf(err); err != nil {
			left = append(left, changes[i])
			if fault != connectors.Throttled || wait <= 0 {
				t.Errorf("item %d, which the second write did not carry: %v", i, err)
			}
		}
	}
	writes := func() (n int) {
		for _, call := range w.calls() {
			if len(call.body) > 2_000_000 {
				t.Errorf("a body of %d bytes", len(call.body))
			}
			if call.isWrite() {
				n++
			}
		}
		return n
	}
	if n := writes(); n != 2 || len(w.Records()) != 90-len(left) || len(left) != 90-2*37 {
		t.Errorf("%d rows by %d writes, %d left", len(w.Records()), n, len(left))
	}
	w.pushed(left...)
	if n := writes(); n != 1 || len(w.Records()) != 90 {
		t.Errorf("%d rows by %d more writes", len(w.Records()), n)
	}
	// The second write fails: what was before is written, the rest is not tried.
	w = newWorld(t)
	w.answered = func(_ http.ResponseWriter, n int) {
		if n == 2 {
			panic(http.ErrAbortHandler)
		}
	}
	errs := w.push(changes...)
	if n := writes(); errs[0] != nil || errs[45] == nil || errs[89] == nil || n != 2 {
		t.Errorf("got %v, %v, %v after %d writes", errs[0], errs[45], errs[89], n)
	}
}

func TestRefusals(t *testing.T) {
	errorBody := func(code int, rest string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"error":{"code":%d,%s}}`, code, rest)
			return true
		}
	}
	for _, row := range []struct {
		name   string
		answer func(http.ResponseWriter) bool
		fault  connectors.Fault
		want   string
	}{
		{"quota", errorBody(429, `"message":"Quota exceeded for quota metric 'Write requests'","status":"RESOURCE_EXHAUSTED"`), connectors.Throttled, "googlesheets: read: 429 Quota exceeded for quota metric 'Write requests': RESOURCE_EXHAUSTED"},
		{"quota, the old way", errorBody(403, `"message":"Rate Limit Exceeded","errors":[{"reason":"rateLimitExceeded"}]`), connectors.Throttled, "googlesheets: read: 403 Rate Limit Exceeded"},
		{"quota in details", errorBody(403, `"message":"x","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED"}]`), connectors.Throttled, "googlesheets: read: 403 x: PERMISSION_DENIED"},
		{"not shared", errorBody(403, `"message":"The caller does not have permission","status":"PERMISSION_DENIED"`), connectors.Setup, "googlesheets: read: 403 The caller does not have permission: PERMISSION_DENIED; is the spreadsheet shared with the service account (client_email in its key) as an editor?"},
		{"no such spreadsheet", errorBody(404, `"message":"Requested entity was not found.","status":"NOT_FOUND"`), connectors.Setup, "googlesheets: read: 404 Requested entity was not found.: NOT_FOUND"},
		{"protected", errorBody(400, `"message":"Invalid requests[0].updateCells: You are trying to edit a protected cell or object.","status":"INVALID_ARGUMENT"`), connectors.Setup, "googlesheets: read: 400 Invalid requests[0].updateCells: You are trying to edit a protected cell or object.: INVALID_ARGUMENT"},
		{"aborted", errorBody(409, `"message":"The operation was aborted.","status":"ABORTED"`), connectors.Remote, "googlesheets: read: 409 The operation was aborted.: ABORTED"},
		{"down", errorBody(503, `"message":"The service is currently unavailable.","status":"UNAVAILABLE"`), connectors.Remote, "googlesheets: read: 503 The service is currently unavailable.: UNAVAILABLE"},
	} {
		w := newWorld(t)
		w.refuse = row.answer
		err := w.push(created(person(1)))[0]
		if fault, _ := connectors.FaultOf(err); fault != row.fault || fmt.Sprint(err) != row.want {
			t.Errorf("%s: got %v, %v; want %v, %s", row.name, fault, err, row.fault, row.want)
		}
	}
}

func TestSignIn(t *testing.T) {
	answer := func(code int, body string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.WriteHeader(code)
			io.WriteString(w, body)
			return true
		}
	}
	for _, row := range []struct {
		name   string
		answer func(http.ResponseWriter) bool
		fault  connectors.Fault
		want   string
	}{
		{"a deleted account", answer(400, `{"error":"invalid_grant","error_description":"Invalid grant: account not found"}`), connectors.Setup, "googlesheets: sign in: 400 Invalid grant: account not found: invalid_grant"},
		{"an unknown client", answer(401, `{"error":"invalid_client"}`), connectors.Setup, "googlesheets: sign in: 401 invalid_client"},
		{"throttled", answer(429, `{}`), connectors.Throttled, "googlesheets: sign in: 429"},
		{"down", answer(500, `oops`), connectors.Remote, "googlesheets: sign in: 500"},
		{"no token", answer(200, `{}`), connectors.Remote, "googlesheets: sign in: the answer is not an access token"},
		{"a page", answer(200, `<html>`), connectors.Remote, "googlesheets: sign in: the answer is not an access token"},
		{"no answer", func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, connectors.Remote, "googlesheets: sign in: no whole answer: "},
	} {
		w := newWorld(t)
		w.refuseSignIn = row.answer
		err := w.push(created(person(1)))[0]
		if fault, _ := connectors.FaultOf(err); fault != row.fault || !strings.HasPrefix(fmt.Sprint(err), row.want) {
			t.Errorf("%s: got %v, %v; want %v, %s", row.name, fault, err, row.fault, row.want)
		}
		if len(w.calls()) != 0 {
			t.Errorf("%s: the API was called", row.name)
		}
		w.refuseSignIn = nil
		w.pushed(created(person(1)))
	}
}

func TestAnErrorRepeatsNoSecretOfItsRequest(t *testing.T) {
	w := newWorld(t)
	repeat := func(what func() string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"message":%q}}`, "cannot make sense of "+what())
			return true
		}
	}
	w.refuse = repeat(func() string { return testToken })
	if err := w.push(created(person(1)))[0]; err == nil || strings.Contains(err.Error(), testToken) || !strings.Contains(err.Error(), "cannot make sense of") {
		t.Errorf("got %v", err)
	}
	w.c = w.open(nil)
	assertion := ""
	w.refuseSignIn = func(rw http.ResponseWriter) bool {
		return repeat(func() string { return assertion })(rw)
	}
	w.sawSignIn = func(r *http.Request) { assertion = r.FormValue("assertion") }
	err := w.push(created(person(1)))[0]
	if assertion == "" || err == nil || strings.Contains(err.Error(), assertion[:20]) || !strings.Contains(err.Error(), "cannot make sense of") {
		t.Errorf("got %v", err)
	}
}

func TestATokenIsUsedUntilItExpiresOrIsRefused(t *testing.T) {
	w := newWorld(t)
	w.pushed(created(person(1)))
	w.pushed(created(person(2)))
	if w.tokens != 1 {
		t.Errorf("%d sign-ins, want 1", w.tokens)
	}
	w.c.token.Expiry = time.Now().Add(-time.Second)
	w.pushed(created(person(3)))
	if w.tokens != 2 {
		t.Errorf("%d sign-ins after it expired, want 2", w.tokens)
	}
	w.c.token.AccessToken = "revoked"
	if fault, _ := connectors.FaultOf(w.push(created(person(4)))[0]); fault != connectors.Setup {
		t.Errorf("a revoked token is %v", fault)
	}
	w.pushed(created(person(4)))
	if w.tokens != 3 {
		t.Errorf("%d sign-ins after it was refused, want 3", w.tokens)
	}
}

func TestASignInCanBeCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.refuseSignIn = func(http.ResponseWriter) bool { cancel(); <-ctx.Done(); return false }
	if _, err := w.c.Push(ctx, created(person(1)), ""); err == nil {
		t.Error("no error")
	}
}

func TestLetters(t *testing.T) {
	for column, want := range map[int]string{0: "A", 25: "Z", 26: "AA", 51: "AZ", 52: "BA", 701: "ZZ", 702: "AAA", 18277: "ZZZ"} {
		if got := letters(column); got != want {
			t.Errorf("%d: got %s, want %s", column, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	account := func(edit func(map[string]any)) string {
		var key map[string]any
		json.Unmarshal([]byte(testCredentials("https://oauth2.example/token")), &key)
		edit(key)
		text, _ := json.Marshal(key)
		return string(text)
	}
	for _, row := range []struct {
		name     string
		settings map[string]any
		want     string // "" for none
	}{
		{"the least", nil, ""},
		{"a key without token_uri", map[string]any{"credentials": account(func(k map[string]any) { delete(k, "token_uri") })}, ""},
		{"a key that is not JSON", map[string]any{"credentials": testKeyPEM()}, "credentials: must be the JSON key of a service account"},
		{"a user's key", map[string]any{"credentials": account(func(k map[string]any) { k["type"] = "authorized_user" })}, `credentials: must be the JSON key of a service account ("type": "service_account")`},
		{"a damaged key", map[string]any{"credentials": account(func(k map[string]any) { k["private_key"] = "-----BEGIN" })}, "credentials: private_key is not PEM; the file may have been damaged when it was copied"},
		{"no key at all", map[string]any{"credentials": account(func(k map[string]any) {
			k["private_key"] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
		})}, "credentials: private_key is not an RSA key"},
		{"a token_uri that is none", map[string]any{"credentials": account(func(k map[string]any) { k["token_uri"] = "x" })}, "credentials: token_uri is not a URL"},
		{"a whole address", map[string]any{"spreadsheet_id": "https://docs.google.com/spreadsheets/d/1A/edit"}, "spreadsheet_id: must be the part of the spreadsheet's address between /d/ and /edit"},
		{"no URL", map[string]any{"base_url": "sheets"}, "base_url: must be a URL such as https://sheets.googleapis.com"},
		{"everything wrong", map[string]any{"credentials": "", "spreadsheet_id": "", "sheet": "", "timeout": "0s"}, "credentials: required\nspreadsheet_id: required\nsheet: required\ntimeout: must be above 0"},
	} {
		settings := map[string]any{"credentials": testCredentials("https://oauth2.example/token"), "spreadsheet_id": testSpreadsheet}
		for key, value := range row.settings {
			settings[key] = value
		}
		_, err := Kind.Open(settings, connectors.Env{Log: slog.New(slog.DiscardHandler)})
		if err == nil && row.want != "" || err != nil && err.Error() != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	mapping, _ := connectors.NewMapping([]connectors.FieldRule{{To: "lead_id", From: "id"}, {To: " x", From: "name"}})
	_, err := Kind.Open(map[string]any{"credentials": testCredentials("https://a.example"), "spreadsheet_id": "1"}, connectors.Env{Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if want := "fields: lead_id is always written, remove its rule\nfields: \" x\" begins or ends with white space"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTheYAMLInThePackageCommentLoads(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	for line := range strings.Lines(string(source)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok {
			example.WriteString(text)
		}
	}
	var config struct {
		Connectors []struct {
			Type     string
			Settings map[string]any
		}
	}
	if err := yaml.Unmarshal([]byte(example.String()), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Connectors) != 1 || config.Connectors[0].Type != Kind.Name {
		t.Fatalf("the example is %+v", config)
	}
	settings := config.Connectors[0].Settings
	secret := filepath.Join(t.TempDir(), "google.json")
	if err := os.WriteFile(secret, []byte(testCredentials("https://oauth2.example/token")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings["credentials_file"] = secret
	opened, err := Kind.Open(settings, connectors.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	got := opened.(*connector).Settings
	want := defaults
	want.Credentials, want.SpreadsheetID = got.Credentials, testSpreadsheet
	if got != want {
		t.Errorf("the example gives %+v; but for what it must set, the defaults are %+v", got, want)
	}
}
