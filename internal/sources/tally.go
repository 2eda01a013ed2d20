package sources

// tallySettings are what config.yaml may say of a Tally webhook.
type tallySettings struct {
	Secrets `mapstructure:",squash"`
}

// tally signs the body in base64 (https://tally.so/help/webhooks).
var tally = define(Kind{
	Name:     "tally",
	Title:    "Tally",
	Docs:     "https://tally.so/help/webhooks",
	Settings: tallySettings{},
	Fields:   recognised,
}, func(s tallySettings) (preset, error) {
	keys, err := s.keys(asText)
	signer := base64Signer(keys)
	return preset{
		verify: func(r request) error {
			claim, ok := r.one("Tally-Signature")
			if !ok || !signer.signed([]string{claim}, r.body) {
				return ErrUnverified
			}
			return nil
		},
		read: func(r request, body map[string]any) Delivery {
			if of := text(body, "eventType"); of != "" && of != "FORM_RESPONSE" {
				return Delivery{}
			}
			id := text(body, "data", "responseId")
			if id == "" {
				id = text(body, "eventId")
			}
			return Delivery{ID: id, Items: []Item{{Payload: r.body}}}
		},
		answers: tallyAnswers,
	}, err
})

func tallyAnswers(payload map[string]any) []answer {
	var answers []answer
	for _, field := range list(payload, "data", "fields") {
		a := answer{name: text(field, "label"), aliases: []string{text(field, "key")}, value: member(field, "value")}
		if a.name == "" {
			a.name, a.aliases = text(field, "key"), nil
		}
		switch text(field, "type") {
		case "INPUT_EMAIL":
			a.asks = forAddress
		case "INPUT_PHONE_NUMBER":
			a.asks = forPhone
		case "CHECKBOXES":
			if _, one := a.value.(bool); one {
				continue // one of the boxes, which the list of those that are ticked has, too
			}
		case "FILE_UPLOAD", "SIGNATURE":
			a.value = addressesOf(a.value)
		}
		if options := list(field, "options"); options != nil {
			a.value = chosen(a.value, options)
		}
		answers = append(answers, a)
	}
	return answers
}

// chosen puts the texts of options for their ids.
func chosen(value any, options []any) any {
	labels := map[string]any{}
	for _, option := range options {
		if label := member(option, "text"); !isNothing(label) {
			labels[text(option, "id")] = label
		}
	}
	named := func(id any) any {
		if label, ok := labels[text(id)]; ok {
			return label
		}
		return id
	}
	ids, ok := value.([]any)
	if !ok {
		return named(value)
	}
	if len(ids) == 0 {
		return nil
	}
	all := make([]any, len(ids))
	for i, id := range ids {
		all[i] = named(id)
	}
	return all
}

// addressesOf lists where files are.
func addressesOf(files any) any {
	var addresses []any
	for _, file := range list(files) {
		if address := member(file, "url"); !isNothing(address) {
			addresses = append(addresses, address)
		}
	}
	if addresses == nil {
		return nil
	}
	return addresses
}
