package console

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Sending is what a push of a lead to a connector would send.
type Sending struct {
	Requests []SendingRequest
	Verdict  Verdict
	Note     string // why it is so; without personal data
}

// Verdict is what would come of a push.
type Verdict string

const (
	VerdictSends    Verdict = ""                           // the requests, as far as they are known
	VerdictNothing  Verdict = "Nothing would be sent."     // nothing is to be done
	VerdictRejected Verdict = "The lead does not fit."     // the mapping or the filter
	VerdictFails    Verdict = "A push would fail."         // for another reason
	VerdictUnknown  Verdict = "That cannot be shown here." // by this process
)

// SendingRequest is a request of it, a row, a statement or a mail, without secrets.
type SendingRequest struct {
	Line   string
	Header http.Header
	Body   string
}

// Headers lists the request's header by name.
func (r SendingRequest) Headers() (all []field) {
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		all = append(all, field{name, strings.Join(r.Header[name], ", ")})
	}
	return all
}

// sendsPage is what the page shows of what would be sent.
type sendsPage struct {
	LeadID    string
	Name      string // of the lead
	Connector string
	Reason    string // of the last failure
	Sending
}

// sends shows what a push of a lead to a connector would send now.
func (s *site) sends(v *visit) error {
	id, name := v.pageID(), v.r.PathValue("connector")
	if err := v.known(name); err != nil {
		return err
	}
	held, err := s.Store.Held(v.ctx, name, id)
	if err != nil {
		return err
	}
	p := sendsPage{
		LeadID: id, Name: held.Lead.Name, Connector: name, Reason: held.Record.Reason,
		Sending: s.WouldSend(v.ctx, name, held),
	}
	if p.Name == "" {
		p.Name = held.Lead.Email
	}
	return v.show(http.StatusOK, "sends", page{Title: "What would be sent", Section: "leads", Data: p})
}
