package rig

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	pipedriveToken = "5ecre7-p1pe-t0ken-that-must-not-show"
	leadIDField    = "9dc80c50d78a15643bfc4ca79d76156a73a1ca0e"
	noteField      = "1c8a5f0e7b1d4f0a9e2c3b4d5f6a7b8c9d0e1f2a"
)

// searchLag is how long Pipedrive's search does not know of what was done.
const searchLag = 1500 * time.Millisecond

// pipedriveRecipe is the path of the shipped recipe, but for its patience with the search: it is that of the stand-in's lag.
func (r *round) pipedriveRecipe() string {
	const patience = "settles: 30s"
	text, err := os.ReadFile("../../connectors/recipes/pipedrive.yaml")
	if err != nil || strings.Count(string(text), patience) != 1 {
		r.t.Fatalf("the recipe of Pipedrive: %v, or another patience than %q", err, patience)
	}
	path := filepath.Join(r.dir, "pipedrive.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), patience, "settles: "+(2*searchLag).String(), 1)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// pipedrive is a stand-in of Pipedrive, as far as the recipe uses it: persons without a key of ours, whom its search
// finds a while after, and leads that stay where their person is deleted.
// https://developers.pipedrive.com/docs/api/v1/Persons
type pipedrive struct {
	mu       sync.Mutex
	persons  []*pipedrivePerson // the first is number 1
	inbox    map[string]int     // leads: the number of each one's person
	ever     int                // leads that there ever were
	problems []string
}

type pipedrivePerson struct {
	ID     int            `json:"id"`
	Name   string         `json:"name"`
	Emails []contact      `json:"emails"`
	Phones []contact      `json:"phones"`
	Custom map[string]any `json:"custom_fields"`
	Added  string         `json:"add_time"`
	Update string         `json:"update_time"`
	Gone   bool           `json:"is_deleted"`
	shown  time.Time      // when the search learns of it
	hidden time.Time      // and of its end
}

type contact struct {
	Value   string `json:"value"`
	Primary bool   `json:"primary"`
	Label   string `json:"label"`
}

func newPipedrive() *pipedrive { return &pipedrive{inbox: map[string]int{}} }

func (d *pipedrive) problem(format string, args ...any) {
	d.problems = append(d.problems, "pipedrive: "+fmt.Sprintf(format, args...))
}

func (d *pipedrive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(value)
	}
	done := func(status int, data any) { answer(status, object{"success": true, "data": data}) }
	refuse := func(status int, why string) { answer(status, object{"success": false, "error": why, "data": nil}) }
	if strings.Contains(r.URL.String(), marker) {
		d.problem("personal data in a URL")
	}
	if r.Header.Get("x-api-token") != pipedriveToken {
		refuse(401, "unauthorized access")
		return
	}
	query := r.URL.Query()
	number := func(text string) *pipedrivePerson {
		if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(d.persons) {
			return d.persons[n-1]
		}
		return nil
	}
	personID, isPerson := strings.CutPrefix(r.URL.Path, "/api/v2/persons/")
	leadID, isLead := strings.CutPrefix(r.URL.Path, "/api/v1/leads/")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v2/personFields":
		done(200, []any{object{"field_code": "name"}, object{"field_code": leadIDField}, object{"field_code": noteField}})
	case r.Method == http.MethodGet && r.URL.Path == "/api/v2/persons" && query.Get("sort_by") == "add_time" && query.Get("sort_direction") == "desc":
		limit, _ := strconv.Atoi(query.Get("limit"))
		newest := []any{}
		for _, p := range slices.Backward(d.persons) {
			if !p.Gone && len(newest) < limit {
				newest = append(newest, p)
			}
		}
		done(200, newest)
	case r.Method == http.MethodGet && r.URL.Path == "/api/v2/persons/search" && query.Get("fields") == "custom_fields" && query.Get("exact_match") == "true":
		items, now := []any{}, time.Now()
		for _, p := range d.persons {
			if p.Custom[leadIDField] == query.Get("term") && now.After(p.shown) && (!p.Gone || now.Before(p.hidden)) {
				items = append(items, object{"item": object{"id": p.ID, "type": "person", "name": p.Name}})
			}
		}
		done(200, object{"items": items})
	case r.Method == http.MethodPost && r.URL.Path == "/api/v2/persons":
		p := &pipedrivePerson{ID: len(d.persons) + 1, Custom: map[string]any{}, Added: second(), Update: second(), shown: time.Now().Add(searchLag)}
		if why := p.write(r); why != "" {
			d.problem("a person is refused: %s", why)
			refuse(400, "Validation failed: "+why)
			return
		}
		d.persons = append(d.persons, p)
		done(200, p)
	case isPerson:
		p := number(personID)
		if p == nil || p.Gone && r.Method != http.MethodGet {
			refuse(404, "Person not found")
			return
		}
		switch r.Method {
		case http.MethodDelete:
			p.Gone, p.hidden = true, time.Now().Add(searchLag)
			done(200, object{"id": p.ID})
			return
		case http.MethodPatch:
			if why := p.write(r); why != "" {
				d.problem("a change is refused: %s", why)
				refuse(400, "Validation failed: "+why)
				return
			}
			p.Update = second()
		}
		done(200, p)
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/leads":
		limit, _ := strconv.Atoi(query.Get("limit"))
		found := []any{}
		for _, id := range slices.Sorted(maps.Keys(d.inbox)) {
			if fmt.Sprint(d.inbox[id]) == query.Get("person_id") && len(found) < limit {
				found = append(found, object{"id": id, "person_id": d.inbox[id]})
			}
		}
		done(200, found)
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/leads":
		var l struct {
			Title  string
			Person int `json:"person_id"`
		}
		err := json.NewDecoder(r.Body).Decode(&l)
		if p := number(fmt.Sprint(l.Person)); err != nil || l.Title == "" || p == nil || p.Gone {
			d.problem("a lead of nobody: %v", l.Person)
			refuse(400, "a person or organization is required")
			return
		}
		d.ever++
		id := fmt.Sprintf("adf21080-0e10-11eb-879b-%012d", d.ever)
		d.inbox[id] = l.Person
		done(201, object{"id": id, "title": l.Title, "person_id": l.Person})
	case r.Method == http.MethodDelete && isLead:
		if d.inbox[leadID] == 0 {
			refuse(404, "requested lead not found")
			return
		}
		delete(d.inbox, leadID)
		done(200, object{"id": leadID})
	default:
		d.problem("%s %s is not asked of it", r.Method, r.URL)
		refuse(404, "Not found")
	}
}

