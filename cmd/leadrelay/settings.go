package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	// A page waits for no longer, so that its answer still comes.
	settingsCheckTimeout = 20 * time.Second
	settingsPlanTimeout  = 10 * time.Second
	// plannedLeads is how many leads the plan of a page looks at, the newest.
	plannedLeads = 20_000
)

// settings is the configuration file as the console edits it.
type settings struct {
	live *live
	path string
	file *config.File
}

func (l *live) settings() settings {
	return settings{l, l.config.Path, config.OpenFile(l.config.Path, config.VersionsIn(l.config.DataDir))}
}

func (s settings) Kinds() []console.Kind { return catalogue() }

func (s settings) Kind(e console.Entry) (console.Kind, error) { return kindOfEntry(e) }

func (s settings) File() (console.File, error) {
	f := console.File{Path: s.path, Writable: s.file.Writable()}
	text, revision, err := s.file.Read()
	if err != nil {
		return f, err
	}
	f.Revision = revision
	entries, err := config.ReadConnectors(text)
	for _, e := range entries {
		f.Entries = append(f.Entries, shownEntry(e))
	}
	return f, err
}

func (s settings) Check(ctx context.Context, e console.Entry) (console.Answer, []console.Problem) {
	c, problems := s.alone(e)
	if c == nil {
		return console.Answer{}, problems
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, settingsCheckTimeout)
	defer cancel()
	checked := checkOne(ctx, c.Connectors[0])
	return console.Answer{Good: checked.Ready, Text: checked.words()}, nil
}

// Try applies an entry's filter and fields. What is wrong with one of its parts keeps none of the others from being shown.
func (s settings) Try(ctx context.Context, e console.Entry, l lead.Lead, _ string) console.Outcome {
	c, problems := s.alone(e)
	out := console.Outcome{Problems: s.known(problems)}
	if c == nil {
		if c, _ = s.alone(sound(e, problems), config.SkipConnectors()); c == nil {
			return out
		}
	}
	defer c.Close()
	connector := c.Connectors[0]
	var unfit, mismapped error
	out.Taken, unfit = connector.Filter.Match(l)
	fields, mismapped := connector.Fields.Apply(l)
	if err := errors.Join(unfit, mismapped); err != nil {
		out.Unfit = err.Error()
	}
	sends := shownSending(wouldSend(ctx, connector, store.Held{Lead: l}))
	if out.Requests = sends.Requests; out.Taken && out.Unfit == "" && sends.Verdict == console.VerdictRejected {
		out.Unfit = sends.Note
	}
	out.Whole = len(connector.Fields.Names()) == 0
	for _, f := range fields {
		out.Fields = append(out.Fields, console.Mapped{To: f.To, Value: fieldText(f.Value)})
	}
	return out
}

// errEnough ends a plan that has looked at as many leads as it may.
var errEnough = errors.New("enough leads")

func (s settings) Plan(ctx context.Context, e console.Entry) (console.Plan, []console.Problem, error) {
	c, problems := s.alone(e, config.SkipConnectors())
	if c == nil {
		return console.Plan{}, problems, nil
	}
	defer c.Close()
	connector := c.Connectors[0]
	var looked, leads int64
	end := time.Now().Add(settingsPlanTimeout)
	newest := func(ctx context.Context, name string, total func(int64), do func([]store.Held) error) error {
		err := s.live.store.EachLatestHeld(ctx, name, func(n int64) { leads = n; total(n) }, func(page []store.Held) error {
			looked += int64(len(page))
			if err := do(page); err != nil {
				return err
			}
			if looked >= plannedLeads || time.Now().After(end) {
				return errEnough
			}
			return nil
		})
		if err == errEnough {
			err = nil
		}
		return err
	}
	used := s.live.used(connector.Name)
	p := planning{store: s.live.store, each: newest, next: connector, used: used, looked: func(int64, int64) {}}
	got, err := p.look(ctx)
	if err == nil && connector.Event {
		leads, err = s.live.store.CountLeads(ctx)
	}
	plan := console.Plan{
		New: used == nil, Event: connector.Event, Looked: min(looked, leads), Leads: leads,
		Missing: int64(got.Missing), Outdated: int64(got.Outdated), Leave: int64(got.LeftOut),
		Fit: int64(got.InStep), Waiting: int64(got.Waiting), Parked: int64(got.Parked), Calls: int64(got.Effort.Calls),
		Command: "leadrelay sync " + connector.Name,
	}
	if got.Effort.Seconds >= 1 {
		plan.Takes = plainly(time.Duration(got.Effort.Seconds) * time.Second)
	}
	for _, r := range got.Rejected {
		plan.Rejected = append(plan.Rejected, console.Rejected{Reason: r.Reason, Leads: int64(r.Leads)})
	}
	return plan, nil, err
}

