// Package sources reads what other services deliver about leads: it says whether a request is from the service it
// claims to be from, takes the deliveries apart, and maps each to a lead. It serves no HTTP and keeps nothing.
//
// A kind is the preset of one service: how its requests are signed, what its deliveries hold, and how they become a
// lead where config.yaml says nothing else. Nothing in a request is believed before its sender is verified, and no
// kind can be opened without a secret.
//
// Expressions (https://expr-lang.org/docs/language-definition) see the members of a delivery by their names, and
//
//	body    the whole delivery, for names that are no identifiers: body["your-email"]
//	fields  the answers of a form by their names: the question, and what else the form calls it
//	found   what was recognised among them: found.email, found.name, found.phone, found.note; and found.other, a
//	        mapping of all others
//
// What is not there is nil, as is a member of it. Nil and "" fill nothing.
package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Kind is one sort of source: a service, or a way of signing.
type Kind struct {
	// Name is what config.yaml calls it in `type`.
	Name string

	Title string // what people call it
	Docs  string // the service's page about its deliveries

	// Settings is the settings struct with its defaults, its keys in mapstructure tags.
	Settings any

	// Fields is the preset's own mapping. What config.yaml maps goes before it.
	Fields []Rule

	Fetches bool // its deliveries only name leads, see Source.Fetch

	open func(raw map[string]any) (preset, error)
}

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{typeform, calendly, meta, tally, webflow, jsonForm, standardWebhooks, generic}
}

// Options are what an operator configured beside the settings.
type Options struct {
	Name   string // of the source
	Source string // the lead's source; "": Name
	When   string // an expression over a delivery: is it taken? "": it is
	Fields []Rule
	Now    func() time.Time // nil: time.Now
}

// preset is a kind with its settings: in what senders differ.
type preset struct {
	// verify says nil, ErrUnverified or ErrStale of a request.
	verify func(request) error

	// read takes a verified delivery apart. An empty ID or Key becomes the digest of the body.
	read func(request, map[string]any) Delivery

	// answers lists what a payload holds of a person.
	answers func(payload map[string]any) []answer

	needsRules bool     // config.yaml has to say where the address is
	whenKnows  []string // the only names `when` may use; nil: any

	challenge func(url.Values) (string, bool)
	fetch     func(context.Context, []byte) ([]byte, error)
	close     func() error
}

// define makes a Kind whose settings are of type S. open reports all problems at once, each beginning with its key.
func define[S any](k Kind, open func(S) (preset, error)) Kind {
	k.open = func(raw map[string]any) (preset, error) {
		settings := k.Settings.(S)
		err := connectors.Decode(raw, &settings)
		p, refusal := open(settings)
		return p, errors.Join(err, unlessFaulty(err, refusal))
	}
	return k
}

// unlessFaulty leaves out of the problems that refusal joins those about settings that could not be read at all.
func unlessFaulty(unread, refusal error) error {
	faulty := map[string]bool{}
	for _, problem := range connectors.Problems(unread) {
		faulty[strings.TrimSuffix(settingOf(problem), "_file")] = true
	}
	var rest []error
	for _, problem := range connectors.Problems(refusal) {
		if !faulty[settingOf(problem)] {
			rest = append(rest, problem)
		}
	}
	return errors.Join(rest...)
}

func settingOf(problem error) string {
	key, _, _ := strings.Cut(problem.Error(), ":")
	return key
}

// Source is one configured source. It may be used by many goroutines at once.
type Source struct {
	name    string
	source  string
	preset  preset
	when    *expression // nil: everything
	mapping []rule
	now     func() time.Time
}

