package console

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// connectorPage is what the form of a connector shows.
type connectorPage struct {
	New    bool
	Action string
	File   File
	Was    string // the revision that is edited

	Kind        Kind
	KindTrouble string
	Name, When  string
	Settings    []input
	Common      []input
	Kept        []string
	Rows, Own   []row // Own: what is mapped where there are none

	WhenProblem, NameProblem string
	Problems                 []Problem // those of no place here

	tried
	Answer   *Answer
	Plan     *Plan
	Diff     []diffLine
	Diffed   bool
	Conflict bool
}

// tried is what a draft would do with a lead.
type tried struct {
	Lead    lead.Lead
	Asked   string // which lead, by id or address; "": the newest
	Missing string // why there is none
	Outcome Outcome
}

// Sources are what a field can come from.
func (connectorPage) Sources() []string { return []string{"from", "template", "value"} }

// CommonOpen says whether there is something to see of what is the same for all kinds.
func (p connectorPage) CommonOpen() bool {
	return slices.ContainsFunc(p.Common, func(in input) bool { return in.Value != "" || in.Problem != "" })
}

var errNotSaved = errors.New("the configuration would not be valid")

func isChanged(err error) bool { return errors.Is(err, ErrChanged) }

// drafted is the draft that a visit is about, as the file has it, and the page of it.
func (v *visit) drafted() (draft, connectorPage, error) {
	p := connectorPage{Action: v.r.URL.Path}
	var e Entry
	var err error
	if kind := v.r.PathValue("kind"); kind != "" {
		p.New, e.Kind = true, kind
		if p.File, err = v.editable(); err == nil && !slices.ContainsFunc(v.Settings.Kinds(), func(k Kind) bool { return k.Name == kind }) {
			err = refusal{http.StatusNotFound, "There is no such kind", "The catalogue lists all kinds of connectors that there are."}
		}
	} else {
		p.File, e, err = v.edited()
	}
	if err != nil {
		return draft{}, p, err
	}
	p.Was = p.File.Revision
	d := draft{Entry: e, was: e}
	d.kind, p.KindTrouble = v.kindOf(e)
	return d, p, nil
}

func (v *visit) kindOf(e Entry) (Kind, string) {
	kind, err := v.Settings.Kind(e)
	if err != nil {
		return kind, err.Error()
	}
	return kind, ""
}

func (s *site) connector(v *visit) error {
	d, p, err := v.drafted()
	if err != nil {
		return err
	}
	if err := v.try(&p, d); err != nil {
		return err
	}
	p.Outcome.Problems = nil // of what the file has, nobody asked
	return v.showConnector(http.StatusOK, p, d, rowsOf(d.Fields), nil)
}

// editConnector does with a draft what the button says.
func (s *site) editConnector(v *visit) error {
	d, p, err := v.drafted()
	if err != nil {
		return err
	}
	form := v.r.PostForm
	p.Was, p.Asked = form.Get("was"), strings.TrimSpace(form.Get("lead"))
	rows, what := changedRows(rowsFromForm(form), form.Get("do"))
	d = v.fromForm(form, d.was, d.kind, rows)
	if d.kind, p.KindTrouble = v.kindOf(d.Entry); d.Kind != "" {
		d = v.fromForm(form, d.was, d.kind, rows) // the settings may have said that there are others
	}
	if what == "own" {
		rows = rowsOf(d.kind.Fields)
	}
	if err := v.try(&p, d); err != nil {
		return err
	}
	if form.Get("part") == "outcome" {
		return v.showOutcome(p)
	}
	problems := p.Outcome.Problems
	switch what {
	case "test":
		err = v.act(store.Act{What: "tested the settings", Connector: d.Name}, func() error {
			var answer Answer
			if answer, problems = s.Settings.Check(v.ctx, d.Entry); len(problems) == 0 {
				p.Answer = &answer
			}
			return nil
		})
	case "plan":
		var plan Plan
		if plan, problems, err = s.Settings.Plan(v.ctx, d.Entry); err == nil && len(problems) == 0 {
			p.Plan = &plan
			var diff string
			diff, problems, err = s.Settings.Diff(p.edit(d))
			p.Diff, p.Diffed = diffLines(diff), err == nil
		}
	case "save":
		if !p.File.Writable {
			return v.showDiff(p.edit(d), p.File)
		}
		return v.saveDraft(p, d, rows)
	}
	if err != nil && !isChanged(err) {
		return err
	}
	p.Conflict = isChanged(err)
	return v.showConnector(http.StatusOK, p, d, rows, problems)
}

func (p connectorPage) edit(d draft) Edit {
	return Edit{Was: p.Was, Name: d.was.Name, Entry: &d.Entry}
}

// saveDraft saves what the form says, or shows it again with what is against it.
func (v *visit) saveDraft(p connectorPage, d draft, rows []row) error {
	if _, taken := p.File.entry(d.Name); p.New && taken {
		return v.showConnector(http.StatusUnprocessableEntity, p, d, rows, []Problem{{"name", "there is a connector of this name already"}})
	}
	what, said := "changed the settings", d.Name+" is saved"
	if p.New {
		what, said = "added the connector", d.Name+" is added"
	}
	return v.save(p.edit(d), store.Act{What: what, Connector: d.Name}, said, func(changed bool, problems []Problem) error {
		if !changed {
			return v.showConnector(http.StatusUnprocessableEntity, p, d, rows, problems)
		}
		p.Conflict = true
		return v.showConnector(http.StatusConflict, p, d, rows, nil)
	})
}

