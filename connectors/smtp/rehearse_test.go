package smtp

import (
	"regexp"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/mailserver"
)

func TestARehearsalShowsTheMailAsItIsThenSent(t *testing.T) {
	o := newOffice(t, mailserver.StartTLS)
	m := opened(t, with(o.settings(mailserver.StartTLS), everyEvent))
	date := regexp.MustCompile(`(?m)^Date: .*$`)
	l := connectortest.Sample(1)
	l.Note = "Grüße von 志明, und ein langer Text: " + strings.Repeat("und noch etwas ", 20)
	for i, change := range []lead.Change{connectortest.Created(l), connectortest.Updated(connectortest.Edited(l)), connectortest.Deleted(l)} {
		shown, err := connectors.Rehearse(t.Context(), m, change, "")
		if err != nil || len(shown) != 1 {
			t.Fatalf("%s: %v %+v", change.Op, err, shown)
		}
		if n := len(o.received()); n != i {
			t.Fatalf("%s: %d mails came before one was sent", change.Op, n-i)
		}
		pushed(t, m, change)
		got := date.ReplaceAllString(strings.ReplaceAll(o.received()[i].raw, "\r\n", "\n"), "Date:")
		if want := date.ReplaceAllString(shown[0].Body, "Date:"); got != want {
			t.Errorf("%s: the rehearsal showed\n%s\nand the mail was\n%s", change.Op, want, got)
		}
		if shown[0].Line != m.Envelope() || !strings.HasPrefix(shown[0].Line, "mail from ") {
			t.Errorf("%s: %s", change.Op, shown[0].Line)
		}
	}
	m = opened(t, o.settings(mailserver.StartTLS))
	if shown, err := connectors.Rehearse(t.Context(), m, connectortest.Deleted(l), ""); err != nil || len(shown) != 0 {
		t.Errorf("what it is not told of: %v %+v", err, shown)
	}
}
