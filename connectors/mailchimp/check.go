package mailchimp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
)

// mergeField is as much of one as a check reads
// (https://mailchimp.com/developer/marketing/api/list-merges/list-merge-fields/).
type mergeField struct {
	Tag      string `json:"tag"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Options  struct {
		Choices []any `json:"choices"`
	} `json:"options"`
}

// mayNotWrite are the roles of users whose keys do not change an audience: https://mailchimp.com/help/manage-user-levels-in-your-account/
var mayNotWrite = []string{"viewer", "author"}

// Check asks for the audience, for its merge fields and for the role of the key's user, and names all that is missing.
func (c *connector) Check(ctx context.Context) error {
	if err := c.checkList(ctx); err != nil {
		return err
	}
	var known struct {
		MergeFields []mergeField `json:"merge_fields"`
	}
	// 1000 is the most the vendor lists at once, and more than an audience may have.
	const fields = "merge_fields.tag,merge_fields.type,merge_fields.required,merge_fields.options"
	err := c.call(ctx, request{what: "get merge fields", method: http.MethodGet, path: c.listPath() + "/merge-fields?fields=" + fields + "&count=1000"}, &known)
	if err != nil {
		return err
	}
	problems := c.misfits(known.MergeFields)
	var account struct {
		Role string `json:"role"`
	}
	// https://mailchimp.com/developer/marketing/api/root/list-api-root-resources/
	if err := c.call(ctx, request{what: "get account", method: http.MethodGet, path: "/3.0/?fields=role"}, &account); err != nil {
		problems = append(problems, err)
	}
	if slices.Contains(mayNotWrite, strings.ToLower(account.Role)) {
		problems = append(problems, missing("the user of the api_key is a %s, who may not change the audience: make it a manager, or take a key of one", account.Role))
	}
	return errors.Join(problems...)
}

// misfits says which mapped merge fields the audience does not have, or not for what is mapped to them, and which it
// wants and gets nothing for.
func (c *connector) misfits(known []mergeField) (problems []error) {
	mapped := map[string]bool{}
	for _, rule := range c.fields.Rules() {
		mapped[rule.To] = true
		i := slices.IndexFunc(known, func(f mergeField) bool { return f.Tag == rule.To })
		if i < 0 {
			problems = append(problems, missing("the audience has no merge field %s: add it under Audience, Settings, Audience fields and *|MERGE|* tags, or take it out of fields", rule.To))
			continue
		}
		if why := rule.Misfit(known[i].takes()); why != "" {
			problems = append(problems, missing("the merge field %s %s: map something else to it, or take it out of fields", rule.To, why))
		}
	}
	for _, field := range known {
		if field.Required && field.Tag != "EMAIL" && !mapped[field.Tag] {
			problems = append(problems, missing("the audience requires the merge field %s: add it to fields, or make it optional there", field.Tag))
		}
	}
	return problems
}

// takes is what values the field takes, as connectors.FieldRule.Misfit reads it.
func (f mergeField) takes() any {
	switch f.Type {
	case "number":
		return "number"
	case "date":
		return "date"
	case "radio", "dropdown":
		return f.Options.Choices
	}
	return nil
}

func missing(format string, args ...any) error {
	return fail("check", &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf(format, args...)})
}
