package rest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
)

// Recipe is a checked recipe.
type Recipe struct {
	Name, Title, Docs string
	Event             bool
	Fields            []connectors.FieldRule

	file     string // its name in errors
	settings []setting
	baseURL  *template
	recordAt *template // where people see a record; nil: nobody knows
	headers  map[string]*template
	auth     auth
	values   values
	key      *expression
	unique   []*expression // what no two records share
	limits   limits
	verbs    map[string]*verb
	rules    []*rule
	why      *expression // over error: the part of it that says why
}

// Names of verbs.
const (
	find      = "find"
	lookup    = "lookup"
	create    = "create"
	update    = "update"
	upsert    = "upsert"
	remove    = "delete"
	erase     = "erase"
	checkVerb = "check"
)

// verb is one request, for one lead or for several.
type verb struct {
	name         string
	what         string // for errors: "create"
	method, path string
	segments     *template
	query        []pair
	headers      map[string]*template
	body         *tree
	form         []pair
	max          int // leads in one request; 0: one, without items
	each         *tree
	success      *expression // over the answer, or where there are results over each
	ref          *expression
	results      *results
	failures     *results
	fields       *listing // of check
	requires     []*requirement
	mend         *template // of check: what is to be done about a refusal
	optional     bool      // of a step of check: a refusal says nothing about the settings
	echo         *expression
	cost         int
	settles      time.Duration // of find: how long after a write it may not know of it
	unless       *verb         // its ref says that nothing is to be done
	before       []*step
	then         []*step
	example      *tree // what the vendor answers
	exampleEach  *tree // of max: what it says of one lead in the list each
	line         int
}

type pair struct {
	name  string
	value *template
}

// results says which of an answer's elements is about which item: by position, or by a key.
type results struct {
	from *expression // the list
	key  *expression // of an element, over result: the lead's id or what item says
	item *expression // what the key is of an item, one or several; nil: the lead's id
	gone bool        // a lead that the list says nothing of has no record any more
}

// step is a request that goes before or after a verb's own.
type step struct {
	on      []string // changes after which it is made; empty: all
	when    *expression
	unless  *verb // its ref says that nothing is to be done
	list    *verb // its ref lists the items it is made for
	request *verb
}

// rule says what an answer means.
type rule struct {
	statuses []string // "404" or "4xx"; empty: any
	verbs    []string
	when     *expression

	fault   connectors.Fault
	exists  *expression
	look    bool // exists: true, and lookup says where
	gone    bool
	without string
	wait    *expression
	reason  *expression
	outcome outcome
	example *tree
	line    int
}

type outcome int

const (
	isFault outcome = iota
	isExists
	isGone
	isWithout
	isDone
)

// values says how the vendor wants values written.
type values struct {
	Empty  string `yaml:"empty"`  // null (default), omit or text: of a field the lead has nothing for
	Number string `yaml:"number"` // native or text
	Bool   string `yaml:"bool"`   // native or text
	List   string `yaml:"list"`   // native, or what joins a list's elements
	Nested string `yaml:"nested"` // what parts a field's name into a path; "": nothing
}

type limits struct {
	scope       *template
	concurrency int
	rates       []rate
	remaining   *expression
	limit       *expression
	reset       *expression
}

// rate is a connectors.Rate whose most may be for the settings to say.
type rate struct {
	connectors.Rate
	most *expression // over settings; nil: Most
}

// with lists the rates under settings. A setting that is no such number leaves the least there may be.
func (l limits) with(settings map[string]any) (rates []connectors.Rate) {
	for _, r := range l.rates {
		if r.most != nil {
			most, _ := quantity(r.most.value(map[string]any{"settings": settings}))
			r.Most = max(1, int(min(most, 1e9)))
		}
		rates = append(rates, r.Rate)
	}
	return rates
}

// document is a recipe as YAML has it.
type document struct {
	Name     string                 `yaml:"name"`
	Title    string                 `yaml:"title"`
	Docs     string                 `yaml:"docs"`
	Event    bool                   `yaml:"event"`
	Settings []settingDocument      `yaml:"settings"`
	BaseURL  yaml.Node              `yaml:"base_url"`
	RecordAt yaml.Node              `yaml:"record_url"`
	Headers  map[string]yaml.Node   `yaml:"headers"`
	Auth     authDocument           `yaml:"auth"`
	Fields   []connectors.FieldRule `yaml:"fields"`
	Values   values                 `yaml:"values"`
	Key      yaml.Node              `yaml:"key"`
	Unique   []yaml.Node            `yaml:"unique"`
	Limits   limitsDocument         `yaml:"limits"`
	Verbs    map[string]yaml.Node   `yaml:"verbs"`
	Error    yaml.Node              `yaml:"error"`
	Errors   []yaml.Node            `yaml:"errors"`
}

