package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// inboxVerb is what can be done to many submissions at once.
type inboxVerb struct {
	Do       string // in forms
	Button   string
	question string // about how many
	text     string
	act      string // as the audit trail says it
	done     string // of how many
	bad      bool   // it cannot be undone
	states   []store.SubmissionState

	one func(v *visit, ctx context.Context, sub store.Submission) (outcome, error)
}

// outcome is what became of one submission.
type outcome struct {
	done     bool
	fetching bool
	problem  string // why it is as it was
}

// inboxVerbs are in the order of their buttons.
var inboxVerbs = []inboxVerb{
	{
		Do: "map", Button: "Map again", question: "Map %s again?",
		text: "They are mapped by the configuration as it is now. What becomes a lead is on its way to every connector; the rest stays, with the new reason.",
		act:  "mapped again", done: "%s now leads", states: []store.SubmissionState{store.Unmapped, store.Fetching},
		one: func(v *visit, ctx context.Context, sub store.Submission) (outcome, error) {
			became, err := v.Remap(ctx, sub)
			return outcome{became.LeadID != "", became.Fetching, became.Problem}, err
		},
	},
	{
		Do: "release", Button: "Release", question: "Make leads of %s?",
		text: "They are no spam: each becomes a lead, on its way to every connector.",
		act:  "released from spam", done: "%s now leads", states: []store.SubmissionState{store.Spam},
		one: func(v *visit, ctx context.Context, sub store.Submission) (outcome, error) {
			patch, err := lead.ParseNew(sub.Payload)
			if err == nil {
				_, err = v.Store.Release(ctx, sub.ID, patch, v.Dedupe)
			}
			if isNoLead(err) {
				return outcome{problem: err.Error()}, nil
			}
			return outcome{done: err == nil}, err
		},
	},
	{
		Do: "drop", Button: "Drop", question: "Drop %s?",
		text: "They are forgotten for good, with what was sent, and become no leads. It cannot be undone.",
		act:  "dropped submissions", done: "%s dropped", bad: true, states: submissionStates,
		one: func(v *visit, ctx context.Context, sub store.Submission) (outcome, error) {
			return outcome{done: true}, v.Store.Drop(ctx, sub.ID)
		},
	},
}

// offered are the verbs for what is in one of some states.
func (s *site) offered(of ...store.SubmissionState) (verbs []inboxVerb) {
	for _, verb := range inboxVerbs {
		applies := slices.ContainsFunc(verb.states, func(state store.SubmissionState) bool { return slices.Contains(of, state) })
		if applies && (verb.Do != "map" || s.Remap != nil) {
			verbs = append(verbs, verb)
		}
	}
	return verbs
}

// chosen are the submissions that a verb is for: those that are named, or all of an origin.
type chosen struct {
	verb   inboxVerb
	ids    []string
	origin string
	state  store.SubmissionState // of the origin's; "": all that the verb is for
	after  string                // those that came later: the others were looked at
	upTo   string                // and before this id: what came since was not asked about
}

// chosen reads what a form chooses.
func (v *visit) chosen(form url.Values) (chosen, error) {
	c := chosen{origin: form.Get("origin"), state: store.SubmissionState(form.Get("state")), after: form.Get("after"), upTo: form.Get("up_to")}
	c.ids = slices.Compact(slices.Sorted(slices.Values(form["id"]))) // oldest first
	states := submissionStates
	if c.state != "" {
		states = []store.SubmissionState{c.state}
	}
	for _, verb := range v.offered(states...) {
		if verb.Do == form.Get("do") {
			c.verb = verb
		}
	}
	for _, id := range append([]string{c.after, c.upTo}, c.ids...) {
		if _, isID := lead.ShardOf(id); id != "" && !isID {
			return c, notFound
		}
	}
	if c.verb.Do == "" || len(c.ids) > inboxPage {
		return c, notFound
	}
	return c, nil
}

func (c chosen) applies(state store.SubmissionState) bool {
	return slices.Contains(c.verb.states, state) && (c.state == "" || c.state == state)
}