func (s settings) Diff(e console.Edit) (string, []console.Problem, error) {
	text, next, problems, err := s.edited(e)
	if err != nil || next == nil {
		return "", problems, err
	}
	diff, err := config.MaskedDiff(text, next, all.Kinds())
	return diff, problems, err
}

func (s settings) Save(ctx context.Context, e console.Edit, who string) (console.Saved, []console.Problem, error) {
	text, next, problems, err := s.edited(e)
	if err != nil || len(problems) > 0 {
		return console.Saved{}, problems, err
	}
	if bytes.Equal(text, next) {
		return console.Saved{Revision: e.Was, Refused: s.live.takeOver(ctx, e.Was)}, nil, nil
	}
	saved, err := s.save(ctx, next, e.Was, who)
	return saved, nil, err
}

// edited is the text of the file, the one that an edit makes of it, nil where there is none, and what the loader has
// against that.
func (s settings) edited(e console.Edit) (text, next []byte, problems []console.Problem, err error) {
	text, revision, err := s.file.Read()
	if err != nil {
		return nil, nil, nil, err
	}
	if revision != e.Was {
		return nil, nil, nil, console.ErrChanged
	}
	if e.Entry == nil {
		next, err = config.RemoveConnector(text, e.Name)
	} else {
		next, err = config.SetConnector(text, e.Name, writtenEntry(*e.Entry))
	}
	if err != nil {
		return text, nil, []console.Problem{{Text: err.Error()}}, nil
	}
	name := e.Name
	if e.Entry != nil {
		name = e.Entry.Name
		problems = s.foreseen(*e.Entry)
	}
	if refused := s.refused(next, name); len(refused) > 0 {
		problems = refused
	}
	return text, next, problems, nil
}

// refused is what the loader has against a text of the file.
func (s settings) refused(text []byte, name string) []console.Problem {
	c, err := config.LoadText(text, s.path, all.Kinds(), s.live.options...)
	if err != nil {
		return problemsOf(err, name)
	}
	c.Close()
	return nil
}

// foreseen is what workers would have against an entry, where this process is none: else its loader says all.
func (s settings) foreseen(e console.Entry) []console.Problem {
	if s.live.worker != nil {
		return nil
	}
	c, problems := s.alone(e)
	if c != nil {
		c.Close()
	}
	return s.known(problems)
}

// known are the problems that hold for workers, too: a process that pushes nothing need not have their variables and files.
func (s settings) known(problems []console.Problem) (list []console.Problem) {
	for _, p := range problems {
		if s.live.worker != nil || !strings.HasSuffix(p.Place, "_file") && !strings.Contains(p.Text, "environment variable") {
			list = append(list, p)
		}
	}
	return list
}

func (s settings) save(ctx context.Context, text []byte, was, who string) (console.Saved, error) {
	err := s.file.Save(text, was, who)
	if errors.Is(err, config.ErrChanged) {
		return console.Saved{}, console.ErrChanged
	}
	if err != nil {
		return console.Saved{}, err
	}
	_, revision, err := s.file.Read()
	if err != nil {
		return console.Saved{}, err
	}
	return console.Saved{Revision: revision, Refused: s.live.takeOver(ctx, revision)}, nil
}

func (s settings) Versions() (list []console.Version, err error) {
	versions, err := s.file.Versions()
	for _, v := range versions {
		list = append(list, console.Version{ID: v.ID, Who: v.Who, Revision: v.Revision, At: v.At})
	}
	return list, err
}

func (s settings) DiffBack(id string) (string, error) {
	text, _, err := s.file.Read()
	if err != nil {
		return "", err
	}
	version, err := s.file.Version(id)
	if err != nil {
		return "", err
	}
	diff, err := config.MaskedDiff(text, version, all.Kinds())
	if err != nil {
		// What is there now is no YAML, and going back would mend that.
		diff, err = config.MaskedDiff(nil, version, all.Kinds())
	}
	return diff, err
}

func (s settings) GoBack(ctx context.Context, id, who string) (console.Saved, []console.Problem, error) {
	_, revision, err := s.file.Read()
	if err != nil {
		return console.Saved{}, nil, err
	}
	version, err := s.file.Version(id)
	if err != nil {
		return console.Saved{}, nil, err
	}
	if problems := s.refused(version, ""); len(problems) > 0 {
		return console.Saved{}, problems, nil
	}
	saved, err := s.save(ctx, version, revision, who)
	return saved, nil, err
}
