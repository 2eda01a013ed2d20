package sources

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

// answer is one thing a form asked and a person said.
type answer struct {
	name    string   // what the custom field is called
	aliases []string // what else the form calls it
	asks    asks     // as the form says
	value   any
}

// asks is what a question is for, where its form says so by more than a name.
type asks int

const (
	anything asks = iota
	forAddress
	forPhone
)

// byName lists answers by each of their names; the first of a name has it.
func byName(answers []answer) map[string]any {
	fields := map[string]any{}
	for _, a := range answers {
		for _, name := range append([]string{a.name}, a.aliases...) {
			if _, taken := fields[name]; !taken && name != "" {
				fields[name] = a.value
			}
		}
	}
	return fields
}

// What questions are called that ask for a part of a lead, without case, spaces and signs, the surest first.
var (
	addressNames = []string{"email", "emailaddress", "youremail", "youremailaddress", "workemail", "businessemail", "contactemail", "mail", "mailaddress", "whatisyouremail", "whatisyouremailaddress", "whatsyouremail", "whatsyouremailaddress"}
	nameNames    = []string{"fullname", "name", "yourname", "yourfullname", "contactname", "whatisyourname", "whatsyourname", "whatisyourfullname", "whatsyourfullname"}
	firstNames   = []string{"firstname", "yourfirstname", "givenname", "forename", "fname", "first", "whatisyourfirstname", "whatsyourfirstname"}
	lastNames    = []string{"lastname", "yourlastname", "surname", "familyname", "lname", "last", "whatisyourlastname", "whatsyourlastname"}
	phoneNames   = []string{"phone", "phonenumber", "yourphone", "yourphonenumber", "telephone", "telephonenumber", "tel", "mobile", "mobilephone", "mobilenumber", "workphone", "workphonenumber"}
	noteNames    = []string{"message", "yourmessage", "note", "notes", "comment", "comments", "yourcomments"}
)

// recognise finds who answered: email, name, phone and note in the result; other has what else was answered, by name.
func recognise(answers []answer) map[string]any {
	called := map[string][]int{} // by plain name, in the form's order
	for i, a := range answers {
		for _, name := range append([]string{a.name}, a.aliases...) {
			called[plainName(name)] = append(called[plainName(name)], i)
		}
	}
	used := make([]bool, len(answers))
	take := func(i int) any {
		used[i] = true
		return answers[i].value
	}
	find := func(names []string, of asks) any {
		free := func(i int) bool { return !used[i] && isSaid(answers[i].value, of == forPhone) }
		if of != anything {
			for i, a := range answers {
				if a.asks == of && free(i) {
					return take(i)
				}
			}
		}
		for _, name := range names {
			for _, i := range called[name] {
				if answers[i].asks == anything && free(i) {
					return take(i)
				}
			}
		}
		return nil
	}
	found := map[string]any{
		"email": find(addressNames, forAddress),
		"phone": find(phoneNames, forPhone),
		"note":  find(noteNames, anything),
		"name":  find(nameNames, anything),
	}
	if found["name"] == nil {
		var parts []string
		for _, names := range [][]string{firstNames, lastNames} {
			if part, ok := find(names, anything).(string); ok {
				parts = append(parts, strings.TrimSpace(part))
			}
		}
		found["name"] = strings.Join(parts, " ")
	}
	other, times := map[string]any{}, map[string]int{}
	for i, a := range answers {
		if used[i] || isNothing(a.value) {
			continue
		}
		name := a.name
		for _, taken := other[name]; taken; _, taken = other[name] { // questions of one name
			times[a.name]++
			name = a.name + " (" + strconv.Itoa(1+times[a.name]) + ")"
		}
		other[name] = a.value
	}
	found["other"] = other
	return found
}

// isSaid says whether a value is something people write.
func isSaid(value any, orNumber bool) bool {
	if _, number := value.(json.Number); number {
		return orNumber
	}
	said, ok := value.(string)
	return ok && strings.TrimSpace(said) != ""
}

// plainName is a name by its letters and digits alone.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// recognised is the mapping of a preset whose answers are recognised.
var recognised = []Rule{
	{To: "email", From: "found.email"},
	{To: "name", From: "found.name"},
	{To: "note", From: "found.note"},
	{To: "phone", From: "found.phone"},
	{To: Everything, From: "found.other"},
}

// member returns what is at a path of members, or nil.
func member(value any, path ...string) any {
	for _, name := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[name]
	}
	return value
}

// text is a member that is a text or a number, as an id may be.
func text(value any, path ...string) string {
	switch v := member(value, path...).(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// list is a member that is a list.
func list(value any, path ...string) []any {
	elements, _ := member(value, path...).([]any)
	return elements
}
