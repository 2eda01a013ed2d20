package rest

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// StandIn is the vendor that a recipe is about, in memory, made from the recipe alone: it knows the recipe's requests,
// keeps the records they write, lets in who signs in as the recipe says, and answers with the recipe's examples. Where
// the vendor is stricter than that, it does not show.
//
// A write merges the fields it names into the record. What no two records share is said by unique, and without it by
// key; else an upsert goes by the lead's address where it sends it.
type StandIn struct {
	// Ref names the n-th record, from 1; nil: 1001, 1002, …
	Ref func(n int) string

	recipe    *Recipe
	made      map[string]any // settings as operators write them
	settings  map[string]any // as templates read them
	basePath  string         // of base_url
	tokenPath string         // where access tokens are; "" for none
	engine    *connector     // reads the examples as the connector will
	routes    []*route
	statuses  map[*verb]int   // of what was done
	nothing   map[*verb]reply // what says that there is no record
	unique    []*expression

	mu       sync.Mutex
	lacking  *requirement // whose example is answered in the place of its verb's
	next     int
	entries  []*entry
	parsed   map[string]ast.Node
	compiled map[string]*expression
}

// route is one request that the recipe makes, and what for.
type route struct {
	verb *verb
	role role
	step *step // that it belongs to
}

type role int

const (
	own     role = iota // it is the verb's own
	looks               // says whether there is anything to be done
	lists               // says for what a step is made
	further             // is a step
)

// entry is a record.
type entry struct {
	ref    string
	lead   map[string]any    // what the requests said of the lead
	fields map[string]any    // the vendor's fields
	texts  map[string]string // what else the last write said, by its place
	steps  map[string]string // what further requests said, by the request
}

func (e *entry) clone() *entry {
	return &entry{e.ref, maps.Clone(e.lead), maps.Clone(e.fields), maps.Clone(e.texts), maps.Clone(e.steps)}
}

// reply is an answer: body is JSON, text, or nil for none.
type reply struct {
	status int
	body   any
}

// accessToken is what the stand-in lets in where a recipe signs in by OAuth 2.
const accessToken = "access-token-of-the-stand-in"

// StandIn makes the stand-in. Of the settings it makes up what is required and not given. The error says what is wrong
// with them, or which examples of the recipe are missing or do not mean what they stand for, each as "FILE:LINE:
// reason".
func (r *Recipe) StandIn(settings map[string]any) (*StandIn, error) {
	s := &StandIn{recipe: r, statuses: map[*verb]int{}, nothing: map[*verb]reply{}, parsed: map[string]ast.Node{}, compiled: map[string]*expression{}}
	s.made = r.makeUp(settings)
	if err := s.open(); err != nil {
		return nil, err
	}
	add := func(v *verb, in role, of *step) {
		if v != nil {
			s.routes = append(s.routes, &route{v, in, of})
		}
	}
	for _, name := range []string{checkVerb, find, lookup, upsert, update, create, remove, erase} {
		add(r.verbs[name], own, nil)
	}
	for _, of := range slices.Clone(s.routes) {
		add(of.verb.unless, looks, nil)
		for _, step := range slices.Concat(of.verb.before, of.verb.then) {
			add(step.unless, looks, step)
			add(step.list, lists, step)
			add(step.request, further, step)
		}
	}
	s.unique = r.identity()
	if problems := s.check(); problems != nil {
		return nil, errors.Join(problems...)
	}
	return s, nil
}

