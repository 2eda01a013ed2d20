package console

import (
	"net/url"
	"regexp"
	"strings"
)

// How a form says where a secret comes from.
const (
	secretKept   = "keep"  // as the file has it
	secretTyped  = "typed" // as it was typed before, which the browser only holds sealed
	secretValue  = "value"
	secretByName = "env"
	secretInFile = "file"
	secretNone   = "none"
)

const secretsPurpose = "a draft's secret"

// secretFromForm sets the secret that a form gives, or takes it away.
func (v *visit) secretFromForm(form url.Values, s Setting, settings map[string]any) {
	how, text := form.Get("how."+s.Name), form.Get("secret."+s.Name)
	own, file := keyOf(settings, s.Name), keyOf(settings, s.Name+"_file")
	if text != "" && how != secretByName && how != secretInFile {
		how = secretValue // who types one means it
	}
	key, value := own, ""
	switch how {
	case secretValue:
		value = strings.ReplaceAll(text, "${", "$${") // it is no variable's name
	case secretByName:
		name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "${"), "}")
		value = "${" + name + "}"
	case secretInFile:
		key, value = file, strings.TrimSpace(text)
	case secretTyped:
		opened, ok := v.unseal(secretsPurpose, form.Get("sealed."+s.Name))
		name, typed, _ := strings.Cut(opened, "\n")
		if !ok || name != own && name != file {
			return
		}
		key, value = name, typed
	case secretNone:
	default:
		return
	}
	if how != secretNone && text == "" && how != secretTyped {
		return // none was given: it stays as it is
	}
	delete(settings, own)
	delete(settings, file)
	if value != "" {
		settings[key] = value
	}
}

// secretInput is a secret as the form shows it: where it comes from.
type secretInput struct {
	Origin string
	Kept   string // secretKept, secretTyped or secretNone: what leaves it as it is
	Sealed string
}

var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

func (v *visit) secretInput(s Setting, d draft) (in secretInput) {
	in = secretInput{Origin: "not set", Kept: secretNone}
	for _, name := range []string{s.Name, s.Name + "_file"} {
		key := keyOf(d.Settings, name)
		value, isText := d.Settings[key].(string)
		if d.Settings[key] == nil || isText && value == "" {
			continue
		}
		in.Kept, in.Origin = secretKept, "set"
		if found := variable.FindStringSubmatch(value); name != s.Name {
			in.Origin = "from the file " + value
		} else if found != nil {
			in.Origin = "from ${" + found[1] + "}"
		}
		written, _ := d.was.Settings[keyOf(d.was.Settings, name)].(string)
		if written == value {
			continue
		}
		sealed, err := v.seal(secretsPurpose, key+"\n"+value)
		if err != nil {
			return in // it has to be typed again
		}
		in.Origin, in.Kept, in.Sealed = in.Origin+", not saved yet", secretTyped, sealed
	}
	return in
}
