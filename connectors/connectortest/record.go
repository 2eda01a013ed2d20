package connectortest

import (
	"encoding/json"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// recordChecks are about what the vendor holds in the end.
var recordChecks = []check{
	{"a create, an update and a delete are seen at the vendor", needsChanges, in(func(w *world) {
		neighbour, l := Sample(1), Sample(2)
		w.pushed(Created(neighbour), "")
		ref := w.pushed(Created(l), "")
		w.holds(l)
		l = Edited(l)
		ref = w.pushed(Updated(l), ref)
		w.holds(l)
		w.pushed(Deleted(l), ref)
		w.count(1)
		w.holds(neighbour)
	})},
	{"the same create twice leaves one record", nil, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		if again := w.pushed(Created(l), ref); again != ref {
			w.Errorf("the second Push returned the ref %q, the first %q", again, ref)
		}
		w.count(1)
		w.holds(l)
	})},
	{"the same create with its ref forgotten leaves one record", needsRecords, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		if again := w.pushed(Created(l), w.recovered(l)); again != ref {
			w.Errorf("the second Push returned the ref %q, the first %q", again, ref)
		}
		w.count(1)
		w.holds(l)
	})},
	{"the same update twice leaves one record", needsChanges, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		ref = w.pushed(Updated(l), ref)
		w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
	})},
	{"an update of a lead never pushed creates its record", needsRecords, in(func(w *world) {
		l := Edited(Sample(1))
		w.pushed(Updated(l), "")
		w.count(1)
		w.holds(l)
	})},
	{"an update of a record that is gone creates it anew", needsRecords, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		w.pushed(Deleted(l), ref)
		w.count(0)
		l = Edited(l)
		w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
	})},
	{"a delete twice succeeds", needsChanges, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		w.pushed(Deleted(l), ref)
		w.pushed(Deleted(l), ref)
		w.count(0)
	})},
	{"a delete of a lead never pushed succeeds and touches nobody else", nil, in(func(w *world) {
		neighbour := Sample(1)
		w.pushed(Created(neighbour), "")
		w.pushed(Deleted(Sample(2)), "")
		w.count(1)
		w.holds(neighbour)
	})},
	{"a changed address leaves no second record", needsChanges, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		l.Email = "somebody.else@example.org"
		ref = w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
		w.pushed(Updated(l), ref)
		w.count(1)
		w.pushed(Deleted(l), ref)
		w.count(0)
	})},
	{"a changed address that is pushed again with the old ref leaves no second record", needsRecords, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		l.Email = "somebody.else@example.org"
		w.pushed(Updated(l), ref)
		w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
	})},
	{"an address that changes there and back leaves one record", needsChanges, in(func(w *world) {
		l := Sample(1)
		home := l.Email
		ref := w.pushed(Created(l), "")
		for _, address := range []string{"somebody.else@example.org", home, "somebody.else@example.org", home} {
			l = Edited(l)
			l.Email = address
			ref = w.pushed(Updated(l), ref)
			w.count(1)
			w.holds(l)
		}
		w.pushed(Deleted(l), ref)
		w.count(0)
	})},
	{"an address that is only spelled differently stays one record", needsChanges, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		l.Email = strings.ToUpper(l.Email[:1]) + l.Email[1:]
		ref = w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
		w.pushed(Deleted(l), ref)
		w.count(0)
	})},
	{"a lead that the filter leaves out is taken away, and may come back", needsRecords, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		leftOut := Updated(l)
		leftOut.Op = lead.Delete // as the worker asks: nobody forgot the lead, so it is there whole
		w.pushed(leftOut, ref)
		w.count(0)
		l = Edited(l)
		ref = w.pushed(Created(l), "")
		w.count(1)
		w.holds(l)
		w.pushed(Deleted(l), ref)
		w.count(0)
	})},
	{"two leads of one address are as many records as the harness says", needsRecords, in(func(w *world) {
		first, second := Sample(1), Sample(2)
		second.Email = strings.ToUpper(first.Email)
		w.pushed(Created(first), "")
		w.pushed(Created(second), "")
		if w.h.KeyedByEmail {
			w.count(1)
		} else {
			w.count(2)
		}
	})},
	{"a value that is cleared is cleared at the vendor", needsChanges, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		l.Name, l.Note, l.Custom = "", "", nil
		w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
	})},
	{"unusual values arrive whole", nil, in(func(w *world) {
		for i, unusual := range unusualLeads() {
			l := unusual.lead
			ref, err := w.push(Created(l), "")
			if err != nil {
				w.Errorf("%s: %v", unusual.name, err)
				continue
			}
			w.holds(l)
			if w.h.CreatesOnly {
				continue
			}
			edited := l
			edited.Revision++
			edited.Source = "shop"
			ref, err = w.push(Updated(edited), ref)
			if err != nil {
				w.Errorf("%s: update: %v", unusual.name, err)
				continue
			}
			w.holds(edited)
			if i%2 == 0 {
				w.pushed(Deleted(edited), ref)
				if left := w.of(edited); len(left) != 0 {
					w.Errorf("%s: deleted, and still there: %q", unusual.name, left)
				}
			}
		}
	})},
	{"what the vendor is not told of is no call, and no failure", func(can abilities) bool { return can.http && !can.changes }, in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		calls := w.front.seen()
		ref = w.pushed(Updated(Edited(l)), ref)
		w.pushed(Deleted(l), ref)
		if made := w.front.seen() - calls; made != 0 {
			w.Errorf("%d requests were sent", made)
		}
		w.count(1)
		w.holds(l)
	})},
	{"a lead that the vendor refuses is the lead's fault", func(can abilities) bool { return can.badLead }, in(func(w *world) {
		_, err := w.push(Created(w.h.BadLead(Sample(1))), "")
		w.wantFault("a bad lead", err, connectors.Lead)
		w.count(0)
		w.pushed(Created(Sample(2)), "")
		w.holds(Sample(2))
	})},
	{"Find finds by the lead's id alone, and says so when there is none", needsFinder, in(func(w *world) {
		finder := w.connector.(connectors.Finder)
		if ref, found := w.find(finder, Sample(1)); found {
			w.Errorf("found %q in an empty system", ref)
		}
		w.pushed(Created(Sample(1)), "")
		want := w.pushed(Created(Sample(2)), "")
		if ref, found := w.find(finder, Sample(2)); !found || ref != want {
			w.Errorf("got %q, %v; want what Push returned, %q", ref, found, want)
		}
		if ref, found := w.find(finder, Sample(3)); found {
			w.Errorf("found %q for a lead never pushed", ref)
		}
		w.pushed(Deleted(Sample(2)), want)
		if ref, found := w.find(finder, Sample(2)); found {
			w.Errorf("found %q after its delete", ref)
		}
	})},
}