// open opens the recipe's connector with the settings, for what it knows of them.
func (s *StandIn) open() error {
	decoded := reflect.New(reflect.TypeOf(s.recipe.structure()))
	decoded.Elem().Set(reflect.ValueOf(s.recipe.structure()))
	if err := connectors.Decode(s.made, decoded.Interface()); err != nil {
		return err
	}
	mapping, err := connectors.NewMapping(s.recipe.Fields)
	if err != nil {
		return err
	}
	opened, err := s.recipe.open(decoded.Elem(), connectors.Env{Name: s.recipe.Name, Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	s.engine = opened.(interface{ self() *connector }).self()
	s.settings = s.engine.given.values
	if base, err := url.Parse(s.engine.baseURL); err == nil {
		s.basePath = base.EscapedPath()
	}
	grant := s.recipe.auth.oauth2
	if grant == nil {
		return nil
	}
	address, err := url.Parse(s.plain(grant.tokenURL))
	if err != nil {
		return err
	}
	if s.tokenPath = address.EscapedPath(); len(s.addressSettings()) == 0 {
		return fmt.Errorf("%s: auth: token_url: tests cannot lead it elsewhere: begin it with {{ settings.base_url }}, or with a setting whose default is its address", s.recipe.file)
	}
	return nil
}

// self is the connector without the abilities that its recipe gives it.
func (c *connector) self() *connector { return c }

// addressSettings are the settings that lead to where access tokens are.
func (s *StandIn) addressSettings() (names []string) {
	for _, e := range s.recipe.auth.oauth2.tokenURL.expressions {
		for _, name := range e.names {
			name, _ = strings.CutPrefix(name, "settings.")
			if value, ok := s.settings[name].(string); ok && connectors.CheckBaseURL(value) == nil {
				names = append(names, name)
			}
		}
	}
	return names
}

// Settings are those of an operator whose vendor this is and listens at address.
func (s *StandIn) Settings(address string) map[string]any {
	settings := maps.Clone(s.made)
	if s.recipe.auth.oauth2 != nil {
		for _, name := range s.addressSettings() {
			u, _ := url.Parse(text(s.settings[name]))
			settings[name] = address + u.EscapedPath()
		}
	}
	settings[baseURLSetting] = address + s.basePath
	return settings
}

// plain is a template over settings.
func (s *StandIn) plain(t *template) string {
	if t == nil {
		return ""
	}
	value, _ := t.plain(map[string]any{"settings": s.settings})
	return value
}

func (r *Recipe) settingNames() (names []string) {
	for _, s := range r.settings {
		names = append(names, s.name)
	}
	return names
}

// signingKey is the private key where a recipe signs in by one.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// makeUp adds to given settings those that are required, or that requests are signed in with.
func (r *Recipe) makeUp(given map[string]any) map[string]any {
	made := maps.Clone(given)
	if made == nil {
		made = map[string]any{}
	}
	signs, keys := r.auth.settings()
	for i, s := range r.settings {
		if made[s.name] != nil || s.initial != nil || !s.required && !slices.Contains(signs, s.name) {
			continue
		}
		switch {
		case s.name == baseURLSetting:
			made[s.name] = "https://standin.example"
		case slices.Contains(keys, s.name):
			made[s.name] = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(signingKey())}))
		case s.kind == "secret":
			made[s.name] = "the-" + strings.ReplaceAll(s.name, "_", "-") + "-of-the-stand-in"
		case len(s.oneOf) > 0:
			made[s.name] = s.oneOf[0]
		case strings.HasSuffix(s.name, "url"):
			made[s.name] = "https://standin.example/" + s.name
		case s.kind == "text":
			made[s.name] = strconv.Itoa(4201 + i) // an id
		case s.kind == "integer", s.kind == "number":
			made[s.name] = 4201 + i
		case s.kind == "bool":
			made[s.name] = true
		case s.kind == "list":
			made[s.name] = []any{strconv.Itoa(4201 + i)}
		case s.kind == "duration":
			made[s.name] = "1m"
		}
	}
	return made
}

// settings lists what signing in reads, and which of it is a private key.
func (a auth) settings() (all, keys []string) {
	names := func(templates ...*template) (names []string) {
		for _, t := range templates {
			if t == nil {
				continue
			}
			for _, e := range t.expressions {
				for _, name := range e.names {
					names = append(names, strings.TrimPrefix(name, "settings."))
				}
			}
		}
		return names
	}
	all = names(a.bearer, a.user, a.password)
	for _, p := range []*pair{a.header, a.query} {
		if p != nil {
			all = append(all, names(p.value)...)
		}
	}
	if o := a.oauth2; o != nil {
		keys = names(o.privateKey)
		all = append(all, names(o.tokenURL, o.clientID, o.clientSecret, o.refreshToken, o.privateKey, o.subject, o.audience)...)
	}
	return all, keys
}

