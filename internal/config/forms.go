package config

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// Form is a website form: who may post it and what becomes of its fields. Names are unique, as connectors' are.
type Form struct {
	Name         string        `mapstructure:"name"`
	Origins      []string      `mapstructure:"origins"` // scheme://host[:port], AnyOrigin or NullOrigin
	Fields       []FormField   `mapstructure:"fields"`
	Required     []string      `mapstructure:"required"` // beside email, by the lead's names
	Source       string        `mapstructure:"source"`   // the lead's source; default: Name
	Set          []Constant    `mapstructure:"set"`
	Redirect     Redirect      `mapstructure:"redirect"`
	Honeypot     string        `mapstructure:"honeypot"` // a field that people do not see; "": none
	MinFill      time.Duration `mapstructure:"min_fill"` // 0: not looked at
	RequireToken bool          `mapstructure:"require_token"`
	Rate         FormRate      `mapstructure:"rate"`
	DoubleSubmit time.Duration `mapstructure:"double_submit"` // 0: not looked for
	Captcha      *Captcha      `mapstructure:"captcha"`       // nil: none
	Consent      *Consent      `mapstructure:"consent"`       // nil: none
}

// Origins that are no place.
const (
	AnyOrigin  = "*"
	NullOrigin = "null" // a page that hides where it is
)

// FormField gives a field of a form another name: a member of the lead or a custom field.
type FormField struct {
	To   string `mapstructure:"to"`
	From string `mapstructure:"from"`
}

// Constant is a custom field that is the same for every lead of a form.
type Constant struct {
	To    string `mapstructure:"to"`
	Value any    `mapstructure:"value"`
}

// Redirect is where a browser goes after a post; "": a page of ours.
type Redirect struct {
	Success string `mapstructure:"success"`
	Error   string `mapstructure:"error"`
}

// FormRate bounds the posts of one client address.
type FormRate struct {
	Posts int           `mapstructure:"posts"` // 0: unlimited
	Per   time.Duration `mapstructure:"per"`
}

// Captcha says who tells people from programs.
type Captcha struct {
	Provider  string            `mapstructure:"provider"`
	Secret    connectors.Secret `mapstructure:"secret"`
	OnFailure string            `mapstructure:"on_failure"` // of the provider: FailClosed or FailOpen
	URL       string            `mapstructure:"url"`        // "": the provider's own
}

// Providers of a Captcha, and what follows where one does not answer.
const (
	Turnstile = "turnstile"
	HCaptcha  = "hcaptcha"
	ReCAPTCHA = "recaptcha"

	FailClosed = "closed" // no post is accepted
	FailOpen   = "open"   // every post is
)

// Consent is what a person agrees to by a field of the form.
type Consent struct {
	Field    string `mapstructure:"field"`
	Text     string `mapstructure:"text"`
	Version  string `mapstructure:"version"`
	Required bool   `mapstructure:"required"`
}

// forms reads the forms.
func (l *loader) forms(raw any, c *Config) {
	l.named("forms", raw, func(place string, entry map[string]any) string {
		form := Form{Rate: FormRate{Posts: 10, Per: time.Minute}, DoubleSubmit: 10 * time.Minute}
		if captcha, ok := entry["captcha"].(map[string]any); ok && captcha["on_failure"] == nil {
			captcha["on_failure"] = FailClosed
		}
		expanded, _ := l.expand(place, "", entry).(map[string]any)
		l.decode(place, expanded, &form)
		l.checkForm(place, form)
		if form.Source == "" {
			form.Source = form.Name
		}
		c.Forms = append(c.Forms, form)
		return form.Name
	})
}