// Open reads the settings and the options. It reports all problems at once (errors.Join), each as the key it is
// about and what is wrong: a setting's name, "fields[2]: from" or "when".
func (k Kind) Open(settings map[string]any, o Options) (*Source, error) {
	s := &Source{name: o.Name, source: o.Source, now: o.Now}
	if s.source == "" {
		s.source = o.Name
	}
	if s.now == nil {
		s.now = time.Now
	}
	var problems [3]error
	s.preset, problems[0] = k.open(settings)
	s.mapping, problems[1] = newMapping(k.Fields, o.Fields)
	if problems[1] == nil && problems[0] == nil && s.preset.needsRules && !fills(s.mapping, "email") {
		problems[1] = errors.New("fields: must say where the address is, such as {to: email, from: body.email}")
	}
	if o.When != "" {
		s.when, problems[2] = compile(o.When, true, s.preset.whenKnows)
		if problems[2] != nil {
			problems[2] = fmt.Errorf("when: %w", problems[2])
		}
	}
	if err := errors.Join(problems[:]...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Source) String() string   { return "source " + s.name }
func (s *Source) GoString() string { return s.String() }

// Close closes idle connections.
func (s *Source) Close() error {
	if s.preset.close == nil {
		return nil
	}
	return s.preset.close()
}

// Delivery is what one request delivered, its sender verified.
type Delivery struct {
	// ID is the sender's id of it, the same on each of its retries; the digest of the body where it has none.
	ID    string
	Items []Item
}

// Item is what a delivery says of one lead.
type Item struct {
	Key     string // unique within the source and the same on each retry
	Payload []byte // JSON that Map reads, and Fetch before it; personal data
	Fetch   bool   // it only names the lead: Fetch returns what Map reads
}

// What Receive says of a request that is no delivery.
var (
	ErrUnverified = errors.New("the request is not signed by the sender, or not by the configured secret")
	ErrStale      = errors.New("the request was signed too long ago, or in the future; are the clocks right?")
	ErrMalformed  = errors.New("the body is not one JSON object")
)

// Receive verifies a request and reads what it delivers. Without Items there is nothing to keep: it is of another
// event, or `when` leaves it out. The error is ErrUnverified, ErrStale or ErrMalformed, wrapped or not.
func (s *Source) Receive(method string, header http.Header, query url.Values, body []byte) (Delivery, error) {
	if method != http.MethodPost {
		return Delivery{}, fmt.Errorf("%w: a delivery is a POST", ErrMalformed)
	}
	r := request{header: header, body: body, now: s.now()}
	if err := s.preset.verify(r); err != nil {
		return Delivery{}, err
	}
	object, err := decode(body)
	if err != nil {
		return Delivery{}, err
	}
	delivery := s.preset.read(r, object)
	delivery.ID = r.key(delivery.ID)
	var taken []Item
	for _, item := range delivery.Items {
		if item.Key == "" {
			item.Key = delivery.ID
		}
		if s.takes(item) {
			taken = append(taken, item)
		}
	}
	delivery.Items = taken
	return delivery, nil
}

// takes says whether `when` leaves an item in. One that it cannot be asked about is taken: Map says so, and nothing
// is lost.
func (s *Source) takes(item Item) bool {
	if s.when == nil {
		return true
	}
	payload, err := decode(item.Payload)
	if err != nil {
		return true
	}
	takes, err := s.when.decide(s.environment(payload))
	return takes || err != nil
}

// Challenge answers the question whether deliveries may be sent here; ok is false where it is none, or not asked by
// who knows the configured token.
func (s *Source) Challenge(query url.Values) (answer string, ok bool) {
	if s.preset.challenge == nil {
		return "", false
	}
	return s.preset.challenge(query)
}

// Fetch returns what Map reads of a lead that payload only names. Its errors are the connectors' faults: Remote,
// Throttled, Setup, and Lead for a lead that is not there.
func (s *Source) Fetch(ctx context.Context, payload []byte) ([]byte, error) {
	if s.preset.fetch == nil {
		return payload, nil
	}
	return s.preset.fetch(ctx, payload)
}

// Map makes the payload of an item a lead, by the checks that the API makes. The error says why it is none, without
// what the payload holds: lead.Invalid, or an expression that does not fit.
func (s *Source) Map(payload []byte) (lead.Patch, error) {
	object, err := decode(payload)
	if err != nil {
		return lead.Patch{}, err
	}
	env := s.environment(object)
	if s.when != nil {
		switch takes, err := s.when.decide(env); {
		case err != nil:
			return lead.Patch{}, fmt.Errorf("when: %w", err)
		case !takes:
			return lead.Patch{}, errors.New("when: leaves this delivery out")
		}
	}
	members, err := apply(s.mapping, env)
	if err != nil {
		return lead.Patch{}, err
	}
	if members["source"] == nil {
		members["source"] = s.source
	}
	encoded, err := json.Marshal(members)
	if err != nil {
		return lead.Patch{}, errors.New("fields: a value cannot be written as JSON")
	}
	return lead.ParseNew(encoded)
}

// environment is what expressions see of a payload: its members, and body, fields and found.
func (s *Source) environment(payload map[string]any) *environment {
	payload, _ = visible(payload).(map[string]any)
	var answers []answer
	if s.preset.answers != nil {
		answers = s.preset.answers(payload)
	}
	return newEnvironment(payload, answers)
}

// decode reads one JSON object, numbers as they are written.
func decode(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil || object == nil {
		return nil, ErrMalformed
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, ErrMalformed
	}
	return object, nil
}

// digest names a text by its content.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