type unusual struct {
	name string
	lead lead.Lead
}

func unusualLeads() []unusual {
	var all []unusual
	add := func(name string, edit func(l *lead.Lead)) {
		l := Sample(100 + len(all))
		edit(&l)
		all = append(all, unusual{name, l})
	}
	add("nothing but an address", func(l *lead.Lead) {
		l.Name, l.Source, l.Note, l.Custom = "", "", "", nil
	})
	add("emoji", func(l *lead.Lead) {
		l.Name, l.Note = "👩‍🚀 Zoë 🎉", "🇪🇺🏳️‍🌈 ünïcödé 𝔘"
	})
	add("right to left", func(l *lead.Lead) { l.Name, l.Note = "שלומית כהן", "مرحبا بالعالم" })
	add("a long note", func(l *lead.Lead) { l.Note = strings.Repeat("a long story. ", 714) })
	add("long characters", func(l *lead.Lead) { l.Name, l.Note = strings.Repeat("長", 200), strings.Repeat("語", lead.MaxNote) })
	add("quotes", func(l *lead.Lead) {
		l.Name, l.Note = `Zenobia "Zee" O'Quill`, `she said "so, 'yes'"; back\slash, `+"`tick`"
	})
	add("lines and tabs", func(l *lead.Lead) { l.Note = "first line\nsecond line\r\nthird\tline\n" })
	add("formulas", func(l *lead.Lead) { l.Name, l.Note = "=1+1", "@SUM(A1)" })
	add("numbers in texts", func(l *lead.Lead) { l.Name, l.Note = "007", "+442079460000" })
	add("markup", func(l *lead.Lead) {
		l.Name, l.Note = "<b>Zee</b>", "<script>alert(1)</script> &amp; {{.name}} ${HOME} %s"
	})
	add("a spelled address", func(l *lead.Lead) { l.Email = "Zee.O'Quill+tag@Example.COM" })
	add("nested custom fields", func(l *lead.Lead) {
		l.Custom = map[string]any{
			"tags":        []any{"one", "two", json.Number("3")},
			"address":     map[string]any{"city": "Zürich", "lines": []any{}},
			"exact":       json.Number("12345678901234567890.50"),
			"consent":     false,
			"a, \"name\"": "odd name",
			"data":        "named as a member",
		}
	})
	return all
}