type verbDocument struct {
	Request  yaml.Node            `yaml:"request"`
	Headers  map[string]yaml.Node `yaml:"headers"`
	Query    yaml.Node            `yaml:"query"`
	Body     yaml.Node            `yaml:"body"`
	Form     yaml.Node            `yaml:"form"`
	Max      int                  `yaml:"max"`
	Each     yaml.Node            `yaml:"each"`
	Success  yaml.Node            `yaml:"success"`
	Ref      yaml.Node            `yaml:"ref"`
	Results  *resultsDocument     `yaml:"results"`
	Failures *resultsDocument     `yaml:"failures"`
	Fields   *listingDocument     `yaml:"fields"`
	Requires []yaml.Node          `yaml:"requires"`
	Mend     yaml.Node            `yaml:"mend"`
	Echo     yaml.Node            `yaml:"echo"`
	Cost     int                  `yaml:"cost"`
	Settles  time.Duration        `yaml:"settles"`
	Unless   yaml.Node            `yaml:"unless"`
	Before   []yaml.Node          `yaml:"before"`
	Then     []yaml.Node          `yaml:"then"`
	Example  yaml.Node            `yaml:"example"`
	OfEach   yaml.Node            `yaml:"example_each"`
}

type resultsDocument struct {
	From yaml.Node `yaml:"from"`
	Key  yaml.Node `yaml:"key"`
	Item yaml.Node `yaml:"item"`
	Gone bool      `yaml:"gone"`
}

type stepDocument struct {
	On       []string    `yaml:"on"`
	When     yaml.Node   `yaml:"when"`
	Unless   yaml.Node   `yaml:"unless"`
	List     yaml.Node   `yaml:"list"`
	Request  yaml.Node   `yaml:"request"`
	Query    yaml.Node   `yaml:"query"`
	Body     yaml.Node   `yaml:"body"`
	Success  yaml.Node   `yaml:"success"`
	Requires []yaml.Node `yaml:"requires"`
	Mend     yaml.Node   `yaml:"mend"`
	Optional bool        `yaml:"optional"`
	Cost     int         `yaml:"cost"`
	Example  yaml.Node   `yaml:"example"`
}

type ruleDocument struct {
	Status  yaml.Node `yaml:"status"`
	Verbs   []string  `yaml:"verbs"`
	When    yaml.Node `yaml:"when"`
	Fault   string    `yaml:"fault"`
	Exists  yaml.Node `yaml:"exists"`
	Gone    bool      `yaml:"gone"`
	Done    bool      `yaml:"done"`
	Without string    `yaml:"without"`
	Wait    yaml.Node `yaml:"wait"`
	Reason  yaml.Node `yaml:"reason"`
	Example yaml.Node `yaml:"example"`
}

type limitsDocument struct {
	Scope       yaml.Node      `yaml:"scope"`
	Concurrency int            `yaml:"concurrency"`
	Rates       []rateDocument `yaml:"rates"`
	Remaining   yaml.Node      `yaml:"remaining"`
	Limit       yaml.Node      `yaml:"limit"`
	Reset       yaml.Node      `yaml:"reset"`
}

type rateDocument struct {
	Calls yaml.Node     `yaml:"calls"`
	Cost  yaml.Node     `yaml:"cost"`
	Per   time.Duration `yaml:"per"`
}

// Parse reads a recipe. file is its name in errors, which are all problems at once, each as "FILE:LINE: reason".
func Parse(file string, source []byte) (*Recipe, error) {
	p := &reader{file: file}
	var root yaml.Node
	if err := yaml.Unmarshal(source, &root); err != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(root.Content) == 0 {
		return nil, fmt.Errorf("%s: the recipe is empty", file)
	}
	if p.shape(root.Content[0]); p.problems != nil {
		return nil, errors.Join(p.problems...)
	}
	var d document
	if err := root.Decode(&d); err != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	r := p.recipe(&d, root.Content[0])
	if p.problems != nil {
		return nil, errors.Join(p.problems...)
	}
	return r, nil
}