// count counts them by state and origin, in words.
func (v *visit) count(c chosen) (n int, parts []string, err error) {
	counts := map[string]int{}
	if len(c.ids) > 0 {
		for _, id := range c.ids {
			sub, err := v.Store.Submission(v.ctx, id)
			if errors.Is(err, store.ErrNotFound) || err == nil && !c.applies(sub.State) {
				continue
			}
			if err != nil {
				return 0, nil, err
			}
			counts[fmt.Sprintf("%s of %s", sub.State, sub.Origin)]++
		}
	} else {
		all, err := v.Store.CountSubmissions(v.ctx)
		if err != nil {
			return 0, nil, err
		}
		for state, n := range all[c.origin] {
			if c.applies(state) {
				counts[fmt.Sprintf("%s of %s", state, c.origin)] += n
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		if counts[what] > 0 {
			n += counts[what]
			parts = append(parts, number(counts[what])+" "+what)
		}
	}
	return n, parts, nil
}

// back is the inbox as it was shown.
func (c chosen) back() string {
	if c.origin == "" {
		return "/console/inbox"
	}
	return "/console/inbox?" + url.Values{"origin": {c.origin}, "state": {string(c.state)}}.Encode()
}

// askMany asks once more, before many submissions are changed.
func (s *site) askMany(v *visit) error {
	c, err := v.chosen(v.r.URL.Query())
	if err != nil {
		return err
	}
	if len(c.ids) == 0 && c.origin == "" {
		v.complain("Choose some first: tick them in the list, or filter by an origin.")
		return v.goTo("/console/inbox")
	}
	n, parts, err := v.count(c)
	if err != nil {
		return err
	}
	if n == 0 {
		v.complain("There is nothing among these that this can be done to.")
		return v.goTo(c.back())
	}
	if c.upTo == "" {
		c.upTo = lead.OldestID(s.Store.Now().Add(time.Millisecond))
	}
	which := plural(int64(n), "submission", "submissions")
	if c.after != "" {
		which = "the rest"
	}
	return v.show(http.StatusOK, "many", page{Title: "Inbox", Section: "inbox", Data: struct {
		Question, Text, Do, Button, Back string
		Bad                              bool
		Parts, IDs                       []string
		Origin, State, After, UpTo       string
	}{
		fmt.Sprintf(c.verb.question, which), c.verb.text, c.verb.Do, c.verb.Button, c.back(),
		c.verb.bad, parts, c.ids, c.origin, string(c.state), c.after, c.upTo,
	}})
}

// many does to many submissions what was asked and confirmed, the oldest first: of one person, what was sent last is to
// count. Where the time does not suffice it says so, and asks whether to go on.
func (s *site) many(v *visit) error {
	c, err := v.chosen(v.r.PostForm)
	if err != nil {
		return err
	}
	if len(c.ids) == 0 && (c.origin == "" || c.upTo == "") {
		return notFound
	}
	n, parts, err := v.count(c)
	if err != nil {
		return err
	}
	t := tally{problems: map[string]int{}}
	var whole bool
	if n > 0 {
		which := strings.Join(parts, ", ")
		if len(c.ids) == 0 {
			which = strings.Join(strings.Fields(fmt.Sprintf("all %s of %s", c.state, c.origin)), " ")
		}
		err = v.act(store.Act{What: c.verb.act, Detail: which}, func() error {
			whole, err = v.eachChosen(&c, &t)
			return err
		})
		if err != nil {
			return err
		}
	}
	text := t.says(c.verb)
	switch {
	case n == 0:
		v.complain("There was none left to do that to.")
	case !whole:
		v.complain("%s The time did not suffice for all of them: go on with the rest.", text)
		again := url.Values{"do": {c.verb.Do}, "origin": {c.origin}, "state": {string(c.state)}, "after": {c.after}, "up_to": {c.upTo}}
		for _, id := range c.ids {
			if id > c.after {
				again.Add("id", id)
			}
		}
		return v.goTo("/console/inbox/many?" + again.Encode())
	case len(t.problems) > 0:
		v.complain("%s", text)
	default:
		v.say("%s", text)
	}
	return v.goTo(c.back())
}

// tally is what became of many submissions.
type tally struct {
	done, fetching, gone int
	problems             map[string]int // by why nothing became of them
}

// toldProblems is how many reasons are told; of all of them, the submissions tell.
const toldProblems = 3

func (t tally) says(verb inboxVerb) string {
	verbs := "are"
	if t.done == 1 {
		verbs = "is"
	}
	text := fmt.Sprintf(verb.done, number(t.done)+" "+verbs) + "."
	if t.fetching > 0 {
		text += fmt.Sprintf(" A worker fetches %s now.", number(t.fetching))
	}
	if t.gone > 0 {
		text += fmt.Sprintf(" %s waited no more.", number(t.gone))
	}
	reasons := slices.SortedFunc(maps.Keys(t.problems), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.problems[b], t.problems[a]), cmp.Compare(a, b))
	})
	for i, reason := range reasons {
		if i == toldProblems {
			return text + " The others say why themselves."
		}
		if len(reason) > 200 {
			reason = strings.ToValidUTF8(reason[:200], "") + "…"
		}
		text += fmt.Sprintf(" %s stay: %s.", number(t.problems[reasons[i]]), strings.TrimSuffix(reason, "."))
	}
	return text
}

// eachChosen does what was chosen to each, until the time is over. c.after is how far it came.
func (v *visit) eachChosen(c *chosen, t *tally) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(v.ctx, manyTimeout)
	defer cancel()
	one := func(sub store.Submission) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !c.applies(sub.State) {
			c.after = sub.ID
			return nil
		}
		became, err := c.verb.one(v, ctx, sub)
		if errors.Is(err, store.ErrNotFound) {
			t.gone++
			err = nil
		}
		if err != nil {
			return err
		}
		c.after = sub.ID
		if became.done {
			t.done++
		}
		if became.fetching {
			t.fetching++
		}
		if became.problem != "" {
			t.problems[became.problem]++
		}
		return nil
	}
	if len(c.ids) > 0 {
		err = v.eachOf(ctx, c.ids, one)
	} else {
		err = v.eachOfOrigin(ctx, *c, one)
	}
	if ctx.Err() != nil && v.ctx.Err() == nil && c.after != "" {
		return false, nil
	}
	return true, err
}

func (v *visit) eachOf(ctx context.Context, ids []string, do func(store.Submission) error) error {
	for _, id := range ids {
		sub, err := v.Store.Submission(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = do(sub)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *visit) eachOfOrigin(ctx context.Context, c chosen, do func(store.Submission) error) error {
	q := store.SubmissionQuery{Origin: c.origin, State: c.state, OldestFirst: true, After: c.after, Before: c.upTo, Limit: inboxPage}
	for {
		some, next, err := v.Store.Submissions(ctx, q)
		if err != nil {
			return err
		}
		for _, sub := range some {
			if err := do(sub); err != nil {
				return err
			}
		}
		if q.After = next; next == "" {
			return nil
		}
	}
}