// second is the time as Pipedrive tells it.
func second() string { return time.Now().UTC().Format(time.RFC3339) }

// write takes over what a request says of a person; what it does not name stays.
func (p *pipedrivePerson) write(r *http.Request) (why string) {
	next := *p
	next.Custom, next.Emails, next.Phones = maps.Clone(p.Custom), slices.Clone(p.Emails), slices.Clone(p.Phones)
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&next); err != nil {
		return err.Error()
	}
	for name, value := range next.Custom {
		if name != leadIDField && name != noteField {
			return "custom_fields: Unrecognized key: " + name
		}
		if _, isText := value.(string); !isText && value != nil {
			return "custom_fields: " + name
		}
	}
	if next.Name == "" || next.ID != p.ID {
		return "name is required"
	}
	*p = next
	return ""
}

// compare says which persons, and which of their leads, are not the accepted leads.
func (d *pipedrive) compare(leads []*lead) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	problems := slices.Clone(d.problems)
	problem := func(format string, args ...any) {
		problems = append(problems, "pipedrive: "+fmt.Sprintf(format, args...))
	}
	has := map[int]int{}
	for _, person := range d.inbox {
		has[person]++
	}
	found := map[string][]person{}
	for _, p := range d.persons {
		id, _ := p.Custom[leadIDField].(string)
		if p.Gone {
			if has[p.ID] > 0 {
				problem("%s: its person was deleted and its lead was not: undead", id)
			}
			continue
		}
		if n := has[p.ID]; n != 1 {
			problem("%s has %d leads in the inbox", id, n)
		}
		is := person{Name: p.Name}
		is.Note, _ = p.Custom[noteField].(string)
		for _, e := range p.Emails {
			is.Email += e.Value
		}
		found[id] = append(found[id], is)
	}
	return append(problems, comparePeople("pipedrive", found, leads)...)
}
