package sources

import (
	"regexp"
	"strings"
)

// typeformSettings are what config.yaml may say of a Typeform webhook.
type typeformSettings struct {
	Secrets `mapstructure:",squash"`
}

// typeform signs the body: "sha256=" and base64 (https://www.typeform.com/developers/webhooks/secure-your-webhooks/).
var typeform = define(Kind{
	Name:     "typeform",
	Title:    "Typeform",
	Docs:     "https://www.typeform.com/developers/webhooks/",
	Settings: typeformSettings{},
	Fields:   recognised,
}, func(s typeformSettings) (preset, error) {
	keys, err := s.keys(asText)
	signer := base64Signer(keys)
	return preset{
		verify: func(r request) error {
			claim, _ := r.one("Typeform-Signature")
			claim, ok := strings.CutPrefix(claim, "sha256=")
			if !ok || !signer.signed([]string{claim}, r.body) {
				return ErrUnverified
			}
			return nil
		},
		read: func(r request, body map[string]any) Delivery {
			if of := text(body, "event_type"); of != "" && of != "form_response" {
				return Delivery{} // such as form_response_partial, which form_response follows
			}
			// The response's token stays when a delivery is sent again by hand, too.
			id := text(body, "form_response", "token")
			if id == "" {
				id = text(body, "event_id")
			}
			return Delivery{ID: id, Items: []Item{{Payload: r.body}}}
		},
		answers: typeformAnswers,
	}, err
})

// generatedRef is a ref that Typeform made up, a UUID or a ULID, where the form's author gave none.
var generatedRef = regexp.MustCompile(`^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-HJKMNP-TV-Z]{26})$`)

// typeformAnswers names answers by the author's ref, or else by the question.
func typeformAnswers(payload map[string]any) []answer {
	response := payload["form_response"]
	titles := map[string]string{}
	var collect func(fields []any)
	collect = func(fields []any) {
		for _, field := range fields {
			titles[text(field, "id")] = text(field, "title")
			collect(list(field, "properties", "fields")) // of a group
		}
	}
	collect(list(response, "definition", "fields"))

	var answers []answer
	for _, given := range list(response, "answers") {
		of := text(given, "type")
		a := answer{value: member(given, of)}
		switch of {
		case "email":
			a.asks = forAddress
		case "phone_number":
			a.asks = forPhone
		case "choice":
			a.value = choice(member(given, "choice", "label"), member(given, "choice", "other"))
		case "choices":
			chosen := list(given, "choices", "labels")
			if other := member(given, "choices", "other"); !isNothing(other) {
				chosen = append(chosen[:len(chosen):len(chosen)], other)
			}
			if len(chosen) > 0 {
				a.value = chosen
			} else {
				a.value = nil
			}
		}
		ref, title := text(given, "field", "ref"), titles[text(given, "field", "id")]
		switch {
		case ref != "" && !generatedRef.MatchString(ref):
			a.name, a.aliases = ref, []string{title}
		case title != "":
			a.name, a.aliases = title, []string{ref}
		default:
			a.name, a.aliases = text(given, "field", "id"), []string{ref}
		}
		answers = append(answers, a)
	}
	return append(answers, ofMembers(member(response, "hidden"))...)
}

// choice is the first of two that is given.
func choice(label, other any) any {
	if isNothing(label) {
		return other
	}
	return label
}
