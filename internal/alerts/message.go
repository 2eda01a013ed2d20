package alerts

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// What an Event says of a condition.
const (
	Raised   = "alerting"
	Reminder = "still alerting"
	Flapping = "flapping" // it came and went more often than was told
	Ended    = "over"     // it is well, or Event.Ended says what else
)

// Event is one thing that operators are told: ids, names and reasons, no personal data and no secrets.
type Event struct {
	Condition string    `json:"condition"`
	Subject   string    `json:"subject"` // the connector, or the process whose configuration it is
	State     string    `json:"state"`
	Bad       bool      `json:"alerting"`         // whether it is so now
	Since     time.Time `json:"since"`            // since when it is as State says
	From      time.Time `json:"from,omitzero"`    // of Ended: when the trouble began; of Flapping: when it was told last
	Times     int       `json:"times,omitzero"`   // of Flapping
	Waiting   int64     `json:"waiting,omitzero"` // leads that wait for the connector
	Reason    string    `json:"reason,omitempty"` // of the trouble
	Ended     string    `json:"ended,omitempty"`  // why it is over, where it did not become well
}

// Message is what is told at once. Every destination gets the same, under the same ID.
type Message struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Events  []Event   `json:"events"`
	Console string    `json:"console,omitempty"` // the address of the operators' pages
	Test    bool      `json:"test,omitempty"`
}

// Title is the message in a line.
func (m Message) Title() string {
	if m.Test {
		return "a test of leadrelay's alerts"
	}
	if len(m.Events) == 1 {
		return m.Events[0].headline()
	}
	trouble, well := 0, 0
	for _, e := range m.Events {
		if e.State == Ended {
			well++
		} else {
			trouble++
		}
	}
	switch {
	case trouble == 0:
		return fmt.Sprintf("%d alerts are over", well)
	case well == 0:
		return fmt.Sprintf("%d alerts", trouble)
	}
	return fmt.Sprintf("%d alerts, over: %d", trouble, well)
}

// maxShown bounds how long a text becomes: a vendor's outage may be that of many connectors.
const maxShown = 20

// Text is the message in plain words.
func (m Message) Text() string {
	if m.Test {
		return "This is a test of leadrelay's alerts, which an operator asked for. Nothing needs to be done.\n"
	}
	var text strings.Builder
	for i, e := range m.Events {
		if i == maxShown {
			fmt.Fprintf(&text, "\nand %d more: `leadrelay alerts` lists them.\n", len(m.Events)-maxShown)
			break
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		headline := e.headline()
		fmt.Fprintf(&text, "%s%s\n", strings.ToUpper(headline[:1]), headline[1:])
		for _, line := range e.lines(m.At) {
			fmt.Fprintf(&text, "  %s\n", line)
		}
	}
	if m.Console != "" {
		fmt.Fprintf(&text, "\n%s\n", m.Console)
	}
	return text.String()
}

// is says what is so while there is trouble.
func (e Event) is(adverb string) string {
	switch e.Condition {
	case Held:
		return fmt.Sprintf("connector %s is %sheld: its settings or its account are refused", e.Subject, adverb)
	case Down:
		return fmt.Sprintf("connector %s is %sdown: its system fails or does not answer", e.Subject, adverb)
	case Behind:
		return fmt.Sprintf("connector %s is %sbehind", e.Subject, adverb)
	default:
		return fmt.Sprintf("a changed configuration is %snot taken over by %s; it goes on by the one before", adverb, e.Subject)
	}
}

// isOver says what is so after it.
func (e Event) isOver() string {
	switch {
	case e.Condition == Config:
		return fmt.Sprintf("the process %s %s", e.Subject, cmp.Or(e.Ended, "runs by its configuration again"))
	case e.Ended != "":
		return fmt.Sprintf("connector %s is not %s any more: it %s", e.Subject, e.Condition, e.Ended)
	default:
		return fmt.Sprintf("connector %s is not %s any more", e.Subject, e.Condition)
	}
}

func (e Event) headline() string {
	switch {
	case e.State == Reminder:
		return e.is("still ")
	case e.State == Flapping && e.Bad:
		return e.is("again ")
	case e.State == Flapping:
		return fmt.Sprintf("it came and went: %s", e.isOver())
	case e.State == Ended:
		return e.isOver()
	}
	return e.is("")
}

// lines say more, as far as there is more to say.
func (e Event) lines(now time.Time) (lines []string) {
	if e.State == Flapping {
		lines = append(lines, fmt.Sprintf("How often: %s since %s", times(e.Times), when(e.From)))
	}
	if !e.Bad {
		if e.State == Ended {
			lines = append(lines, fmt.Sprintf("It lasted: %s, since %s", long(e.Since.Sub(e.From)), when(e.From)))
		}
		return lines
	}
	if e.Reason != "" {
		lines = append(lines, "Why: "+e.Reason)
	}
	lines = append(lines, fmt.Sprintf("Since: %s, for %s", when(e.Since), long(now.Sub(e.Since))))
	if e.Waiting > 0 {
		lines = append(lines, fmt.Sprintf("Waiting: %d leads; they are kept", e.Waiting))
	}
	return append(lines, "What to do: "+e.remedy())
}

func (e Event) remedy() string {
	switch e.Condition {
	case Held:
		return fmt.Sprintf("mend its settings or its account, then `leadrelay resume %s`; `leadrelay status` has the state", e.Subject)
	case Down:
		return fmt.Sprintf("it is tried again by itself; when its system is well, `leadrelay resume %s` does so at once", e.Subject)
	case Behind:
		return "`leadrelay status` says what it waits for"
	default:
		return "`leadrelay check` says what is wrong with the file"
	}
}

func times(n int) string {
	if n == 1 {
		return "once more"
	}
	return fmt.Sprintf("%d times more", n)
}

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func long(d time.Duration) string { return max(d, 0).Round(time.Second).String() }