// reader turns a document into a recipe and gathers what is wrong with it.
type reader struct {
	file     string
	settings []string
	problems []error
}

func (p *reader) problem(node *yaml.Node, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s:%d: "+format, append([]any{p.file, node.Line}, args...)...))
}

func (p *reader) recipe(d *document, top *yaml.Node) *Recipe {
	r := &Recipe{file: p.file, Name: d.Name, Title: d.Title, Docs: d.Docs, Event: d.Event, Fields: d.Fields, values: d.Values}
	r.settings = p.readSettings(d, top)
	r.baseURL = p.template(&d.BaseURL, atOpen)
	r.recordAt = p.recordURL(d)
	r.headers = p.templates(d.Headers, atOpen)
	r.auth = p.readAuth(&d.Auth)
	r.key = p.expression(&d.Key, atRequest)
	if r.key != nil && r.key.tells {
		p.problem(&d.Key, "key: must not hold personal data in the clear: use lead.id, or sha256(…) of what the vendor knows people by")
	}
	for _, node := range d.Unique {
		r.unique = append(r.unique, p.expression(&node, scope{"settings", "lead"}))
	}
	if _, err := connectors.NewMapping(d.Fields); err != nil {
		p.problem(child(top, "fields"), "fields%v", err)
	}
	r.limits = p.readLimits(&d.Limits)
	r.verbs = map[string]*verb{}
	for _, name := range slices.Sorted(maps.Keys(d.Verbs)) {
		node := d.Verbs[name]
		r.verbs[name] = p.verb(name, &node)
	}
	r.why = p.expression(&d.Error, atFailure)
	for _, node := range d.Errors {
		r.rules = append(r.rules, p.rule(&node))
	}
	p.whole(r, top)
	return r
}

// whole checks what the parts of a recipe must be to each other.
func (p *reader) whole(r *Recipe, top *yaml.Node) {
	verbs := child(top, "verbs")
	has := func(name string) bool { return r.verbs[name] != nil }
	need := func(name, why string) {
		if !has(name) {
			p.problem(verbs, "verbs: %s: required%s", name, why)
		}
	}
	need(checkVerb, ": it signs in and writes nothing")
	if r.Event {
		need(create, "")
		return
	}
	if !has(upsert) && !has(create) {
		p.problem(verbs, "verbs: give upsert, or create and find")
	}
	if has(create) && !has(upsert) {
		need(find, ": after a create without an answer it says whether there is a record")
		need(update, "")
	}
	if r.key == nil && !has(find) {
		p.problem(verbs, "verbs: give find, or a key: else nobody knows which record a lost answer was about")
	}
	need(remove, "")
	for _, rule := range r.rules {
		if rule.look && !has(lookup) {
			p.problem(&yaml.Node{Line: rule.line}, "exists: true needs the verb lookup, which finds the record the vendor means")
		}
	}
	for _, v := range r.verbs {
		at := &yaml.Node{Line: v.line}
		switch v.name {
		case find, lookup:
			if v.ref == nil {
				p.problem(at, "%s: ref: required", v.name)
			}
			if v.success == nil {
				p.problem(at, "%s: success: required: an answer that is no list must not mean that there is no record", v.name)
			}
			if v.max > 0 {
				p.problem(at, "%s: max: one lead is looked for at a time", v.name)
			}
		}
		if v.settles > 0 && v.name != find {
			p.problem(at, "%s: settles: belongs to find", v.name)
		}
		switch v.name {
		case create, upsert:
			if v.ref == nil && r.key == nil {
				p.problem(at, "%s: ref: required", v.name)
			}
		}
	}
}

func (p *reader) template(node *yaml.Node, in scope) *template {
	if node == nil || node.IsZero() {
		return nil
	}
	t, err := parseTemplate(node.Value, in, p.settings)
	if err != nil {
		p.problem(node, "%v", err)
	}
	return t
}

func (p *reader) templates(nodes map[string]yaml.Node, in scope) map[string]*template {
	all := map[string]*template{}
	for name, node := range nodes {
		all[http.CanonicalHeaderKey(name)] = p.template(&node, in)
	}
	return all
}

