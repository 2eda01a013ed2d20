package smtp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Rehearse shows the mail of a change, if it is told of.
func (m *mailer) Rehearse(_ context.Context, change lead.Change, _ string) ([]connectors.Rehearsed, error) {
	if !m.told[change.Op] {
		return nil, nil
	}
	message, err := m.message(change, time.Now())
	if err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	return []connectors.Rehearsed{{Line: m.Envelope(), Body: strings.ReplaceAll(string(message), "\r\n", "\n")}}, nil
}
