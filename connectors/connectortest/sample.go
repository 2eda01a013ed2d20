package connectortest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// SampleTime is when every Sample was created.
var SampleTime = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// Sample returns the i-th of many different people, the same on every call, at revision 1.
func Sample(i int) lead.Lead {
	return lead.Lead{
		ID:     fmt.Sprintf("lead_1jkq7g2a0%014d", i),
		Name:   fmt.Sprintf("Zenobia Quillfeather%d", i),
		Email:  fmt.Sprintf("zenobia.quillfeather%d@example.com", i),
		Source: "website",
		Note:   fmt.Sprintf("Please ring after teatime, case %d.", i),
		Custom: map[string]any{
			"company":    fmt.Sprintf("Quillfeather & Daughters %d", i),
			"phone":      fmt.Sprintf("+44 20 7946 %04d", i),
			"budget":     json.Number("1500"),
			"newsletter": true,
		},
		Revision: 1,
		Created:  SampleTime,
		Updated:  SampleTime,
	}
}

// Edited returns l one revision later, under another name, note and company.
func Edited(l lead.Lead) lead.Lead {
	l.Revision++
	l.Updated = l.Updated.Add(time.Minute)
	l.Name = fmt.Sprintf("Wilhelmina Featherstone%d", l.Revision)
	l.Note = fmt.Sprintf("Rather ring before breakfast, please, turn %d.", l.Revision)
	custom := make(map[string]any, len(l.Custom))
	for name, value := range l.Custom {
		custom[name] = value
	}
	custom["company"] = fmt.Sprintf("Featherstone Brothers %d", l.Revision)
	l.Custom = custom
	return l
}

// Created is the change that accepted l.
func Created(l lead.Lead) lead.Change { return change(lead.Create, l) }

// Updated is the change that made l what it is.
func Updated(l lead.Lead) lead.Change { return change(lead.Update, l) }

// Deleted is the change that forgets l: one revision later, and nothing is left but the id.
func Deleted(l lead.Lead) lead.Change {
	c := change(lead.Delete, lead.Lead{ID: l.ID, Revision: l.Revision + 1})
	c.Time = l.Updated.Add(time.Hour)
	return c
}

func change(op lead.Op, l lead.Lead) lead.Change {
	return lead.Change{ID: fmt.Sprintf("chg_%s_%d", l.ID, l.Revision), Op: op, Lead: l, Time: l.Updated}
}