// identity is what no two records share: what the recipe says, or what follows from it.
func (r *Recipe) identity() []*expression {
	by := func(name string) []*expression {
		e, err := compile(name, scope{"lead"}, nil)
		if err != nil {
			panic(err)
		}
		return []*expression{e}
	}
	exists := func(r *rule) bool { return r.outcome == isExists && (r.example != nil || r.when == nil) }
	switch v := r.verbs[upsert]; {
	case r.unique != nil:
		return r.unique
	case r.Event:
		return nil
	case r.key != nil:
		return []*expression{r.key}
	case v != nil && v.names("lead.email"), v == nil && slices.ContainsFunc(r.rules, exists):
		return by("lead.email")
	case v != nil:
		return by("lead.id")
	}
	return nil
}

// names says whether the request reads a name.
func (v *verb) names(name string) bool {
	found := false
	expressions := func(t *template) {
		if t != nil {
			found = found || slices.ContainsFunc(t.expressions, func(e *expression) bool { return slices.Contains(e.names, name) })
		}
	}
	var walk func(*tree)
	walk = func(t *tree) {
		if t == nil {
			return
		}
		expressions(t.text)
		for _, element := range t.list {
			walk(element)
		}
		for _, m := range t.members {
			expressions(m.name)
			walk(m.value)
		}
	}
	expressions(v.segments)
	for _, p := range slices.Concat(v.query, v.form) {
		expressions(p.value)
	}
	walk(v.body)
	walk(v.each)
	return found
}

// ByAddress says whether two leads of one address share a record.
func (s *StandIn) ByAddress() bool {
	return slices.ContainsFunc(s.unique, func(e *expression) bool { return slices.Contains(e.names, "lead.email") })
}

// CreatesOnly says whether the vendor is told of events, and not of every kind.
func (s *StandIn) CreatesOnly() bool {
	return s.recipe.Event && (s.recipe.verbs[update] == nil || s.recipe.verbs[remove] == nil)
}

// Record is what the stand-in holds of one lead.
type Record struct {
	Ref    string
	Fields map[string]string // by the vendor's names, and by the places in the request
}

// Records lists what the stand-in holds.
func (s *StandIn) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := []Record{}
	for _, e := range s.entries {
		fields := map[string]string{}
		for name, value := range e.lead {
			fields["lead."+name] = text(value)
		}
		maps.Copy(fields, e.texts)
		maps.Copy(fields, e.steps)
		var flat func(place string, values map[string]any)
		flat = func(place string, values map[string]any) {
			for name, value := range values {
				below, deeper := value.(map[string]any)
				if deeper && s.recipe.values.Nested != "" {
					flat(place+name+s.recipe.values.Nested, below)
					continue
				}
				fields[place+name] = text(value)
			}
		}
		flat("", e.fields)
		records = append(records, Record{e.ref, fields})
	}
	return records
}

// Successes are the bodies of the 200s that say that a change was made.
func (s *StandIn) Successes() map[lead.Op][]string {
	bodies := map[lead.Op][]string{}
	for _, to := range s.routes {
		op, changes := map[string]lead.Op{create: lead.Create, upsert: lead.Create, update: lead.Update, remove: lead.Delete, erase: lead.Delete}[to.verb.name]
		if !changes || to.role != own {
			continue
		}
		if a := s.replied(to.verb, []map[string]any{s.example(1)}); a.status == http.StatusOK {
			bodies[op] = append(bodies[op], a.text())
		}
	}
	return bodies
}

// SignIn says whether a request asks for an access token.
func (s *StandIn) SignIn(r *http.Request) bool {
	return s.tokenPath != "" && r.Method == http.MethodPost && r.URL.EscapedPath() == s.tokenPath
}

const maxRequest = 32 << 20

