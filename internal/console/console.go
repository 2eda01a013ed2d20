package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/openid"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Options are what the console gets from the outside.
type Options struct {
	Store     *store.Store
	Log       *slog.Logger
	Operators []Operator         // who may sign in with a password
	OpenID    *openid.Provider   // by whom others may; nil: nobody. Without either there is no console
	Config    func() ConfigState // may be nil

	// RemoteURL is where an operator sees a connector's record of a lead, "" where that is not known. It may be nil.
	RemoteURL func(connector, ref string) string

	// Queues is asynq's own monitor, whose paths begin with /console/queues. nil: there is none.
	Queues http.Handler

	// WouldSend says what a push of a lead would send to a connector that has it as held, and sends nothing. nil: nothing is
	// shown.
	WouldSend func(ctx context.Context, connector string, held store.Held) Sending

	// Client is the address a request comes from, where proxies are trusted to say it; nil: the peer's.
	Client func(*http.Request) netip.Addr

	// Remap maps a submission again by the configuration as it is now. nil: that can be done on the command line alone.
	Remap func(context.Context, store.Submission) (Remapped, error)

	// Settings is the configuration file; nil: there is none to edit.
	Settings Settings

	Dedupe bool             // a submission that is released updates the lead of its address
	Secure bool             // operators come by TLS: their cookie is never sent without, as beyond this machine it never is
	Now    func() time.Time // nil: time.Now
}

// Operator is one who may sign in.
type Operator struct {
	Name         string
	PasswordHash string // argon2id, in the PHC format, or bcrypt
}

// ConfigState says which configuration is in use.
type ConfigState struct {
	Revision string
	Loaded   time.Time
	Problem  string // why a newer one is not; "": there is none
}

// Console answers everything below /console.
type Console struct {
	current atomic.Pointer[site]
	lasting
}

// lasting is what outlives a change of the options.
type lasting struct {
	live    live
	drawn   drawn
	hashing *semaphore.Weighted
	clients *lru.Cache[netip.Prefix, *rate.Limiter]
	names   *lru.Cache[string, *rate.Limiter]
	toldLog rate.Sometimes
	sealing sealing
}

// site is the console by one set of options.
type site struct {
	Options
	*lasting
	operators map[string]operator
	nobody    hashed // what the password of an unknown name is compared with
	routes    *http.ServeMux
	foreign   *http.CrossOriginProtection
}

type operator struct {
	password hashed
	login    string // tells one PasswordHash from another
}

// hashesAtOnce bounds the memory and processors that logins take.
const hashesAtOnce = 2

// New returns the console.
func New(o Options) (*Console, error) {
	c := &Console{}
	c.lasting.hashing = semaphore.NewWeighted(hashesAtOnce)
	c.lasting.toldLog.Interval = 5 * time.Second
	c.lasting.clients, _ = lru.New[netip.Prefix, *rate.Limiter](maxLimiters) // of a size that is one
	c.lasting.names, _ = lru.New[string, *rate.Limiter](maxLimiters)
	s, err := c.site(o)
	if err != nil {
		return nil, err
	}
	c.current.Store(s)
	c.live.init()
	c.drawn.init()
	return c, nil
}

// Reload replaces the options. The sessions of operators that are gone, or have another password, end, as do those that
// what let them in through the provider is gone of. When the error
// is not nil nothing has changed.
func (c *Console) Reload(o Options) error {
	s, err := c.site(o)
	if err == nil {
		c.current.Store(s)
	}
	return err
}

// Close ends the pages that are kept live, which else hold up the server's shutdown.
func (c *Console) Close() { c.live.close() }

func (c *Console) site(o Options) (*site, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Config == nil {
		o.Config = func() ConfigState { return ConfigState{} }
	}
	if o.RemoteURL == nil {
		o.RemoteURL = func(string, string) string { return "" }
	}
	if o.WouldSend == nil {
		o.WouldSend = func(context.Context, string, store.Held) Sending { return Sending{Verdict: VerdictUnknown} }
	}
	if o.Client == nil {
		o.Client = peer
	}
	s := &site{Options: o, lasting: &c.lasting, operators: map[string]operator{}, foreign: http.NewCrossOriginProtection()}
	for _, one := range o.Operators {
		password, err := parseHash(one.PasswordHash)
		if err != nil {
			return nil, fmt.Errorf("operator %s: password_hash: %w", one.Name, err)
		}
		if s.nobody == nil {
			s.nobody = password
		}
		s.operators[one.Name] = operator{password, loginOf(one)}
	}
	s.route(func() *site { return c.current.Load() })
	return s, nil
}