func (l *loader) checkForm(place string, f Form) {
	problem := func(format string, args ...any) { l.problem(place, format, args...) }
	for i, origin := range f.Origins {
		if origin != AnyOrigin && origin != NullOrigin && !isOrigin(origin) {
			problem("origins[%d]: must be scheme://host or scheme://host:port, such as https://www.example.com, in lower case and without a path", i)
		}
	}
	from := map[string]int{}
	for i, field := range f.Fields {
		switch first, taken := from[field.From]; {
		case field.From == "" || field.To == "":
			problem("fields[%d]: needs both to and from", i)
		case field.To == "source" || f.isOurs(field.To):
			problem("fields[%d]: to: %s is set by leadrelay", i, field.To)
		case strings.HasPrefix(field.From, "_"):
			problem("fields[%d]: from: fields that begin with _ are leadrelay's", i)
		case taken:
			problem("fields[%d]: from: fields[%d] has it already", i, first)
		}
		from[field.From] = i
	}
	for i, constant := range f.Set {
		switch {
		case constant.To == "" || slices.Contains([]string{"name", "email", "note", "source"}, constant.To) || f.isOurs(constant.To):
			problem("set[%d]: to: must be the name of a custom field", i)
		case constant.Value == nil || !isConstant(constant.Value) || !encodes(constant.Value):
			problem("set[%d]: value: must be text, a number, true, false or a list of these", i)
		}
	}
	address := func(key, text string) {
		if text != "" && !isWebAddress(text) {
			problem("%s: must be an address that begins with https:// or http://", key)
		}
	}
	address("redirect.success", f.Redirect.Success)
	address("redirect.error", f.Redirect.Error)
	_, mapped := from[f.Honeypot]
	if f.Honeypot != "" && (mapped || slices.Contains([]string{"name", "email", "note"}, f.Honeypot) || strings.HasPrefix(f.Honeypot, "_") ||
		strings.HasSuffix(f.Honeypot, "[]") || f.Consent != nil && f.Consent.Field == f.Honeypot) {
		problem("honeypot: must be a field that is not used otherwise")
	}
	if f.MinFill < 0 || f.MinFill > time.Hour {
		problem("min_fill: must be from 0 to 1h")
	}
	if f.DoubleSubmit < 0 || f.DoubleSubmit > 24*time.Hour {
		problem("double_submit: must be from 0 to 24h")
	}
	if f.Rate.Posts < 0 {
		problem("rate.posts: must be 0 (no limit) or above")
	}
	if f.Rate.Posts > 0 && f.Rate.Per <= 0 {
		problem(`rate.per: must be above 0, such as "1m"`)
	}
	if c := f.Captcha; c != nil {
		l.oneOfAt(place, "captcha.provider", c.Provider, Turnstile, HCaptcha, ReCAPTCHA)
		l.oneOfAt(place, "captcha.on_failure", c.OnFailure, FailClosed, FailOpen)
		if c.Secret == "" {
			problem("captcha.secret: required, or captcha.secret_file")
		}
		address("captcha.url", c.URL)
		if u, err := url.Parse(c.URL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			problem("captcha.url: must begin with https://: the secret is sent there")
		}
	}
	if c := f.Consent; c != nil {
		_, mapped := from[c.Field]
		switch {
		case c.Field == "":
			problem("consent.field: required: the form's field that is ticked")
		case mapped || strings.HasSuffix(c.Field, "[]"):
			problem("consent.field: must be a field that is not used otherwise")
		}
		if c.Text == "" && c.Version == "" {
			problem("consent.text: required, or consent.version: what is agreed to")
		}
	}
}

// isOurs says whether leadrelay gives a lead what it has under a name.
func (f Form) isOurs(name string) bool {
	return slices.Contains([]string{"lead_id", "created_at", "updated_at", "revision", "connectors"}, name) ||
		f.Consent != nil && slices.Contains([]string{"consent", "consent_at", "consent_text", "consent_version"}, name)
}

// encodes says whether a value can be JSON, which knows no .nan and no .inf.
func encodes(value any) bool {
	_, err := json.Marshal(value)
	return err == nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func isWebAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

// isOrigin says whether a text is an origin as browsers send it.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && isWebAddress(text) && text == u.Scheme+"://"+strings.ToLower(u.Host) &&
		!(u.Scheme == "https" && u.Port() == "443") && !(u.Scheme == "http" && u.Port() == "80")
}

// proxies reads the networks of trusted_proxies.
func (l *loader) proxies(c *Config) (all []netip.Prefix) {
	for i, text := range c.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			l.problem("", "trusted_proxies[%d]: must be a network such as 10.0.0.0/8, or an address", i)
			continue
		}
		all = append(all, network.Masked())
	}
	return all
}

// named reads a list whose entries have names of their own. read returns an entry's.
func (l *loader) named(key string, raw any, read func(place string, entry map[string]any) string) {
	names := map[string]int{}
	for i, element := range l.list(key, raw) {
		entry, ok := element.(map[string]any)
		if !ok {
			l.problem("", "%s[%d]: must be a mapping", key, i)
			continue
		}
		place := placeOf(key, i, text(entry["name"]))
		name := read(place, entry)
		if first, taken := names[name]; taken {
			l.problem(place, "name: %s[%d] has it already", key, first)
		} else if l.checkName(place, name) {
			names[name] = i
		}
	}
}
