// Package all is the table of kinds: adding one that is a package is one line here. Those that are recipes come from
// connectors/recipes by themselves.
package all

import (
	"cmp"
	"slices"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/csv"
	"github.com/leadrelay/leadrelay/connectors/googlesheets"
	"github.com/leadrelay/leadrelay/connectors/mailchimp"
	"github.com/leadrelay/leadrelay/connectors/postgres"
	"github.com/leadrelay/leadrelay/connectors/recipes"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/connectors/smtp"
	"github.com/leadrelay/leadrelay/connectors/webhook"
	"github.com/leadrelay/leadrelay/connectors/xlsx"
)

// Whole lists every kind of connector, by name, with its settings and fields.
func Whole() []connectors.Kind {
	kinds := Kinds()
	for i, kind := range kinds {
		if kind.Resolve == nil {
			continue
		}
		if whole, _, err := kind.Resolve(nil); err == nil { // else only settings say what it is
			kinds[i] = whole
		}
	}
	return kinds
}

// Kinds lists every kind of connector, by name; those of recipes are resolved when they are used.
func Kinds() []connectors.Kind {
	kinds := append([]connectors.Kind{
		csv.Kind,
		googlesheets.Kind,
		mailchimp.Kind,
		postgres.Kind,
		rest.Kind,
		smtp.Kind,
		webhook.Kind,
		xlsx.Kind,
	}, recipes.Kinds()...)
	slices.SortFunc(kinds, func(a, b connectors.Kind) int { return cmp.Compare(a.Name, b.Name) })
	return kinds
}