func peer(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr().Unmap().WithZone("")
}

// handler answers a visit. Its error is answered instead of it, when nothing was yet.
type handler func(*visit) error

// methods are what a path takes; GET is HEAD, too.
type methods map[string]handler

// route sets what is answered. now is the site that is current, for pages that outlive this one.
func (s *site) route(now func() *site) {
	s.routes = http.NewServeMux()
	for path, m := range map[string]methods{
		"/console":        {"GET": s.overview},
		"/console/{$}":    {"GET": func(v *visit) error { return v.goTo("/console") }},
		"/console/live":   {"GET": func(v *visit) error { return s.stream(v, now) }},
		"/console/login":  {"GET": s.loginPage, "POST": s.login},
		"/console/logout": {"POST": s.logout},

		openIDPath:     {"GET": s.beginOpenID},
		OpenIDCallback: {"GET": s.finishOpenID},

		"/console/leads":      {"GET": s.leads, "POST": s.search},
		"/console/leads/{id}": {"GET": s.lead},

		"/console/leads/{id}/sends/{connector}": {"GET": s.sends},

		"/console/leads/{id}/push":   {"POST": s.pushLead},
		"/console/leads/{id}/delete": {"GET": s.askDelete, "POST": s.deleteLead},

		"/console/failed":      {"GET": s.failed},
		"/console/failed/push": {"POST": s.pushFailed},

		"/console/inbox":              {"GET": s.inbox},
		"/console/inbox/many":         {"GET": s.askMany, "POST": s.many},
		"/console/inbox/{id}":         {"GET": s.submission},
		"/console/inbox/{id}/map":     {"POST": s.mapAgain},
		"/console/inbox/{id}/release": {"POST": s.release},
		"/console/inbox/{id}/drop":    {"GET": s.askDrop, "POST": s.drop},

		"/console/connectors":               {"GET": s.connectors},
		"/console/connectors/{name}":        {"GET": s.connector, "POST": s.editConnector},
		"/console/connectors/{name}/remove": {"GET": s.askRemove, "POST": s.remove},
		"/console/catalogue":                {"GET": s.catalogue},
		"/console/catalogue/{kind}":         {"GET": s.connector, "POST": s.editConnector},
		"/console/history":                  {"GET": s.history},
		"/console/history/{id}":             {"GET": s.askGoBack, "POST": s.goBack},

		"/console/connectors/{name}/pause":  {"POST": s.pause},
		"/console/connectors/{name}/resume": {"POST": s.resume},

		"/console/audit": {"GET": s.audit},

		"/console/queues":  {"GET": s.queues},
		"/console/queues/": {"GET": s.queues},

		"/console/": {},
	} {
		s.routes.HandleFunc(path, s.guard(path, m))
	}
	for name, a := range assets() {
		s.routes.HandleFunc("/console/"+name, s.guard(name, methods{"GET": a.serve}))
	}
}

// isOpen says whether a path is answered without a session.
func isOpen(path string) bool {
	_, isAsset := assets()[path]
	return isAsset || path == "/console/login" || path == openIDPath || path == OpenIDCallback
}

const (
	// storeTimeout bounds what a page waits for Redis.
	storeTimeout = 5 * time.Second

	maxForm = 256 << 10 // bytes: the settings of a connector may hold long texts
)

// manyTimeout bounds an action on many leads, within what servers give an answer.
var manyTimeout = 20 * time.Second

func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := c.current.Load()
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
		"img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	// Of a form sent under no-referrer browsers say that its origin is null
	// (https://fetch.spec.whatwg.org/#append-a-request-origin-header), which is how strangers' look. Others learn nothing by
	// same-origin either.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	if len(s.operators) == 0 && s.OpenID == nil {
		http.Error(w, "there is no console: nobody is configured who may sign in", http.StatusNotFound)
		return
	}
	s.routes.ServeHTTP(w, r)
}

