package console_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/openid"
)

// refused checks that somebody was not signed in, and what they are told.

func refused(t *testing.T, what string, b *browser, a answer, status int, words string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, words) || !strings.Contains(a.body, "Sign in to leadrelay") {
		t.Errorf("%s: %d, want %d and %q: %s", what, a.status, status, words, a.body)
	}
	if b.session() != nil {
		t.Errorf("%s: there is a session", what)
	}
	for _, act := range b.w.acts() {
		if strings.Contains(act, "signed in through") {
			t.Errorf("%s: the trail has %s", what, act)
		}
	}
	for _, secret := range []string{"anna@", "Anna@", clientSecret} {
		if strings.Contains(b.w.logs.String(), secret) {
			t.Errorf("%s: the log has %s: %s", what, secret, b.w.logs.String())
		}
	}
}

// in checks that somebody is signed in, and where they are led.

func in(t *testing.T, what string, b *browser, a answer, next string) {
	t.Helper()
	if a.status != http.StatusOK || !strings.Contains(a.body, `<meta http-equiv="refresh" content="0; url=`+next+`">`) || !strings.Contains(a.body, `href="`+next+`"`) {
		t.Fatalf("%s: %d %s\n%s", what, a.status, a.body, b.w.logs.String())
	}
	if overview := b.page("/console"); !strings.Contains(overview, "anna@example.com") {
		t.Errorf("%s: signed in as somebody else: %s", what, overview)
	}
}