// ServeHTTP answers as the recipe says the vendor does. A request that is none of the recipe's is answered 501.
func (s *StandIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		write(w, refused(http.StatusBadRequest, "the request broke off"))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.SignIn(r):
		write(w, s.token(r, body))
	case !s.letsIn(r):
		write(w, refused(http.StatusUnauthorized, "the credentials are not right"))
	default:
		to, told := s.recognise(r, body)
		if to == nil {
			write(w, refused(http.StatusNotImplemented, "the recipe makes no such request: "+r.Method+" "+r.URL.Path))
			return
		}
		write(w, s.answer(to, told))
	}
}

func refused(status int, reason string) reply {
	return reply{status, map[string]any{"message": reason}}
}

func write(w http.ResponseWriter, a reply) {
	switch a.body.(type) {
	case nil:
	case string:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	default:
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.text())
}

// text is the body as it is sent.
func (a reply) text() string {
	switch body := a.body.(type) {
	case nil:
		return ""
	case string:
		return body
	}
	encoded, _ := json.Marshal(a.body) // it came from JSON
	return string(encoded)
}

// letsIn checks how a request signs in.
func (s *StandIn) letsIn(r *http.Request) bool {
	for name, value := range s.engine.headers {
		if r.Header.Get(name) != value {
			return false
		}
	}
	sign := s.engine.sign
	switch {
	case sign.tokens != nil:
		return r.Header.Get("Authorization") == sign.tokens.scheme+" "+accessToken
	case sign.header != "":
		return r.Header.Get(sign.header) == sign.value
	case sign.query[0] != "":
		return r.URL.Query().Get(sign.query[0]) == sign.query[1]
	}
	return true
}

// token answers a request for an access token (RFC 6749, 4.4 and 6; RFC 7523, 2.1).
func (s *StandIn) token(r *http.Request, body []byte) reply {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return reply{http.StatusBadRequest, map[string]any{"error": "invalid_request"}}
	}
	g := s.recipe.auth.oauth2
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if g.inHeader {
		user, password, _ := r.BasicAuth()
		id, _ = url.QueryUnescape(user)
		secret, _ = url.QueryUnescape(password)
	}
	known := id == s.plain(g.clientID) && secret == s.plain(g.clientSecret)
	given := false
	switch kind := form.Get("grant_type"); s.plain(g.kind) {
	case "client_credentials":
		given = kind == "client_credentials"
	case "refresh_token":
		given = kind == "refresh_token" && form.Get("refresh_token") == s.plain(g.refreshToken)
	case "jwt_bearer":
		known = true
		given = kind == "urn:ietf:params:oauth:grant-type:jwt-bearer" && s.asserts(form.Get("assertion"))
	}
	switch {
	case !known:
		return reply{http.StatusUnauthorized, map[string]any{"error": "invalid_client"}}
	case !given:
		return reply{http.StatusBadRequest, map[string]any{"error": "invalid_grant"}}
	}
	return reply{http.StatusOK, map[string]any{"access_token": accessToken, "token_type": "Bearer", "expires_in": 3600}}
}

// asserts says whether a signed statement is the client's own and not past its time.
func (s *StandIn) asserts(assertion string) bool {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return false
	}
	block, _ := pem.Decode([]byte(strings.ReplaceAll(s.plain(s.recipe.auth.oauth2.privateKey), `\n`, "\n")))
	if block == nil {
		return false
	}
	var key *rsa.PrivateKey
	if parsed, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		key = parsed
	} else if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key, _ = parsed.(*rsa.PrivateKey)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if key == nil || err != nil || rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return false
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	var said struct {
		Issuer string `json:"iss"`
		Until  int64  `json:"exp"`
	}
	return err == nil && json.Unmarshal(claims, &said) == nil &&
		said.Issuer == s.plain(s.recipe.auth.oauth2.clientID) && time.Unix(said.Until, 0).After(time.Now())
}

// recognise finds whose request this is. Of several that fit, the one that has most of the request in it is meant.
func (s *StandIn) recognise(r *http.Request, body []byte) (to *route, said *heard) {
	most := -1
	for _, candidate := range s.routes {
		if t, literal, ok := s.match(candidate.verb, r, body); ok && literal > most {
			to, said, most = candidate, t, literal
		}
	}
	return to, said
}

