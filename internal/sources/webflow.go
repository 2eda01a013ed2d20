package sources

import (
	"errors"
	"time"
)

// webflowSettings are what config.yaml may say of a Webflow webhook.
type webflowSettings struct {
	Secrets `mapstructure:",squash"`

	Tolerance time.Duration `mapstructure:"tolerance" help:"how old a signature may be"`
}

// webflow signs the time in milliseconds, a colon and the body; only webhooks that were made by an app or by the API
// are signed (https://developers.webflow.com/data/docs/working-with-webhooks#validating-request-signatures, which
// recommends 5 min).
var webflow = define(Kind{
	Name:     "webflow",
	Title:    "Webflow forms",
	Docs:     "https://developers.webflow.com/data/docs/working-with-webhooks",
	Settings: webflowSettings{Tolerance: 5 * time.Minute},
	Fields:   append([]Rule{{To: "form_name", From: "payload.name"}}, recognised...),
}, func(s webflowSettings) (preset, error) {
	keys, err := s.keys(asText)
	signer := hexSigner(keys)
	return preset{
		verify: func(r request) error {
			claim, signed := r.one("X-Webflow-Signature")
			stamp, stamped := r.one("X-Webflow-Timestamp")
			signedAt, ok := unixTime(stamp)
			if !signed || !stamped || !ok || !signer.signed([]string{claim}, []byte(stamp+":"), r.body) {
				return ErrUnverified
			}
			return r.fresh(signedAt, s.Tolerance)
		},
		read: func(r request, body map[string]any) Delivery {
			if of := text(body, "triggerType"); of != "" && of != "form_submission" {
				return Delivery{}
			}
			return Delivery{ID: text(body, "payload", "id"), Items: []Item{{Payload: r.body}}}
		},
		answers: func(payload map[string]any) []answer { return ofMembers(member(payload, "payload", "data")) },
	}, errors.Join(err, checkTolerance(s.Tolerance))
})