func TestAnOperatorSignsInThroughTheProvider(t *testing.T) {
	w, p := signedInBy(t)
	p.behave(func() { p.change = func(said map[string]any) { said["azp"] = clientID } })
	b := w.browser()
	page := b.page("/console/login?next=/console/audit?skip=0")
	if !strings.Contains(page, `href="/console/openid?next=%2fconsole%2faudit%3fskip%3d0"`) || !strings.Contains(page, "through localhost") || !strings.Contains(page, `name="password"`) {
		t.Errorf("the login page is %s", page)
	}
	if p.times("/.well-known/openid-configuration") != 0 {
		t.Error("the provider is asked before anybody signs in")
	}
	in(t, "the right answer", b, b.through(p, "/console/audit?skip=0"), "/console/audit?skip=0")
	if acts := w.acts(); len(acts) != 1 || acts[0] != "anna@example.com signed in through localhost" {
		t.Errorf("the trail is %q", acts)
	}
	if log := w.logs.String(); strings.Contains(log, "anna") {
		t.Errorf("the log says %s", log)
	}
	// It is a session as others have: its forms work, and it ends at the sign-out.
	if a := b.post("/console/connectors/crm/pause"); a.status != http.StatusSeeOther {
		t.Errorf("a form: %d %s", a.status, a.body)
	}
	if a := b.get("/console/openid?next=/console/leads"); a.to() != "/console/leads" {
		t.Errorf("who is signed in is sent to %s", a.to())
	}
	b.say("/console/logout")
	if a := b.get("/console"); a.status != http.StatusSeeOther {
		t.Errorf("after the sign-out: %d", a.status)
	}
	if got := w.acts()[0]; got != "anna@example.com signed out" {
		t.Errorf("the trail has %s", got)
	}
	// Where the provider is it was asked once, and its keys, too.
	in(t, "once more", b, b.through(p, ""), "/console")
	for _, path := range []string{"/.well-known/openid-configuration", "/keys"} {
		if n := p.times(path); n != 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	// A password does as well as ever.
	if w.operator().session() == nil {
		t.Error("olga is not let in")
	}
}

func TestKeysThatTheProviderRotatesAreTakenUp(t *testing.T) {
	w, p := signedInBy(t)
	b := w.browser()
	in(t, "by RS256", b, b.through(p, ""), "/console")
	old, oldID := p.key, p.keyID
	p.rotate(ecKey(t))
	b = w.browser()
	in(t, "by ES256", b, b.through(p, ""), "/console")
	p.behave(func() {
		p.sign = func(said map[string]any) string { return p.signed(jose.RS256, old, oldID, said) }
	})
	b = w.browser()
	if a := b.through(p, ""); a.status != http.StatusForbidden || b.session() != nil {
		t.Errorf("by a key that is gone: %d %s", a.status, a.body)
	}
}

func TestWhatTheProviderSaysIsBelievedOnlyWhenAllOfItFits(t *testing.T) {
	const cannot, old = "cannot be trusted", "a clock is wrong"
	claim := func(name string, value any) func(p *provider) {
		return func(p *provider) {
			p.change = func(said map[string]any) {
				if said[name] = value; value == nil {
					delete(said, name)
				}
			}
		}
	}
	sign := func(sign func(p *provider, said map[string]any) string) func(p *provider) {
		return func(p *provider) { p.sign = func(said map[string]any) string { return sign(p, said) } }
	}
	for name, c := range map[string]struct {
		words   string
		corrupt func(p *provider)
	}{
		"for another client":         {cannot, claim("aud", "another")},
		"for another client as well": {cannot, claim("aud", []string{clientID, "another"})},
		"made for another client":    {cannot, claim("azp", "another")},
		"for nobody":                 {cannot, claim("aud", nil)},
		"of another issuer":          {cannot, claim("iss", "https://accounts.google.com")},
		"of another attempt":         {cannot, claim("nonce", "another")},
		"without a nonce":            {cannot, claim("nonce", nil)},
		"of nobody":                  {cannot, claim("sub", nil)},
		"of a name that is none":     {cannot, func(p *provider) { p.who = map[string]any{"sub": "line\nbreak", "groups": "operators"} }},
		"expired":                    {old, claim("exp", time.Now().Add(-time.Minute).Unix())},
		"never expiring":             {old, claim("exp", nil)},
		"for later":                  {cannot, claim("nbf", time.Now().Add(time.Hour).Unix())},
		"no claims":                  {cannot, sign(func(p *provider, _ map[string]any) string { return p.signed(jose.RS256, p.key, p.keyID, nil) })},
		"no JWT":                     {cannot, sign(func(*provider, map[string]any) string { return "not.a.jwt" })},
		"none":                       {cannot, sign(func(*provider, map[string]any) string { return "" })},
		"signed by the client's secret": {cannot, sign(func(p *provider, said map[string]any) string {
			return p.signed(jose.HS256, []byte(clientSecret), p.keyID, said)
		})},
		"signed by the client's id": {cannot, sign(func(p *provider, said map[string]any) string {
			return p.signed(jose.HS256, []byte(clientID+clientID), p.keyID, said)
		})},
		"signed by a key of the same name": {cannot, sign(func(p *provider, said map[string]any) string { return p.signed(jose.ES256, ecKey(p.t), p.keyID, said) })},
		"not signed": {cannot, sign(func(_ *provider, said map[string]any) string {
			body, _ := json.Marshal(said)
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
		})},
		"with a changed body": {cannot, sign(func(p *provider, said map[string]any) string {
			parts := strings.Split(p.signed(jose.RS256, p.key, p.keyID, map[string]any{"sub": "1"}), ".")
			body, _ := json.Marshal(said)
			return parts[0] + "." + base64.RawURLEncoding.EncodeToString(body) + "." + parts[2]
		})},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := signedInBy(t, allowAnna, openid.Rule{Claim: "groups", Value: "operators"})
			p.behave(func() { c.corrupt(p) })
			b := w.browser()
			refused(t, name, b, b.through(p, ""), http.StatusForbidden, c.words)
			if log := w.logs.String(); !strings.Contains(log, "a sign-in through the provider was refused") {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

func TestWhoMaySignIn(t *testing.T) {
	const may, unverified, unknown = "", "is verified", "you may not sign in here"
	domain := openid.Rule{Domain: "Example.com"}
	for name, c := range map[string]struct {
		rule   openid.Rule
		change map[string]any // of what anna is
		anyway bool           // UnverifiedEmail
		words  string
	}{
		"an address":                        {rule: allowAnna, words: may},
		"in capital letters":                {rule: openid.Rule{Email: "ANNA@EXAMPLE.COM"}, words: may},
		"another address":                   {rule: openid.Rule{Email: "anna@example.co"}, words: unknown},
		"the beginning of an address":       {rule: openid.Rule{Email: "anna"}, words: unknown},
		"no address":                        {rule: allowAnna, change: map[string]any{"email": nil}, words: unknown},
		"not verified":                      {rule: allowAnna, change: map[string]any{"email_verified": false}, words: unverified},
		"nothing said of being verified":    {rule: allowAnna, change: map[string]any{"email_verified": nil}, words: unverified},
		"not verified, and another":         {rule: openid.Rule{Email: "otto@example.com"}, change: map[string]any{"email_verified": nil}, words: unknown},
		"verified, in a text":               {rule: allowAnna, change: map[string]any{"email_verified": "true"}, words: may},
		"not verified, which is all right":  {rule: allowAnna, change: map[string]any{"email_verified": false}, anyway: true, words: may},
		"a domain":                          {rule: domain, words: may},
		"a domain, not verified":            {rule: domain, change: map[string]any{"email_verified": false}, words: unverified},
		"a domain below":                    {rule: domain, change: map[string]any{"email": "anna@sub.example.com"}, words: unknown},
		"a domain that ends alike":          {rule: domain, change: map[string]any{"email": "anna@anexample.com"}, words: unknown},
		"a domain within an address":        {rule: domain, change: map[string]any{"email": "anna@example.com@evil.example.org"}, words: unknown},
		"a subject":                         {rule: openid.Rule{Subject: "248289761001"}, words: may},
		"another subject":                   {rule: openid.Rule{Subject: "24828976100"}, words: unknown},
		"a claim in a list":                 {rule: openid.Rule{Claim: "groups", Value: "operators"}, words: may},
		"a claim that is not in it":         {rule: openid.Rule{Claim: "groups", Value: "operator"}, words: unknown},
		"a claim within another":            {rule: openid.Rule{Claim: "realm_access.roles", Value: "leads"}, words: may},
		"a claim that is not within it":     {rule: openid.Rule{Claim: "realm_access.roles.leads", Value: "leads"}, words: unknown},
		"a claim with dots in its name":     {rule: openid.Rule{Claim: "https://example.com/tier", Value: "gold"}, words: may},
		"a claim that is no text":           {rule: openid.Rule{Claim: "admin", Value: "true"}, change: map[string]any{"admin": true}, words: may},
		"a claim that is none":              {rule: openid.Rule{Claim: "admin", Value: "true"}, words: unknown},
		"a claim without a value":           {rule: openid.Rule{Claim: "admin"}, change: map[string]any{"admin": ""}, words: unknown},
		"a rule of nobody":                  {rule: openid.Rule{}, change: map[string]any{"email": "", "sub": "x"}, words: unknown},
		"an unverified address, by subject": {rule: openid.Rule{Subject: "248289761001"}, change: map[string]any{"email_verified": false}, words: may},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := signedInBy(t, c.rule)
			if c.anyway {
				options := w.options
				allowed := p.options(c.rule)
				allowed.UnverifiedEmail = true
				options.OpenID = openid.New(allowed)
				if err := w.console.Reload(options); err != nil {
					t.Fatal(err)
				}
			}
			p.behave(func() {
				for name, value := range c.change {
					p.who[name] = value
				}
			})
			b := w.browser()
			a := b.through(p, "")
			if c.words != may {
				refused(t, name, b, a, http.StatusForbidden, c.words)
				return
			}
			if a.status != http.StatusOK || b.session() == nil {
				t.Fatalf("%d %s", a.status, a.body)
			}
			want := "anna@example.com"
			if said, changed := c.change["email_verified"]; changed && said == false && !c.anyway {
				want = "subject 248289761001" // an address that may be anybody's is no name
			}
			if got := w.acts()[0]; got != want+" signed in through localhost" {
				t.Errorf("the trail has %s", got)
			}
		})
	}
}

// Some providers say in the ID token who it is, and the rest when they are asked.

func TestAProviderMayHaveToBeAskedForTheAddress(t *testing.T) {
	for name, c := range map[string]struct {
		inToken, info map[string]any
		status        int
		words         string
	}{
		"it says":                     {map[string]any{}, map[string]any{"sub": "1", "email": "anna@example.com", "email_verified": true}, http.StatusOK, ""},
		"it says what others say":     {map[string]any{}, map[string]any{"sub": "1", "email": "anna@example.com", "email_verified": "true"}, http.StatusOK, ""},
		"it does not say":             {map[string]any{}, map[string]any{"sub": "1"}, http.StatusForbidden, "you may not sign in here"},
		"it says it is not verified":  {map[string]any{}, map[string]any{"sub": "1", "email": "anna@example.com"}, http.StatusForbidden, "is verified"},
		"of somebody else":            {map[string]any{}, map[string]any{"sub": "2", "email": "anna@example.com", "email_verified": true}, http.StatusForbidden, "cannot be trusted"},
		"otherwise than in the token": {map[string]any{"email": "otto@example.com"}, map[string]any{"sub": "1", "email": "anna@example.com", "email_verified": true}, http.StatusForbidden, "you may not sign in here"},
	} {
		w, p := signedInBy(t)
		p.who, p.info = map[string]any{"sub": "1"}, c.info
		for claim, value := range c.inToken {
			p.who[claim] = value
		}
		b := w.browser()
		if a := b.through(p, ""); c.status == http.StatusOK {
			in(t, name, b, a, "/console")
		} else {
			refused(t, name, b, a, c.status, c.words)
		}
	}
	// Who says it in the token is not asked; one that is away then is.
	w, p := signedInBy(t)
	p.info = map[string]any{}
	b := w.browser()
	in(t, "in the token", b, b.through(p, ""), "/console")
	if n := p.times("/userinfo"); n != 0 {
		t.Errorf("asked %d times", n)
	}
	w, p = signedInBy(t)
	p.who, p.info = map[string]any{"sub": "1"}, map[string]any{}
	p.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/userinfo" {
			return false
		}
		http.Error(w, "of anna@example.com", http.StatusInternalServerError)
		return true
	}
	b = w.browser()
	refused(t, "when it is asked it is away", b, b.through(p, ""), http.StatusServiceUnavailable, "does not answer")
}