// pairs reads a mapping of names to templates, in its order.
func (p *reader) pairs(node *yaml.Node, in scope) (all []pair) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		all = append(all, pair{node.Content[i].Value, p.template(node.Content[i+1], in)})
	}
	return all
}

func (p *reader) expression(node *yaml.Node, in scope) *expression {
	if node == nil || node.IsZero() {
		return nil
	}
	e, err := compile(node.Value, in, p.settings)
	if err != nil {
		p.problem(node, "%v", err)
		return &expression{} // it is there, and no second problem comes of the first
	}
	return e
}

func (p *reader) tree(node *yaml.Node, in scope) *tree {
	if node.IsZero() {
		return nil
	}
	return parseTree(node, in, p.settings, func(at *yaml.Node, err error) { p.problem(at, "%v", err) })
}

func (p *reader) verb(name string, node *yaml.Node) *verb {
	var d verbDocument
	if err := node.Decode(&d); err != nil {
		p.problem(node, "%s: %v", name, err)
		return &verb{name: name}
	}
	in := atRequest
	if d.Max > 0 {
		in = atBatch
	}
	if d.Fields != nil && !d.Fields.Next.IsZero() {
		in = append(slices.Clone(in), "page")
	}
	v := &verb{name: name, what: name, max: d.Max, cost: max(1, d.Cost), settles: d.Settles, line: node.Line}
	p.request(v, &d.Request, in)
	v.headers = p.templates(d.Headers, in)
	v.query = p.pairs(&d.Query, in)
	v.form = p.pairs(&d.Form, in)
	v.body = p.tree(&d.Body, in)
	v.each = p.tree(&d.Each, atRequest)
	v.success = p.expression(&d.Success, atResult)
	v.ref = p.expression(&d.Ref, atResult)
	v.results = p.results(d.Results)
	v.failures = p.results(d.Failures)
	v.fields, v.requires, v.mend = p.listing(d.Fields), p.requirements(d.Requires), p.template(&d.Mend, atAnswer)
	v.echo = p.expression(&d.Echo, atResult)
	v.example, v.exampleEach = p.tree(&d.Example, atExample), p.tree(&d.OfEach, atExample)
	v.unless = p.side(name, "look", &d.Unless)
	for _, s := range d.Before {
		v.before = append(v.before, p.step(name, &s))
	}
	for _, s := range d.Then {
		v.then = append(v.then, p.step(name, &s))
	}
	p.onlyOfCheck(v)
	p.discreet(v, node)
	return v
}

// atExample is what the answer that a stand-in gives may name: the request's own, and the ref of the record.
var atExample = append(slices.Clone(atRequest), "item", "each")

// request reads "METHOD /path/{{ ref }}".
func (p *reader) request(v *verb, node *yaml.Node, in scope) {
	method, path, _ := strings.Cut(node.Value, " ")
	path = strings.TrimSpace(path)
	if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) || path != "" && path[0] != '/' {
		p.problem(node, `request: must be a method and a path, such as "POST /contacts"`)
	}
	v.method, v.path = method, path
	t, err := parseTemplate(path, in, p.settings)
	if err != nil {
		p.problem(node, "request: %v", err)
	} else if strings.ContainsAny(strings.Join(t.texts, ""), "?#") {
		p.problem(node, "request: put what follows the ? under query")
	}
	v.segments = t
}

// discreet refuses personal data in a URL, where every proxy on the way logs it.
func (p *reader) discreet(v *verb, node *yaml.Node) {
	telling := v.segments != nil && v.segments.tells()
	for _, q := range v.query {
		telling = telling || q.value != nil && q.value.tells()
	}
	if telling {
		p.problem(node, "%s: a URL must not hold personal data, but for lead.id and digests such as sha256(normal_email(lead.email))", v.name)
	}
}

func (p *reader) results(d *resultsDocument) *results {
	if d == nil {
		return nil
	}
	return &results{
		from: p.expression(&d.From, atResult),
		key:  p.expression(&d.Key, atElement),
		item: p.expression(&d.Item, atRequest),
		gone: d.Gone,
	}
}

// side reads a request that a verb or a step asks before its own.
func (p *reader) side(name, what string, node *yaml.Node) *verb {
	if node.IsZero() {
		return nil
	}
	v := p.verb(name, node)
	v.what = name + ": " + what
	return v
}

