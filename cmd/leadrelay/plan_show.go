package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

func showPlan(out io.Writer, plan planOutcome) {
	if len(plan.Problems) > 0 {
		fmt.Fprintf(out, "as it is here this configuration would not be taken over, so what it would send is not shown:\n")
		for _, problem := range plan.Problems {
			fmt.Fprintf(out, "  %s\n", problem)
		}
		fmt.Fprintln(out)
	}
	for _, p := range plan.Connectors {
		showPlanned(out, p)
	}
	for _, name := range plan.TakenOut {
		fmt.Fprintf(out, "%s: taken out; its system keeps what it has, and `leadrelay drop %s` forgets its backlog\n", name, name)
	}
}

func showPlanned(out io.Writer, p planned) {
	fmt.Fprintf(out, "%s (%s, %s): ", p.Connector, p.Type, p.Change)
	switch {
	case p.Event:
		fmt.Fprintf(out, "is told of what happens from now on\n")
	case p.toPush() == 0:
		fmt.Fprintf(out, "nothing to bring in step\n")
	default:
		fmt.Fprintf(out, "%s lacking, %s to be given otherwise, %s to take away: %s; by `leadrelay sync %s`\n",
			number(p.Missing), number(p.Outdated), number(p.LeftOut), p.Effort, p.Connector)
	}
	showCrowd(out, `by its "when" it gets`, p.Gets)
	showCrowd(out, `by its "when" it no longer gets`, p.Loses)
	for _, r := range p.Rejected {
		showCrowd(out, "does not fit ("+r.Reason+"):", r.crowd)
	}
	if n := p.Parked; n > 0 {
		fmt.Fprintf(out, "  %s parked: `leadrelay replay %s --parked` pushes them again\n", leadsText(n), p.Connector)
	}
	for _, sample := range p.Samples {
		showSample(out, sample)
	}
}

func showCrowd(out io.Writer, what string, c crowd) {
	if c.Leads == 0 {
		return
	}
	more := ""
	if c.Leads > len(c.Examples) {
		more = ", …"
	}
	fmt.Fprintf(out, "  %s %s (%s%s)\n", what, leadsText(c.Leads), strings.Join(c.Examples, ", "), more)
}

func showSample(out io.Writer, sample plannedLead) {
	fmt.Fprintf(out, "  %s", sample.LeadID)
	if sample.Why != "" {
		fmt.Fprintf(out, " (%s)", strings.ReplaceAll(string(sample.Why), "_", " "))
	}
	if sample.Note != "" {
		fmt.Fprintf(out, ": %s", sample.Note)
	}
	fmt.Fprintln(out)
	for _, r := range sample.Requests {
		fmt.Fprintf(out, "    %s\n", r.Line)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			fmt.Fprintf(out, "      %s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
		for line := range strings.Lines(strings.TrimSpace(r.Body)) {
			fmt.Fprintf(out, "      %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

// String says how much it is, and how long it takes at least.
func (e effort) String() string {
	text := number(e.Calls) + " calls"
	if e.Calls == 1 {
		text = "1 call"
	}
	if e.Cost > 0 {
		text += ", " + number(e.Cost) + " credits"
	}
	if e.Limit != "" {
		text += fmt.Sprintf(", %s at least by its limit of %s", span(time.Duration(e.Seconds*float64(time.Second)).Round(time.Second)), e.Limit)
	}
	return text
}

func leadsText(n int) string {
	if n == 1 {
		return "1 lead"
	}
	return number(n) + " leads"
}

// number groups the digits of a count, as in 250,000.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