func (s *StandIn) answer(to *route, t *heard) reply {
	switch v := to.verb; {
	case to.role != own:
		return s.stepped(to, t)
	case v.name == checkVerb:
		return s.replied(v, []map[string]any{s.environment(t, nil)})
	case v.name == find || v.name == lookup:
		e := s.find(t)
		if e == nil {
			return s.nothing[v]
		}
		return s.replied(v, []map[string]any{s.environment(t, e)})
	default:
		return s.written(v, t)
	}
}

// written changes records, all that a request is about.
func (s *StandIn) written(v *verb, t *heard) reply {
	items := t.each()
	if v.max > 0 && t.items == nil {
		return refused(http.StatusBadRequest, "the request is about nobody")
	}
	if v.max > 0 && len(items) > v.max {
		return refused(http.StatusBadRequest, fmt.Sprintf("there are at most %d in one request", v.max))
	}
	before := make([]*entry, len(s.entries))
	for i, e := range s.entries {
		before[i] = e.clone()
	}
	envs := make([]map[string]any, len(items))
	refusals := make([]*refusal, len(items))
	for i, item := range items {
		var e *entry
		e, refusals[i] = s.change(v, item)
		envs[i] = s.environment(item, e)
		if r := refusals[i]; r != nil && !r.ofItem {
			s.entries = before
			return s.evaluated(r.status, r.example, envs[i])
		}
	}
	return s.replied(v, envs, refusals...)
}

// change makes one change, or says why it is not made.
func (s *StandIn) change(v *verb, t *heard) (*entry, *refusal) {
	if s.isBad(t) {
		if r := s.badLead(v); r != nil {
			return nil, r
		}
	}
	if s.recipe.Event {
		return s.happened(v, t), nil
	}
	e := s.find(t)
	s.settle(v, t, e)
	switch {
	case v.name == create, v.name == upsert:
		same, other := s.sharing(t)
		if v.name == create && same != nil {
			other = same
		}
		if other != nil {
			return other, s.refusal(v, isExists, http.StatusConflict)
		}
		if v.name == upsert && same != nil {
			same.take(t)
			return same, nil
		}
		return s.add(t), nil
	case e == nil:
		return &entry{ref: cmp.Or(t.ref, t.key)}, s.refusal(v, isGone, http.StatusNotFound)
	case v.method == http.MethodGet:
		return e, nil // what is to be changed, a step changes
	case v.name == update:
		if same, other := s.sharing(t); other != nil && other != e || same != nil && same != e {
			return cmp.Or(other, same), s.refusal(v, isExists, http.StatusConflict)
		}
		e.take(t)
		return e, nil
	default:
		s.entries = slices.DeleteFunc(s.entries, func(other *entry) bool { return other == e })
		return e, nil
	}
}

// happened keeps what an event says of a lead.
func (s *StandIn) happened(v *verb, t *heard) *entry {
	if id, ok := t.change["id"]; ok && t.lead["id"] == nil {
		t.lead["id"] = id // the change stands for the lead
	}
	e := s.find(t)
	s.settle(v, t, e)
	if i := slices.IndexFunc(s.entries, func(e *entry) bool { return e.says(t) }); e == nil && t.lead["id"] == nil && i >= 0 {
		e = s.entries[i] // told again
	}
	switch op := cmp.Or(text(t.change["op"]), v.name); {
	case op == string(lead.Delete):
		s.entries = slices.DeleteFunc(s.entries, func(other *entry) bool { return other == e })
	case e != nil:
		e.take(t)
	default:
		e = s.add(t)
	}
	if e == nil {
		e = &entry{}
	}
	return e
}

func (s *StandIn) add(t *heard) *entry {
	s.next++
	e := &entry{lead: map[string]any{}, fields: map[string]any{}, steps: map[string]string{}}
	e.take(t)
	e.ref = strconv.Itoa(1000 + s.next)
	if s.Ref != nil {
		e.ref = s.Ref(s.next)
	}
	if s.recipe.key != nil {
		key := text(s.recipe.key.value(map[string]any{"settings": s.settings, "lead": e.lead}))
		e.ref = cmp.Or(t.key, t.ref, key, e.ref)
	}
	s.entries = append(s.entries, e)
	return e
}

