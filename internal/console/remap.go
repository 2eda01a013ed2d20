package console

import (
	"net/http"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Remapped is what became of a submission that was mapped again.
type Remapped struct {
	LeadID   string // of the lead that it is now; "": it is none
	Fetching bool   // a worker fetches now what is missing
	Problem  string // why neither is so; no personal data
}

var cannotMap = refusal{http.StatusNotFound, "Nothing is mapped here", "This console has no sources. Use leadrelay inbox retry. Nothing was done."}

// mapAgain maps a submission again by the configuration as it is now.
func (s *site) mapAgain(v *visit) error {
	if s.Remap == nil {
		return cannotMap
	}
	sub, err := v.waiting()
	if err != nil {
		return err
	}
	if sub.State == store.Spam {
		v.complain("It is spam and not to be mapped: release it, or drop it.")
		return v.goTo("/console/inbox/" + sub.ID)
	}
	var became Remapped
	err = v.act(store.Act{What: "mapped again", Lead: sub.ID}, func() error {
		became, err = s.Remap(v.ctx, sub)
		return err
	})
	switch {
	case err != nil:
		return err
	case became.LeadID != "":
		v.say("It is a lead now, on its way to every connector.")
		return v.goTo("/console/leads/" + became.LeadID)
	case became.Fetching:
		v.say("A worker fetches it now.")
	default:
		v.complain("It is no lead yet: %s", became.Problem)
	}
	return v.goTo("/console/inbox/" + sub.ID)
}
