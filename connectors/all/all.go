// Package all is the table of kinds: adding one is one line here.
package all

import (
	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/csv"
	"github.com/leadrelay/leadrelay/connectors/googlesheets"
	"github.com/leadrelay/leadrelay/connectors/mailchimp"
	"github.com/leadrelay/leadrelay/connectors/webhook"
)

// Kinds lists every kind of connector, by name.
func Kinds() []connectors.Kind {
	return []connectors.Kind{
		csv.Kind,
		googlesheets.Kind,
		mailchimp.Kind,
		webhook.Kind,
	}
}
