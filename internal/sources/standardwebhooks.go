package sources

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// standardWebhooksSettings are what config.yaml may say of a sender that signs by Standard Webhooks.
type standardWebhooksSettings struct {
	Secrets `mapstructure:",squash"`

	Tolerance time.Duration `mapstructure:"tolerance" help:"how old a signature may be"`
}

// standardWebhooks signs id, time and body, once with each of the sender's secrets
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
var standardWebhooks = define(Kind{
	Name:     "standardwebhooks",
	Title:    "any sender that signs by Standard Webhooks",
	Docs:     "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
	Settings: standardWebhooksSettings{Tolerance: 5 * time.Minute},
	Fields:   recognised,
}, func(s standardWebhooksSettings) (preset, error) {
	keys, err := s.keys(symmetricKey)
	signer := base64Signer(keys)
	return preset{
		verify: func(r request) error {
			id, named := r.one("Webhook-Id")
			stamp, stamped := r.one("Webhook-Timestamp")
			header, signed := r.one("Webhook-Signature")
			signedAt, ok := unixTime(stamp)
			var claims []string
			for signature := range strings.SplitSeq(header, " ") {
				if claim, ours := strings.CutPrefix(signature, "v1,"); ours { // v1a is made with a key pair
					claims = append(claims, claim)
				}
			}
			if !named || !stamped || !signed || !ok || !signer.signed(claims, []byte(id+"."+stamp+"."), r.body) {
				return ErrUnverified
			}
			return r.fresh(signedAt, s.Tolerance)
		},
		read: func(r request, _ map[string]any) Delivery {
			id, _ := r.one("Webhook-Id")
			return Delivery{ID: id, Items: []Item{{Payload: r.body}}}
		},
		answers: func(payload map[string]any) []answer {
			if data, ok := payload["data"].(map[string]any); ok {
				return formAnswers(data)
			}
			return formAnswers(payload)
		},
	}, errors.Join(err, checkTolerance(s.Tolerance))
})

// symmetricKey reads a secret as the specification writes it.
func symmetricKey(s connectors.Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Reveal(), "whsec_"))
	switch {
	case err != nil:
		return nil, errors.New(`must be "whsec_" and base64, as the sender shows it`)
	case len(key) < 16:
		return nil, errors.New("the key is too short to be a secret; is it whole?")
	}
	return key, nil
}