// guard lets through what may go to a path, and answers errors.
func (s *site) guard(path string, m methods) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{site: s, w: w, r: r, path: path}
		defer func() {
			if recovered := recover(); recovered != nil {
				// What was panicked with may hold what a lead holds.
				s.Log.Error("a page of the console failed unexpectedly", "page", path, "panic", fmt.Sprintf("%T", recovered), "stack", string(debug.Stack()))
				v.fail(refusal{http.StatusInternalServerError, "Something is wrong here", "The page failed unexpectedly. The log says where."})
			}
		}()
		err := v.pass(m)
		if err == nil {
			return
		}
		var refused refusal
		switch {
		case errors.As(err, &refused):
		case errors.Is(err, store.ErrNotFound):
			refused = notFound
		case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
			return // nobody waits for the answer
		default:
			s.toldLog.Do(func() {
				s.Log.Warn("a page of the console could not be made; while that is so, this is told every few seconds", "page", path, "error", err)
			})
			refused = refusal{http.StatusServiceUnavailable, "The store does not answer", "Leads are kept in Redis, which did not answer in time. Nothing is lost by that; try again in a moment."}
		}
		v.fail(refused)
	}
}

var (
	notFound = refusal{http.StatusNotFound, "There is nothing here", "It may have been deleted, or the address is not quite right."}
	foreign  = refusal{http.StatusForbidden, "This was not sent from here", "The request came from another site, so nothing was done."}
	stale    = refusal{http.StatusForbidden, "This form is too old", "It was made before you signed in, so nothing was done. Go back, reload the page and send it again."}
)

// pass answers the visit if it may pass.
func (v *visit) pass(m methods) error {
	method := v.r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	ctx := v.r.Context()
	if v.path != "/console/live" {
		timeout := storeTimeout
		switch {
		case method == http.MethodPost:
			timeout += manyTimeout
		case v.path == openIDPath || v.path == OpenIDCallback:
			timeout += openIDTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	v.ctx = ctx
	if method == http.MethodPost {
		if err := v.foreign.Check(v.r); err != nil {
			return foreign
		}
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return refusal{http.StatusBadRequest, "The form cannot be read", "It is too large, or was cut off on its way."}
		}
	}
	if !isOpen(v.path) {
		if err := v.signIn(); err != nil {
			return err
		}
		if v.operator == "" {
			return v.turnAway(method)
		}
		if method == http.MethodPost && !same(v.r.PostForm.Get("token"), v.session.Token) {
			return stale
		}
	}
	handle, ok := m[method]
	switch {
	case ok:
		return handle(v)
	case len(m) == 0:
		return notFound
	default:
		allow := ""
		for _, other := range []string{"GET", "HEAD", "POST"} {
			_, has := m[other]
			if _, get := m["GET"]; has || other == "HEAD" && get {
				if allow != "" {
					allow += ", "
				}
				allow += other
			}
		}
		v.w.Header().Set("Allow", allow)
		return refusal{http.StatusMethodNotAllowed, "That cannot be done here", "This address takes " + allow + "."}
	}
}

// act notes what the operator does, then does it. What failed is noted, too.
func (v *visit) act(a store.Act, do func() error) error {
	a.Operator = v.operator
	if err := v.Store.NoteAct(v.ctx, a); err != nil {
		return err
	}
	err := do()
	v.live.changed()
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), storeTimeout)
		defer cancel()
		a.Detail = "failed"
		if err := v.Store.NoteAct(ctx, a); err != nil {
			v.Log.Warn("an operator's action failed, which the audit trail does not say", "what", a.What, "error", err)
		}
	}
	return err
}

// maxLimiters bounds how many clients and names are known at once. Who makes one of them forgotten has tried to sign
// in as often.
const maxLimiters = 1 << 16

// limiter is the one of a key.
func limiter[K comparable](of *lru.Cache[K, *rate.Limiter], key K, mu *sync.Mutex) *rate.Limiter {
	mu.Lock()
	defer mu.Unlock()
	l, ok := of.Get(key)
	if !ok {
		l = rate.NewLimiter(loginEvery, loginBurst)
		of.Add(key, l)
	}
	return l
}