// learn writes what a request says of the lead into the record.
func (e *entry) learn(t *heard) {
	for name, value := range t.lead {
		if value != nil {
			e.lead[name] = value
		}
	}
	maps.Copy(e.fields, t.fields)
}

// take makes the record what a request says.
func (e *entry) take(t *heard) {
	e.learn(t)
	e.texts = maps.Clone(t.texts)
}

// says is true of a request that says all that the record holds.
func (e *entry) says(t *heard) bool {
	return maps.Equal(e.texts, t.texts) && reflect.DeepEqual(e.fields, t.fields) && reflect.DeepEqual(e.lead, t.lead)
}

// find finds the record that a request names: by its ref, else by all that it says of the lead.
func (s *StandIn) find(t *heard) *entry {
	ref := cmp.Or(t.ref, t.key)
	id, byID := t.lead["id"]
	for _, e := range s.entries {
		switch {
		case ref != "":
			if e.ref == ref {
				return e
			}
		case byID:
			if text(e.lead["id"]) == text(id) {
				return e
			}
		case len(t.sums) > 0 || len(t.lead) > 0:
			fits := true
			for name, value := range t.lead {
				fits = fits && lead.NormalEmail(text(e.lead[name])) == lead.NormalEmail(text(value))
			}
			env := map[string]any{"settings": s.settings, "ref": e.ref, "lead": e.lead, "fields": e.fields}
			for _, sum := range t.sums {
				value, ok := s.evaluate(sum.node, env, func(string) bool { return true })
				fits = fits && ok && text(value) == text(sum.value)
			}
			if fits {
				return e
			}
		}
	}
	return nil
}

// settle reads what depends on what else is known of the lead, by the record where the request does not say it.
func (s *StandIn) settle(v *verb, t *heard, e *entry) {
	if e != nil {
		for name, value := range e.lead {
			if t.lead[name] == nil {
				t.lead[name] = value
			}
		}
	}
	(&matcher{s: s, v: v}).settle(t, true)
}

// sharing finds the record with the same first unique value, and another with one of the others.
func (s *StandIn) sharing(t *heard) (same, other *entry) {
	known := func(values map[string]any) map[string]any {
		values = maps.Clone(values)
		if address := text(values["email"]); address != "" {
			values["email"] = lead.NormalEmail(address)
		}
		return map[string]any{"settings": s.settings, "lead": values}
	}
	for i, e := range s.unique {
		value := text(e.value(known(t.lead)))
		if s.recipe.key == e {
			value = cmp.Or(t.key, t.ref, value)
		}
		if value == "" {
			continue
		}
		for _, entry := range s.entries {
			theirs := text(e.value(known(entry.lead)))
			if s.recipe.key == e {
				theirs = entry.ref
			}
			switch {
			case theirs != value:
			case i == 0:
				same = entry
			case entry != same:
				other = entry
			}
		}
	}
	return same, other
}

// name tells a step from the others of its recipe.
func (s *step) name() string { return strings.TrimSpace(s.request.method + " " + s.request.path) }

// stepped answers a request beside a verb's own. What a step did once is there.
func (s *StandIn) stepped(to *route, t *heard) reply {
	e := s.find(t)
	s.settle(to.verb, t, e)
	name, done := "", false
	if to.step != nil {
		name = to.step.name()
		done = e != nil && e.steps[name] != ""
	}
	switch {
	case to.role == looks && !done, to.role == lists && done:
		if none, ok := s.nothing[to.verb]; ok {
			return none
		}
	case to.role == further && e != nil:
		if len(t.fields) == 0 || to.step.unless != nil || to.step.list != nil { // else its fields show it
			e.steps[name] = "done"
		}
		e.learn(t)
	}
	return s.replied(to.verb, []map[string]any{s.environment(t, e)})
}

