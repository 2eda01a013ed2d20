package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/julienschmidt/httprouter"
	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Form is a website form: who may post it to /f/NAME, and what becomes of its fields.
type Form struct {
	Name    string
	Origins []string // the pages that may post it, beside this server's: scheme://host[:port], AnyOrigin or NullOrigin

	Fields   []FormField
	Required []string       // beside email, by the lead's names
	Source   string         // the lead's
	Set      map[string]any // custom fields that are the same for every lead, whatever was sent

	Success, Error string // where a browser goes after a post; "": a page of ours

	Honeypot     string        // a field that people do not see; "": none
	MinFill      time.Duration // who is faster is a program, by the field _token; 0: not looked at
	RequireToken bool          // who sends no _token is one, too

	Posts        int           // that one client address may make in Per; 0: any number
	Per          time.Duration // above 0 where Posts is
	DoubleSubmit time.Duration // the same from the same client within this is one lead; 0: not looked for

	Captcha *Captcha // nil: none
	Consent *Consent // nil: none
}

// FormField gives a field another name in the lead. Of several fields for one name the first that is filled in counts.
type FormField struct{ To, From string }

// Consent is what a person agrees to by a field of the form. The lead has it as the custom fields consent (true or
// false), consent_at, consent_text and consent_version.
type Consent struct {
	Field         string
	Text, Version string // of what is agreed to
	Required      bool
}

// FormOrigin is how the store knows where the submissions of a form came in. Their payload is a body of the leads API.
func FormOrigin(name string) string { return "form/" + name }

// form is a Form, ready to be posted.
type form struct {
	Form
	rank  map[string]int // by the names of fields: their place in Fields, from 1
	fixed sent           // Set, as JSON has it
}

func newForm(f Form) *form {
	ready := &form{Form: f, rank: map[string]int{}}
	if len(f.Set) > 0 {
		var err error
		if ready.fixed, err = decodeJSON(appendJSON(nil, f.Set)); err != nil {
			panic("ingest: " + err.Error()) // of what was just encoded
		}
	}
	for i, field := range f.Fields {
		ready.rank[strings.TrimSuffix(field.From, "[]")] = i + 1
	}
	return ready
}

// formRoute lets next answer for a form. It is measured and, where it panics, answered; who may post is next's affair.
func (s *server) formRoute(route string, next func(p *post)) httprouter.Handle {
	return s.observed(route, func(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
		p := &post{server: s, form: s.forms[params.ByName("form")], w: w, r: r, origin: originOf(r)}
		if p.form == nil {
			p.refuse(errNoForm)
			return
		}
		p.allowed = p.form.allows(p.origin, r.Host)
		p.cors()
		next(p)
	})
}

var errNoForm = refused{status: http.StatusNotFound, code: "not_found",
	message: "There is no form at this address; forms are declared in the configuration."}

// post is a request for a form, and what is known of it by now.
type post struct {
	*server
	form    *form // nil: there is none of its name
	w       http.ResponseWriter
	r       *http.Request
	origin  string // of the page
	allowed bool   // whether the page may post
	client  netip.Addr
	fields  sent
}

// posted answers POST /f/:form.
func (s *server) posted(p *post) {
	err := error(errCrowded)
	outcome := ""
	s.admit(func() { outcome, err = p.take() })
	if err != nil {
		outcome = p.refuse(err)
	} else {
		p.thank()
	}
	s.metrics.posts.WithLabelValues(p.form.Name, outcome).Inc()
}

// What becomes of a post that is answered as a success, as metrics have it.
const (
	outcomeLead = "lead"
	outcomeSpam = "spam"
)

// take makes a lead of a post, or keeps it as spam. Both are found out by the same steps: who is refused learns nothing
// of what a post is taken for.
func (p *post) take() (outcome string, err error) {
	if !p.allowed {
		p.Log.Debug("a form was posted from a page that may not", "form", p.form.Name, "origin", p.origin)
		return "", errOrigin
	}
	p.client = p.server.client(p.r)
	if wait := p.visitors.wait(p.form, p.client); wait > 0 {
		return "", refused{status: http.StatusTooManyRequests, code: "too_many_requests", wait: wait,
			message: "This form was sent too often from your connection. Please try again in a while."}
	}
	if p.fields, err = p.decode(); err != nil {
		return "", err
	}
	l, err := p.form.read(p.fields)
	if err != nil {
		return "", err
	}
	reason, err := p.spam()
	if err != nil {
		return "", err
	}
	outcome = outcomeLead
	if reason != "" {
		outcome = outcomeSpam
	}
	once, err := p.once(outcome, l.content)
	if err != nil {
		return "", err
	}
	l.date(p.Store.Now())
	do := func() error {
		if err := p.human(once); err != nil {
			return err
		}
		// Whoever has left the page meanwhile has sent the form nevertheless: the second of two clicks does it at once.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.r.Context()), storeTimeout)
		defer cancel()
		if reason != "" {
			return p.keep(ctx, l, reason, once)
		}
		return p.accept(ctx, l, once)
	}
	if once == nil {
		return outcome, do()
	}
	return outcome, p.flying.together(p.r.Context(), flightKey(once), do)
}

var errOrigin = refused{status: http.StatusForbidden, code: "origin_not_allowed",
	message: "This form may not be sent from the page it is on. Its site has to be among the form's origins in the configuration."}

