package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	leadsPage = 50
	// lookFor is how long a page looks for leads, so that it is there before anybody waits for it.
	lookFor = 100 * time.Millisecond
)

// filter is which leads are asked for; "": any.
type filter struct {
	What      string // a name, or part of it, or an address: personal data
	Source    string
	Connector string // with State
	State     store.State
}

// leadsList is what the list of leads shows.
type leadsList struct {
	filter
	Filtered   bool
	Rows       []leadRow
	Connectors []string
	States     []stateChoice
	First      string // the address of the newest page; "": it is this one
	Next       string // the address of the next page; "": it is the last one

	Unfinished  bool // the page is not full, and the search goes on at Next
	Looked, All int64
}

type stateChoice struct {
	Value       store.State
	Words, Look string
}

// leadRow is a lead, and where it stands at a glance.
type leadRow struct {
	lead.Lead
	Marks  []mark
	Failed string // the connectors that refused it
}

// mark is where a lead stands with one connector.
type mark struct{ Connector, Words, Look string }

// filterOf reads what the address of a list of leads asks for.
func (v *visit) filterOf(asked url.Values) (filter, error) {
	f := filter{Source: asked.Get("source"), Connector: asked.Get("connector"), State: store.State(asked.Get("state"))}
	if sealed := asked.Get("found"); sealed != "" {
		what, ok := v.unseal("search", sealed)
		if !ok {
			return filter{}, notFound
		}
		f.What = what
	}
	if f.Connector == "" && f.State == "" {
		return f, nil
	}
	if _, ok := states[f.State]; !ok {
		return filter{}, notFound
	}
	return f, v.known(f.Connector)
}

// query is what the store is asked for.
func (f filter) query() store.Query {
	q := store.Query{Source: f.Source, Connector: f.Connector, State: f.State, Limit: leadsPage, Within: lookFor}
	if strings.Contains(f.What, "@") {
		q.Email = f.What
	} else {
		q.Name = f.What
	}
	return q
}

// address is where the leads of a filter are listed. What was searched for stands there sealed: histories and logs keep
// addresses.
func (v *visit) address(f filter) (string, error) {
	here := url.Values{}
	for name, value := range map[string]string{"source": f.Source, "connector": f.Connector, "state": string(f.State)} {
		if value != "" {
			here.Set(name, value)
		}
	}
	if f.What != "" {
		sealed, err := v.seal("search", f.What)
		if err != nil {
			return "", err
		}
		here.Set("found", sealed)
	}
	if len(here) == 0 {
		return "/console/leads", nil
	}
	return "/console/leads?" + here.Encode(), nil
}

func (s *site) leads(v *visit) error {
	asked := v.r.URL.Query()
	f, err := v.filterOf(asked)
	if err != nil {
		return err
	}
	q := f.query()
	q.Before = asked.Get("before")
	leads, next, err := s.Store.List(v.ctx, q)
	if err != nil {
		return err
	}
	list := leadsList{filter: f, Filtered: f != filter{}}
	if list.Rows, err = v.rows(leads); err != nil {
		return err
	}
	if next != "" && len(leads) < leadsPage {
		list.Unfinished = true
		if list.Looked, list.All, err = s.Store.Progress(v.ctx, q, next); err != nil {
			return err
		}
	}
	for _, c := range s.Store.Connectors() {
		list.Connectors = append(list.Connectors, c.Name)
	}
	for _, state := range []store.State{store.Pending, store.Parked, store.Retrying, store.InStep, store.Skipped} {
		list.States = append(list.States, stateChoice{state, states[state][0], states[state][1]})
	}
	at := func(before string) string {
		here := url.Values{}
		for _, name := range []string{"found", "source", "connector", "state"} {
			if value := asked.Get(name); value != "" {
				here.Set(name, value)
			}
		}
		if before != "" {
			here.Set("before", before)
		}
		return "/console/leads?" + here.Encode()
	}
	if q.Before != "" {
		list.First = at("")
	}
	if next != "" {
		list.Next = at(next)
	}
	return v.show(http.StatusOK, "leads", page{Title: "Leads", Section: "leads", Data: list})
}

// rows reads where leads stand.
func (v *visit) rows(leads []lead.Lead) ([]leadRow, error) {
	found, err := v.Store.Standings(v.ctx, leads)
	if err != nil {
		return nil, err
	}
	rows := make([]leadRow, len(found))
	for i, one := range found {
		rows[i].Lead = one.Lead
		var failed []string
		for _, st := range one.Standings {
			words := states[st.State]
			rows[i].Marks = append(rows[i].Marks, mark{st.Connector, words[0], words[1]})
			if st.State == store.Parked {
				failed = append(failed, st.Connector)
			}
		}
		rows[i].Failed = strings.Join(failed, ", ")
	}
	return rows, nil
}

// search goes to the leads that are asked for: to the one of an id, to the only one of an address, else to their list. It
// is posted so that what is searched for stands in no address.
func (s *site) search(v *visit) error {
	form := v.r.PostForm
	f := filter{
		What: strings.TrimSpace(form.Get("q")), Source: strings.TrimSpace(form.Get("source")),
		Connector: form.Get("connector"), State: store.State(form.Get("state")),
	}
	if _, isID := lead.ShardOf(f.What); isID {
		return v.goTo("/console/leads/" + f.What)
	}
	if most := max(lead.MaxName, lead.MaxEmail); utf8.RuneCountInString(f.What) > most {
		v.complain("No name and no address is longer than %d characters.", most)
		return v.goTo("/console/leads")
	}
	if (f.Connector == "") != (f.State == "") {
		v.complain("Choose a connector and a state, both: where do the leads stand, and with which connector?")
		f.Connector, f.State = "", ""
	}
	if alone := (filter{What: f.What}); f == alone && strings.Contains(f.What, "@") {
		found, _, err := s.Store.List(v.ctx, store.Query{Email: f.What, Limit: 2})
		if err != nil {
			return err
		}
		if len(found) == 1 {
			return v.goTo("/console/leads/" + found[0].ID)
		}
	}
	at, err := v.address(f)
	if err != nil {
		return err
	}
	return v.goTo(at)
}

// Says says in words what is asked for.
func (f filter) Says() string {
	text := "Leads"
	if f.Source != "" {
		text += fmt.Sprintf(" from %s", f.Source)
	}
	switch {
	case strings.Contains(f.What, "@"):
		text += " of " + f.What
	case f.What != "":
		text += fmt.Sprintf(" with “%s” in their name", f.What)
	}
	if f.Connector != "" {
		text += fmt.Sprintf(", with %s: %s", f.Connector, states[f.State][0])
	}
	return text + "."
}