// An attempt counts once, and in the browser that began it.

// query is what an address asks.

func TestWhatTheProviderRefusesIsSaid(t *testing.T) {
	w, p := signedInBy(t)
	for code, c := range map[string]struct {
		status int
		words  string
	}{
		"access_denied":           {http.StatusForbidden, "did not let you in"},
		"login_required":          {http.StatusForbidden, "did not let you in"},
		"<b>anna@example.com</b>": {http.StatusForbidden, "did not let you in"},
		"server_error":            {http.StatusServiceUnavailable, "does not answer"},
		"temporarily_unavailable": {http.StatusServiceUnavailable, "does not answer"},
	} {
		b := w.browser()
		state := query(t, b.toProvider("")).Get("state")
		a := b.come("/console/openid/callback?" + url.Values{"error": {code}, "error_description": {"of anna@example.com"}, "state": {state}}.Encode())
		refused(t, code, b, a, c.status, c.words)
		if strings.Contains(a.body, "<b>") {
			t.Errorf("%s: the page is %s", code, a.body)
		}
	}
	// A secret that is wrong is for whoever runs leadrelay.
	options := w.options
	wrong := p.options(allowAnna)
	wrong.ClientSecret = "wrong secret"
	options.OpenID = openid.New(wrong)
	if err := w.console.Reload(options); err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	refused(t, "a wrong secret", b, b.through(p, ""), http.StatusForbidden, "The log of leadrelay says why")
	if log := w.logs.String(); !strings.Contains(log, "oidc.client_id") || !strings.Contains(log, "invalid_client") || strings.Contains(log, "wrong secret") {
		t.Errorf("the log says %s", log)
	}
}