func (p *reader) step(name string, node *yaml.Node) *step {
	var d stepDocument
	if err := node.Decode(&d); err != nil {
		p.problem(node, "%s: %v", name, err)
		return &step{}
	}
	s := &step{on: d.On, when: p.expression(&d.When, atAnswer)}
	s.unless = p.side(name, "look", &d.Unless)
	s.list = p.side(name, "list", &d.List)
	v := &verb{name: name, what: name + ": step", cost: max(1, d.Cost), line: node.Line}
	in := append(slices.Clone(atRequest), "item") // no answer: a URL must not hold what it tells of a person
	p.request(v, &d.Request, in)
	v.query, v.body = p.pairs(&d.Query, in), p.tree(&d.Body, atStep)
	v.success = p.expression(&d.Success, atStep)
	v.requires, v.mend, v.optional = p.requirements(d.Requires), p.template(&d.Mend, atAnswer), d.Optional
	v.example = p.tree(&d.Example, atExample)
	p.discreet(v, node)
	s.request = v
	return s
}

var faults = map[string]connectors.Fault{
	"remote": connectors.Remote, "throttled": connectors.Throttled, "setup": connectors.Setup, "lead": connectors.Lead,
	"unknown": connectors.Unknown,
}

func (p *reader) rule(node *yaml.Node) *rule {
	var d ruleDocument
	if err := node.Decode(&d); err != nil {
		p.problem(node, "%v", err)
		return &rule{}
	}
	r := &rule{verbs: d.Verbs, line: node.Line, without: d.Without, gone: d.Gone}
	statuses := []*yaml.Node{&d.Status}
	if d.Status.Kind == yaml.SequenceNode {
		statuses = d.Status.Content
	}
	for _, s := range statuses {
		if !s.IsZero() {
			r.statuses = append(r.statuses, s.Value)
		}
	}
	r.when = p.expression(&d.When, atResult)
	r.wait = p.expression(&d.Wait, atResult)
	r.reason = p.expression(&d.Reason, atResult)
	r.example = p.tree(&d.Example, atExample)
	outcomes := 0
	if d.Fault != "" {
		outcomes++
		r.fault = faults[d.Fault]
	}
	if !d.Exists.IsZero() {
		outcomes++
		r.outcome = isExists
		if r.look = d.Exists.Value == "true"; !r.look {
			r.exists = p.expression(&d.Exists, atResult)
		}
	}
	if d.Gone {
		outcomes++
		r.outcome = isGone
	}
	if d.Done {
		outcomes++
		r.outcome = isDone
	}
	if d.Without != "" {
		outcomes++
		r.outcome = isWithout
	}
	if outcomes != 1 {
		p.problem(node, "errors: give one of fault, exists, gone, done and without")
	}
	if len(r.statuses) == 0 && r.when == nil {
		p.problem(node, "errors: give status, when or both: this rule is met by every answer")
	}
	return r
}

// failure is the part of an answer, or of one lead's part of it, that rules read as error.
func (r *Recipe) failure(said any) any {
	if why := r.why.value(map[string]any{"error": said}); why != nil {
		return why
	}
	return said
}

// meets says whether the rule is about an answer.
func (r *rule) meets(verb string, status int, env map[string]any) bool {
	if len(r.verbs) > 0 && !slices.Contains(r.verbs, verb) {
		return false
	}
	code := strconv.Itoa(status)
	if len(r.statuses) > 0 && !slices.ContainsFunc(r.statuses, func(s string) bool {
		return s == code || strings.HasSuffix(s, "xx") && s[0] == code[0]
	}) {
		return false
	}
	return r.when == nil || r.when.holds(env)
}

func (p *reader) readLimits(d *limitsDocument) limits {
	l := limits{
		scope:       p.template(&d.Scope, atOpen),
		concurrency: d.Concurrency,
		remaining:   p.expression(&d.Remaining, atAnswer),
		limit:       p.expression(&d.Limit, atAnswer),
		reset:       p.expression(&d.Reset, atAnswer),
	}
	for _, of := range d.Rates {
		r, most := rate{Rate: connectors.Rate{Per: of.Per, ByCost: !of.Cost.IsZero()}}, &of.Calls
		if r.ByCost {
			most = &of.Cost
		}
		if most.Decode(&r.Most) != nil {
			r.most = p.expression(most, atOpen)
		}
		l.rates = append(l.rates, r)
	}
	return l
}

// child is the value of a mapping's key, or the mapping itself where it has none.
func child(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return mapping
}