// environment is what an example may name.
func (s *StandIn) environment(t *heard, e *entry) map[string]any {
	known := lead.Lead{}.NumericValues()
	env := map[string]any{"settings": s.settings, "ref": cmp.Or(t.ref, t.key), "key": t.key, "change": t.change, "item": t.item, "fields": t.fields}
	if e != nil {
		maps.Copy(known, e.lead)
		env["ref"], env["fields"] = e.ref, e.fields
		if s.recipe.key != nil {
			env["key"] = e.ref
		}
	}
	maps.Copy(known, t.lead)
	env["lead"] = known
	return env
}

// replied is a verb's example for these leads, with the refusals that are about one of several.
func (s *StandIn) replied(v *verb, envs []map[string]any, refusals ...*refusal) reply {
	status := cmp.Or(s.statuses[v], http.StatusOK)
	each, failures := []any{}, []any{}
	for i, env := range envs {
		if i < len(refusals) && refusals[i] != nil {
			status = refusals[i].status
			if refusals[i].silent {
				continue
			}
			failure, _ := refusals[i].example.value(env)
			if v.failures == nil {
				each = append(each, failure)
			} else {
				failures = append(failures, failure)
			}
			continue
		}
		value, err := v.exampleEach.value(env)
		if err != nil {
			return refused(http.StatusInternalServerError, "example_each: "+err.Error())
		}
		each = append(each, value)
	}
	env := maps.Clone(envs[0])
	env["each"] = each
	example := v.example
	if s.lacking != nil && slices.Contains(v.requires, s.lacking) {
		example = s.lacking.example
	}
	answer := s.evaluated(status, example, env)
	if len(failures) > 0 {
		s.put(answer.body, v.failures.from, failures)
	}
	return answer
}

// evaluated is an example; without one there is an empty answer.
func (s *StandIn) evaluated(status int, example *tree, env map[string]any) reply {
	if example == nil {
		return reply{status: status}
	}
	body, err := example.value(env)
	if err != nil {
		return refused(http.StatusInternalServerError, "example: "+err.Error())
	}
	// Through JSON, so that no record is shared with who reads the answer.
	encoded, _ := json.Marshal(body)
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	body = nil
	decoder.Decode(&body)
	return reply{status, body}
}

// put sets what an expression such as answer.errors reads.
func (s *StandIn) put(answer any, from *expression, value any) bool {
	node := s.ast(from)
	path, ok := pathOf(node)
	if binary, isBinary := node.(*ast.BinaryNode); isBinary && binary.Operator == "??" {
		path, ok = pathOf(binary.Left)
	}
	if !ok || len(path) < 2 || path[0] != "answer" {
		return false
	}
	at, ok := answer.(map[string]any)
	for _, name := range path[1 : len(path)-1] {
		if ok {
			at, ok = at[name].(map[string]any)
		}
	}
	if ok {
		at[path[len(path)-1]] = value
	}
	return ok
}

// refusal is how the vendor says that a request is not done.
type refusal struct {
	status  int
	example *tree
	ofItem  bool // it is about one of several: the others are done
	silent  bool // the answer does not mention it
}

// refusal is the first rule of an outcome that can be shown, rather of one of several leads than of all.
func (s *StandIn) refusal(v *verb, means outcome, usual int) *refusal {
	if means == isGone && v.results != nil && v.results.gone {
		return &refusal{status: cmp.Or(s.statuses[v], http.StatusOK), ofItem: true, silent: true}
	}
	r := s.shown(v, func(r *rule) bool { return r.outcome == means })
	if r == nil {
		r = &refusal{status: usual, example: &tree{isMap: true}}
	}
	return r
}

func (s *StandIn) shown(v *verb, meant func(*rule) bool) (found *refusal) {
	for _, r := range s.recipe.rules {
		if !meant(r) || len(r.verbs) > 0 && !slices.Contains(r.verbs, v.name) || r.example == nil && r.when != nil {
			continue
		}
		if status, ok := r.status(true); ok && r.example != nil {
			one := &refusal{status: status, example: r.example, ofItem: true}
			if s.tellsApart(v, one, r.outcome) {
				return one
			}
		}
		if found == nil {
			status, _ := r.status(false)
			found = &refusal{status: status, example: r.example}
			if r.example == nil {
				found.example = &tree{isMap: true}
			}
		}
	}
	return found
}

