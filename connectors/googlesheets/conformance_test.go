package googlesheets

import (
	"net/http"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func harness() connectortest.Harness {
	h := connectortest.Harness{
		Kind:      Kind,
		NewVendor: func(t testing.TB) connectortest.Vendor { return newVendor(t) },
		Settings: func(baseURL string, _ connectortest.Vendor) map[string]any {
			return map[string]any{
				"credentials":    testCredentials(baseURL + "/token"),
				"spreadsheet_id": testSpreadsheet,
				"base_url":       baseURL,
			}
		},
		Secrets:  []string{testToken, "PRIVATE KEY", strings.Split(testKeyPEM(), "\n")[1]},
		Required: []string{"credentials", "spreadsheet_id"},
		Faults:   map[int]connectors.Fault{},
		BadLead: func(l lead.Lead) lead.Lead {
			l.Note = strings.Repeat("x", 50_001)
			return l
		},
	}
	// Nothing that Google refuses is one lead: see Errors in the package comment.
	for status := 400; status < 500; status++ {
		if fault, _ := connectors.FaultOf(connectors.StatusError(&connectors.Response{Status: status})); fault == connectors.Lead {
			h.Faults[status] = connectors.Setup
		}
	}
	h.Faults[http.StatusConflict] = connectors.Remote
	h.Faults[499] = connectors.Remote
	return h
}

func TestConformance(t *testing.T) { connectortest.Run(t, harness()) }