// changedRows are the rows after what a button does with them, and what is left to do.
func changedRows(rows []row, do string) ([]row, string) {
	what, number, _ := strings.Cut(do, ":")
	i, err := strconv.Atoi(number)
	there := err == nil && i >= 0 && i < len(rows)
	switch {
	case what == "add" && len(rows) < maxRows:
		return append(rows, row{Source: "from"}), ""
	case what == "remove" && there:
		return slices.Delete(rows, i, i+1), ""
	case what == "up" && there && i > 0:
		rows[i-1], rows[i] = rows[i], rows[i-1]
		return rows, ""
	}
	return rows, what
}

// try has the draft tried on the lead that was asked for.
func (v *visit) try(p *connectorPage, d draft) error {
	found, missing, err := v.leadOf(p.Asked)
	if err != nil {
		return err
	}
	ref := ""
	for _, one := range found.Standings {
		if one.Connector == d.was.Name {
			ref = one.Record.Ref
		}
	}
	p.Lead, p.Missing = found.Lead, missing
	p.Outcome = v.Settings.Try(v.ctx, d.Entry, found.Lead, ref)
	return nil
}

// leadOf is a lead by its id or address, the newest where none is asked for, or why there is none.
func (v *visit) leadOf(asked string) (found store.Found, missing string, err error) {
	id := asked
	if _, isID := lead.ShardOf(id); !isID {
		if id != "" && !strings.Contains(id, "@") || len(id) > 4*lead.MaxEmail {
			return found, "Choose a lead by its whole e-mail address or its id, which begins with lead_.", nil
		}
		list, _, err := v.Store.List(v.ctx, store.Query{Email: id, Limit: 1})
		switch {
		case err != nil:
			return found, "", err
		case len(list) == 0 && id == "":
			return found, "There is no lead yet to try the settings on.", nil
		case len(list) == 0:
			return found, "There is no such lead.", nil
		}
		id = list[0].ID
	}
	found, err = v.Store.Get(v.ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && found.Deleted {
		return store.Found{}, "There is no such lead.", nil
	}
	return found, "", err
}

// showOutcome answers with the outcome alone, for a form that is being filled in.
func (v *visit) showOutcome(p connectorPage) error {
	var out bytes.Buffer
	if err := pages()["connector"].ExecuteTemplate(&out, "outcome", p.tried); err != nil {
		panic(err) // of templates that are ours
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Write(out.Bytes())
	return nil
}

// showConnector shows the form, with what the loader has against it where it belongs.
func (v *visit) showConnector(status int, p connectorPage, d draft, rows []row, problems []Problem) error {
	if p.Conflict {
		now := p.edit(d)
		now.Was = p.File.Revision
		if diff, _, err := v.Settings.Diff(now); err == nil {
			p.Diff, p.Diffed, p.Was = diffLines(diff), true, now.Was
		}
	}
	p.Kind, p.Name, p.When, p.Rows, p.Kept = d.kind, d.Name, d.When, rows, d.kept()
	p.Own = rowsOf(d.kind.Fields)
	for i := range p.Rows {
		p.Rows[i].Number = i + 1
	}
	for _, s := range d.kind.Settings {
		in := newInput(s, d.Settings[keyOf(d.Settings, s.Name)])
		if s.Secret {
			in.From, in.Value = v.secretInput(s, d), ""
		}
		p.Settings = append(p.Settings, in)
	}
	for _, s := range d.kind.Common {
		p.Common = append(p.Common, newInput(s, at(d.Other, s.Name)))
	}
	for _, problem := range problems {
		p.place(problem)
	}
	title := "Add a connector"
	if !p.New {
		title = p.Name
	}
	return v.show(status, "connector", page{Title: title, Section: "connectors", Data: p})
}

// place puts a problem where what it is about is shown.
func (p *connectorPage) place(problem Problem) {
	at := func(inputs []input, name string) bool {
		name, _, _ = strings.Cut(name, "[")
		for i := range inputs {
			if in := &inputs[i]; in.Name == name || in.Secret && in.Name+"_file" == name {
				in.Problem = strings.TrimPrefix(in.Problem+"; "+problem.Text, "; ")
				return true
			}
		}
		return false
	}
	setting, isSetting := strings.CutPrefix(problem.Place, "settings.")
	row := p.rowOf(problem.Place)
	switch {
	case problem.Place == "when":
		p.WhenProblem = problem.Text
	case problem.Place == "name" && p.New:
		p.NameProblem = problem.Text
	case row != nil:
		row.Problem = problem.Text
	case isSetting && at(p.Settings, setting), !isSetting && at(p.Common, problem.Place):
	default:
		p.Problems = append(p.Problems, problem)
	}
}

// rowOf is the row that a rule is of; rows that say nothing are no rules.
func (p *connectorPage) rowOf(place string) *row {
	number, isRow := strings.CutPrefix(place, "fields[")
	number, _, _ = strings.Cut(number, "]")
	n, err := strconv.Atoi(number)
	if !isRow || err != nil {
		return nil
	}
	for i := range p.Rows {
		if p.Rows[i].empty() {
			continue
		}
		if n == 0 {
			return &p.Rows[i]
		}
		n--
	}
	return nil
}