// tellsApart says whether the connector understands which of several leads a refusal is about.
func (s *StandIn) tellsApart(v *verb, one *refusal, means outcome) bool {
	if v.max < 2 || v.results == nil {
		return false
	}
	envs := []map[string]any{s.example(1), s.example(2)}
	verdicts, ok := s.perItem(v, s.replied(v, envs, nil, one), envs)
	return ok && verdicts[0].outcome == isFault && verdicts[0].err == nil && verdicts[1].outcome == means && (means != isFault || verdicts[1].err != nil)
}

// status is a status that the rule is about: of a success or, rather, of a failure.
func (r *rule) status(success bool) (status int, ok bool) {
	if len(r.statuses) == 0 {
		return http.StatusOK, true
	}
	for _, s := range r.statuses {
		status, _ := strconv.Atoi(strings.ReplaceAll(s, "x", "0"))
		if success == (status < 300) {
			return status, true
		}
	}
	status, _ = strconv.Atoi(strings.ReplaceAll(r.statuses[0], "x", "0"))
	return status, false
}

// BadDomain is a domain of addresses that the stand-in refuses, as the recipe says that the vendor refuses leads; ""
// where it does not say so.
func (s *StandIn) BadDomain() string {
	for _, name := range []string{upsert, create} {
		if v := s.recipe.verbs[name]; v != nil {
			if v.names("lead.email") && s.badLead(v) != nil {
				return badDomain
			}
			return ""
		}
	}
	return ""
}

const badDomain = "refused.example"

func (s *StandIn) isBad(t *heard) bool {
	return strings.HasSuffix(text(t.lead["email"]), "@"+badDomain)
}

// badLead is how a lead is refused: by a rule, or by a status that means so without one.
func (s *StandIn) badLead(v *verb) *refusal {
	if r := s.shown(v, func(r *rule) bool { return r.outcome == isFault && r.fault == connectors.Lead }); r != nil {
		return r
	}
	r := &refusal{status: http.StatusUnprocessableEntity, example: &tree{isMap: true}}
	if fault, _ := connectors.FaultOf(s.verdict(v, reply{r.status, map[string]any{}}, nil).err); fault != connectors.Lead {
		return nil
	}
	return r
}

// Faults says which statuses of an error that explains nothing the recipe takes for another fault than any HTTP API
// means by them. A rule that blames the lead for a failure of the vendor is not among them.
func (s *StandIn) Faults() map[int]connectors.Fault {
	faults := map[int]connectors.Fault{}
	making := s.engine.making()
	said := map[string]any{"status": "error", "title": "Invalid Resource", "message": "this is not valid", "detail": "this is not valid"}
	env := map[string]any{"answer": said, "error": s.recipe.failure(said), "header": map[string]any{}}
	first := func(verb string, status int) *rule {
		env["status"] = status
		for _, r := range s.recipe.rules {
			if r.meets(verb, status, env) {
				return r
			}
		}
		return nil
	}
	for status := 300; status < 600; status++ {
		usual, _ := connectors.FaultOf(connectors.StatusError(&connectors.Response{Status: status}))
		if r := first(making.name, status); r != nil {
			switch r.outcome {
			case isFault:
				if usual == connectors.Remote || usual == connectors.Throttled {
					if r.fault == connectors.Lead {
						continue
					}
				}
				faults[status] = r.fault
			case isExists:
				faults[status] = connectors.Lead
				if r.look {
					faults[status] = connectors.Remote
				}
			case isGone:
				faults[status] = connectors.Setup
			case isWithout:
				faults[status] = connectors.Lead
			}
		}
		if r := first(remove, status); r != nil && (r.outcome == isGone || r.outcome == isDone) && status/100 == 4 {
			if _, said := faults[status]; !said {
				faults[status] = usual
			}
		}
	}
	return faults
}
