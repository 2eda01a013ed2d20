package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// happened is a store.HistoryEntry as --json prints it.
type happened struct {
	At        time.Time     `json:"at"`
	Revision  int64         `json:"revision"`
	Op        lead.Op       `json:"op"`
	Connector string        `json:"connector,omitempty"` // "": the change was accepted
	Outcome   string        `json:"outcome,omitempty"`
	Ms        int64         `json:"took_ms,omitempty"`
	Fault     string        `json:"fault,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	Requests  []requestMade `json:"requests,omitempty"`
}

type requestMade struct {
	Line   string `json:"line"`
	Status int    `json:"status,omitempty"`
	Ms     int64  `json:"took_ms"`
	Answer string `json:"answer,omitempty"` // masked, of a request that failed
}

func historyOf(entries []store.HistoryEntry) []happened {
	all := []happened{}
	for _, e := range entries {
		h := happened{
			At: e.At, Revision: e.Revision, Op: e.Op, Connector: e.Connector, Outcome: string(e.Outcome), Ms: e.Took.Milliseconds(),
			Fault: e.Fault, Reason: e.Reason,
		}
		for _, call := range e.Calls {
			h.Requests = append(h.Requests, requestMade{call.Line, call.Status, call.Ms, call.Said})
		}
		all = append(all, h)
	}
	return all
}

// showHistory prints what happened to a lead, the newest first.
func showHistory(out io.Writer, history []happened) {
	if len(history) == 0 {
		return
	}
	fmt.Fprintln(out, "  history, the newest first:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, h := range history {
		who, outcome := h.Connector, strings.ReplaceAll(h.Outcome, "_", " ")
		if who == "" {
			who, outcome = "-", "accepted"
		}
		took := ""
		if h.Connector != "" {
			took = fmt.Sprintf("%d ms", h.Ms)
		}
		fmt.Fprintf(table, "    %s\t%s\t%s of revision %d\t%s\t%s\t%s\n", h.At.Format(time.RFC3339), who, h.Op, h.Revision, outcome, took, h.Reason)
		for _, r := range h.Requests {
			fmt.Fprintf(table, "    \t\t  %s\t%s\t%d ms\t%s\n", r.Line, statusOf(r.Status), r.Ms, r.Answer)
		}
	}
	table.Flush()
}

func statusOf(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprint(status)
}