func TestAClientAuthenticatesAsTheProviderTakesIt(t *testing.T) {
	for name, c := range map[string]struct {
		secret        string
		methods       []string
		header, param bool
	}{
		"the provider does not say": {clientSecret, nil, true, false},
		"the header":                {clientSecret, []string{"client_secret_post", "client_secret_basic"}, true, false},
		"a parameter":               {clientSecret, []string{"client_secret_post"}, false, true},
		"a public client":           {"", []string{"none"}, false, false},
	} {
		p := newProvider(t)
		p.methods = c.methods
		p.sent = func(form url.Values, _, _ string, header bool) {
			if header != c.header || form.Has("client_secret") != c.param || !header && form.Get("client_id") != clientID {
				t.Errorf("%s: header %v, form %v", name, header, form)
			}
		}
		w := newWorld(t, func(_ *world, o *console.Options) {
			options := p.options(allowAnna)
			options.ClientSecret = c.secret
			o.OpenID = openid.New(options)
		})
		b := w.browser()
		in(t, name, b, b.through(p, ""), "/console")
	}
}

// P4 and more: a provider that is away holds up those alone who want to sign in through it.

// An attempt is of the provider that it was begun with: another is not shown its code.

// What a request says of the console's address counts on this machine alone.

// Another site cannot send an operator's browser off to sign in, nor spoil an attempt.

// FuzzCallback: whatever comes back, nobody is signed in by what no provider gave out, and nothing breaks.

// An hour without use ends a session (see TestSessionsAreSharedAndStoredAsDigestsAndEnd), and half a day in any case.

// Off this machine cookies are for TLS alone, whatever is configured.
