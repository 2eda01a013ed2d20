package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/internal/store"
)

// connectorsPage is what the list of connectors shows.
type connectorsPage struct {
	Path     string // of the file; "": there is none
	Writable bool
	Problem  string // why the file cannot be shown
	Listed   []listedConnector
}

// listedConnector is one of the file, of those that run, or of both.
type listedConnector struct {
	card
	Kind   string
	Title  string
	InFile bool
	Runs   bool
}

// noFile is said where there is nothing to edit.
var noFile = refusal{http.StatusNotFound, "There is no file to edit", "leadrelay runs by its built-in configuration. Start it with a config.yaml, " +
	"such as the one it comes with, and connectors can be edited here."}

// editable refuses a visit where there is no file that is edited here.
func (v *visit) editable() (File, error) {
	if v.Settings == nil {
		return File{}, noFile
	}
	file, err := v.Settings.File()
	if err != nil {
		return File{}, fileTrouble(err)
	}
	return file, nil
}

// fileTrouble answers an error of the file, which holds nothing of what is in it.
func fileTrouble(err error) error {
	return refusal{http.StatusConflict, "The file cannot be edited here", err.Error()}
}

func (s *site) connectors(v *visit) error {
	statuses, err := s.Store.Statuses(v.ctx)
	if err != nil {
		return err
	}
	var p connectorsPage
	file := File{}
	if s.Settings != nil {
		if file, err = s.Settings.File(); err != nil {
			p.Problem = err.Error()
		}
		p.Path, p.Writable = file.Path, file.Writable
	}
	for _, one := range statuses {
		p.Listed = append(p.Listed, listedConnector{card: newCard(s.Store.Now(), one), Runs: true})
	}
	for _, e := range file.Entries {
		i := slices.IndexFunc(p.Listed, func(l listedConnector) bool { return l.Name == e.Name })
		if i < 0 {
			i = len(p.Listed)
			p.Listed = append(p.Listed, listedConnector{card: card{Name: e.Name, State: "not in use", Look: "rest", Why: "The file has it, and what runs does not."}})
		}
		kind, _ := s.Settings.Kind(e) // of one that is none, its form says so
		p.Listed[i].Kind, p.Listed[i].Title, p.Listed[i].InFile = e.Kind, kind.Title, true
	}
	return v.show(http.StatusOK, "connectors", page{Title: "Connectors", Section: "connectors", Data: p})
}

// catalogue lists the kinds of which a connector can be added.
func (s *site) catalogue(v *visit) error {
	if _, err := v.editable(); err != nil {
		return err
	}
	what := strings.TrimSpace(v.r.URL.Query().Get("q"))
	var found []Kind
	for _, kind := range s.Settings.Kinds() {
		if strings.Contains(strings.ToLower(kind.Name+" "+kind.Title), strings.ToLower(what)) {
			found = append(found, kind)
		}
	}
	return v.show(http.StatusOK, "catalogue", page{Title: "Add a connector", Section: "connectors", Data: struct {
		Asked string
		Kinds []Kind
	}{what, found}})
}

// edited is the entry that the path names, as the file has it.
func (v *visit) edited() (File, Entry, error) {
	file, err := v.editable()
	if err != nil {
		return File{}, Entry{}, err
	}
	e, ok := file.entry(v.r.PathValue("name"))
	if !ok {
		return File{}, Entry{}, refusal{http.StatusNotFound, "There is no such connector", "The configuration file has none of this name. Somebody may have taken it out."}
	}
	return file, e, nil
}

func (s *site) askRemove(v *visit) error {
	file, e, err := v.edited()
	if err != nil {
		return err
	}
	if !file.Writable {
		return v.showDiff(Edit{Was: file.Revision, Name: e.Name}, file)
	}
	totals, err := s.Store.Totals(v.ctx, []string{e.Name})
	if err != nil {
		return err
	}
	text := "It is taken out of " + file.Path + ", of which the text is kept as a version. From then on its system is told of nothing more, and keeps what it has."
	if t := totals[e.Name]; t.Backlog+t.Parked > 0 {
		text += fmt.Sprintf(" %s on the way to it, and %s that failed, are not pushed. They go on should a connector of this name come back; "+
			"`leadrelay drop %s` forgets them.", plural(t.Backlog, "lead", "leads"), plural(t.Parked, "lead", "leads"), e.Name)
	}
	return v.show(http.StatusOK, "confirm", page{Title: "Remove a connector", Section: "connectors", Data: confirm{
		"Remove " + e.Name + "?", text, "/console/connectors/" + e.Name + "/remove", "Remove it", "/console/connectors",
	}})
}

func (s *site) remove(v *visit) error {
	file, e, err := v.edited()
	if err != nil {
		return err
	}
	return v.save(Edit{Was: file.Revision, Name: e.Name}, store.Act{What: "removed the connector", Connector: e.Name}, e.Name+" is removed", nil)
}

// showDiff shows an edit that has to be made by hand.
func (v *visit) showDiff(e Edit, file File) error {
	diff, problems, err := v.Settings.Diff(e)
	if err != nil {
		return fileTrouble(err)
	}
	return v.show(http.StatusOK, "byhand", page{Title: "A change to make by hand", Section: "connectors", Data: struct {
		Path     string
		Lines    []diffLine
		Problems []Problem
	}{file.Path, diffLines(diff), problems}})
}

// save saves an edit, has it taken over, and says so on the list of connectors. instead answers for an edit that is not
// saved; nil: the list says why.
func (v *visit) save(e Edit, a store.Act, said string, instead func(changed bool, problems []Problem) error) error {
	if instead == nil {
		instead = func(changed bool, problems []Problem) error {
			if changed {
				v.complain("Somebody else changed the file in this moment, so nothing was done. Try again.")
			} else {
				v.complain("Nothing was done, for the file would not be valid: %s", brief(sentence(problems)))
			}
			return v.goTo("/console/connectors")
		}
	}
	switch _, problems, err := v.Settings.Diff(e); {
	case isChanged(err):
		return instead(true, nil)
	case err != nil:
		return fileTrouble(err)
	case len(problems) > 0:
		return instead(false, problems)
	}
	return v.saved(a, said, instead, func() (Saved, []Problem, error) { return v.Settings.Save(v.ctx, e, v.operator) })
}

// saved notes and does what saves, and says what became of it.
func (v *visit) saved(a store.Act, said string, instead func(changed bool, problems []Problem) error, do func() (Saved, []Problem, error)) error {
	var done Saved
	var problems []Problem
	var refused error
	err := v.act(a, func() error {
		if done, problems, refused = do(); refused == nil && len(problems) > 0 {
			refused = errNotSaved
		}
		return refused
	})
	switch {
	case refused == errNotSaved:
		return instead(false, problems)
	case isChanged(refused):
		return instead(true, nil)
	case refused != nil:
		return fileTrouble(refused)
	case err != nil:
		return err
	case done.Refused != "":
		v.complain("%s in the file, which is not in use: %s", said, brief(done.Refused))
	default:
		v.say("%s, and in use (configuration %s).", said, done.Revision)
	}
	return v.goTo("/console/connectors")
}

// brief is as much of a text as a cookie holds.
func brief(text string) string {
	const most = 600 // characters
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// sentence is what the loader has against a file, in a line.
func sentence(problems []Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, strings.TrimPrefix(p.Place+": "+p.Text, ": "))
	}
	return strings.Join(all, "; ")
}