// once says how the store knows a repeat: by the key that the page chose for this fill, else by content and client. It
// is nil where repeats are not looked for. A post that was taken for spam is no repeat of one that is not.
func (p *post) once(outcome, content string) (*store.Idempotency, error) {
	key, err := clientsKey(p.r)
	origin := FormOrigin(p.form.Name)
	switch {
	case err != nil:
		return nil, err
	case key != "":
		return &store.Idempotency{Key: strings.Join([]string{origin, outcome, "key", key}, "\n"), Fingerprint: content, Group: origin}, nil
	case p.form.DoubleSubmit > 0:
		return &store.Idempotency{
			Key: strings.Join([]string{origin, outcome, "content", p.client.String(), content}, "\n"), For: p.form.DoubleSubmit, Group: origin,
		}, nil
	}
	return nil, nil
}

// flightKey is the same for posts that are to have one outcome.
func flightKey(once *store.Idempotency) string { return once.Key + "\n" + once.Fingerprint }

// spam says why a post is no person's, "" where it may be one's. An error is the store's.
func (p *post) spam() (reason string, err error) {
	if p.form.Honeypot != "" && !blank(p.fields[p.form.Honeypot]) {
		return "the honeypot field was filled in", nil
	}
	token := p.fields.text(tokenField)
	if token == "" {
		if p.form.RequireToken {
			return "no " + tokenField + " was sent", nil
		}
		return "", nil
	}
	secret, err := p.secret(p.r)
	if err != nil {
		return "", err
	}
	at, ok := readToken(secret, p.form.Name, token)
	age := p.Store.Now().Sub(at)
	switch {
	case !ok || age < -clockSkew:
		return tokenField + " is forged or another form's", nil
	case age > tokenLife:
		return tokenField + " is stale: the form was opened more than " + tokenLife.String() + " before", nil
	case age < p.form.MinFill:
		return "the form was filled in within less than " + p.form.MinFill.String(), nil
	}
	return "", nil
}

// accept makes the lead.
func (p *post) accept(ctx context.Context, l *formLead, once *store.Idempotency) error {
	created, err := p.server.accept(ctx, l.patch, once)
	if err != nil {
		var invalid lead.Invalid // of what a lead would hold together with that of its address
		if errors.As(err, &invalid) {
			return p.form.problems(invalid)
		}
		return err
	}
	p.metrics.accepted.WithLabelValues("form").Inc()
	if p.Log.Enabled(ctx, slog.LevelDebug) {
		p.Log.Debug("lead accepted", "lead", created.ID, "revision", created.Revision, "form", p.form.Name)
	}
	return nil
}

// keep puts spam aside.
func (p *post) keep(ctx context.Context, l *formLead, reason string, once *store.Idempotency) error {
	kept, dropped, err := p.Store.Keep(ctx, store.Submission{
		Origin: FormOrigin(p.form.Name), State: store.Spam, Reason: reason, Payload: l.body(),
	}, once)
	if err != nil {
		return err
	}
	if dropped > 0 && p.toldSpam.Allow() {
		p.Log.Warn("there is more spam of a form than is kept: the oldest goes; see `leadrelay inbox`", "form", p.form.Name)
	}
	p.Log.Debug("a post is kept as spam; see `leadrelay inbox`", "form", p.form.Name, "submission", kept.ID, "reason", reason)
	return nil
}

// human asks the form's captcha whether a person has sent the post. What it said counts for the post's repeats: it answers
// for a token only once (https://developers.cloudflare.com/turnstile/get-started/server-side-validation/), and a post
// whose answer was lost, or that met a store that was away, comes again with the same.
func (p *post) human(once *store.Idempotency) error {
	c := p.form.Captcha
	if c == nil {
		return nil
	}
	var asked [sha256.Size]byte
	if once != nil {
		asked = sha256.Sum256([]byte(flightKey(once)))
		if until, known := p.humans.Get(asked); known && time.Now().Before(until) {
			return nil
		}
	}
	token := p.fields.text(providers[c.Provider].field)
	if token == "" && !c.FailOpen || len(token) > maxCaptchaToken {
		return errCaptcha
	}
	passed, err := c.verify(context.WithoutCancel(p.r.Context()), token, p.client)
	if err != nil {
		p.metrics.unverified.WithLabelValues(p.form.Name).Inc()
		if p.toldCaptcha.Allow() {
			p.Log.Warn("a captcha cannot be verified; while it cannot, this is told every few seconds",
				"form", p.form.Name, "provider", c.Provider, "posts_are_accepted", c.FailOpen, "error", err)
		}
		if c.FailOpen {
			return nil
		}
		return refused{status: http.StatusServiceUnavailable, code: "unavailable", wait: 5 * time.Second}
	}
	if !passed {
		return errCaptcha
	}
	if once != nil {
		known := verifiedFor
		if once.For > 0 {
			known = min(known, once.For)
		}
		p.humans.Add(asked, time.Now().Add(known))
	}
	return nil
}

// verifiedFor is how long what a captcha said counts for the repeats of a post.
const verifiedFor = 5 * time.Minute

var errCaptcha = refused{status: http.StatusUnprocessableEntity, code: "captcha_failed",
	message: "Please show once more that you are human, and send the form again."}

// visitors bounds the posts of each client address.
type visitors struct {
	limiters *lru.Cache[visitor, *rate.Limiter]
}

// visitor is whose posts are counted together, by which rate.
type visitor struct {
	form  string
	of    netip.Prefix
	posts int
	per   time.Duration
}

// wait is 0 when a client may post a form now, else how long until it may.
func (v *visitors) wait(f *form, client netip.Addr) time.Duration {
	if f.Posts == 0 {
		return 0
	}
	who := visitor{f.Name, network(client), f.Posts, f.Per}
	limiter, known := v.limiters.Get(who)
	if !known {
		limiter = rate.NewLimiter(rate.Every(f.Per/time.Duration(f.Posts)), f.Posts)
		if first, was, _ := v.limiters.PeekOrAdd(who, limiter); was {
			limiter = first
		}
	}
	return waitFor(limiter)
}
