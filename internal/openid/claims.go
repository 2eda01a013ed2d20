package openid

import (
	"encoding/json"
	"slices"
	"strings"
)

// claims are what an ID token says.
type claims map[string]any

func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// find returns a claim. A dot leads into one, unless it is of the name.
func (c claims) find(name string) any {
	if found, ok := c[name]; ok {
		return found
	}
	first, rest, dotted := strings.Cut(name, ".")
	inner, ok := c[first].(map[string]any)
	if !dotted || !ok {
		return nil
	}
	return claims(inner).find(rest)
}

// is says whether a claim is a value, or a list that has it.
func (c claims) is(name, value string) bool {
	found := c.find(name)
	if list, isList := found.([]any); isList {
		return slices.ContainsFunc(list, func(one any) bool { return textOf(one) == value })
	}
	return textOf(found) == value
}

// textOf is a claim's value as a rule has it; "" is none.
func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool, float64:
		text, _ := json.Marshal(v)
		return string(text)
	}
	return ""
}
