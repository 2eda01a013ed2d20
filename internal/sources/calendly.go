package sources

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// calendlySettings are what config.yaml may say of a Calendly webhook subscription.
type calendlySettings struct {
	Secrets `mapstructure:",squash"`

	// Events are those that make leads.
	Events []string `mapstructure:"events" help:"the events that make leads"`

	Tolerance time.Duration `mapstructure:"tolerance" help:"how old a signature may be"`
}

// calendly signs the time and the body
// (https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures, which recommends 3 min).
var calendly = define(Kind{
	Name:     "calendly",
	Title:    "Calendly",
	Docs:     "https://developer.calendly.com/docs/webhooks/overview",
	Settings: calendlySettings{Events: []string{"invitee.created"}, Tolerance: 3 * time.Minute},
	Fields: append([]Rule{
		{To: "event_name", From: "payload.scheduled_event.name"},
		{To: "event_start", From: "payload.scheduled_event.start_time"},
		{To: "timezone", From: "payload.timezone"},
	}, recognised...),
}, func(s calendlySettings) (preset, error) {
	keys, err := s.keys(asText)
	signer := hexSigner(keys)
	err = errors.Join(err, checkTolerance(s.Tolerance))
	if len(s.Events) == 0 {
		err = errors.Join(err, errors.New(`events: must have at least one, such as "invitee.created"`))
	}
	return preset{
		verify: func(r request) error {
			header, _ := r.one("Calendly-Webhook-Signature")
			var stamp string
			var claims []string
			for part := range strings.SplitSeq(header, ",") {
				switch name, value, _ := strings.Cut(part, "="); {
				case name == "v1":
					claims = append(claims, value)
				case name == "t" && stamp != "":
					return ErrUnverified
				case name == "t":
					stamp = value
				}
			}
			signedAt, ok := unixTime(stamp)
			if !ok || !signer.signed(claims, []byte(stamp+"."), r.body) {
				return ErrUnverified
			}
			return r.fresh(signedAt, s.Tolerance)
		},
		read: func(r request, body map[string]any) Delivery {
			event := text(body, "event")
			if event != "" && !slices.Contains(s.Events, event) {
				return Delivery{}
			}
			id := text(body, "payload", "uri")
			if id != "" {
				id = event + " " + id // what happens to an invitee later is another delivery
			}
			return Delivery{ID: id, Items: []Item{{Payload: r.body}}}
		},
		answers: calendlyAnswers,
	}, err
})

func calendlyAnswers(body map[string]any) []answer {
	payload := body["payload"]
	answers := []answer{
		{name: "email", asks: forAddress, value: member(payload, "email")},
		{name: "name", value: member(payload, "name")},
		{name: "first_name", value: member(payload, "first_name")},
		{name: "last_name", value: member(payload, "last_name")},
		{name: "phone", asks: forPhone, value: member(payload, "text_reminder_number")},
	}
	for _, given := range list(payload, "questions_and_answers") {
		answers = append(answers, answer{name: text(given, "question"), value: member(given, "answer")})
	}
	return append(answers, ofMembers(member(payload, "tracking"))...)
}
