package console

import (
	"net/http"
	"strconv"

	"github.com/leadrelay/leadrelay/internal/store"
)

const auditPage = 100

// trail is what the audit page shows.
type trail struct {
	Acts         []store.Act
	Newer, Older string
}

func (s *site) audit(v *visit) error {
	skip, err := strconv.Atoi(v.r.URL.Query().Get("skip"))
	if err != nil || skip < 0 {
		skip = 0
	}
	acts, more, err := s.Store.Acts(v.ctx, skip, auditPage)
	if err != nil {
		return err
	}
	t := trail{Acts: acts}
	if skip > 0 {
		t.Newer = "/console/audit?skip=" + strconv.Itoa(max(0, skip-auditPage))
	}
	if more {
		t.Older = "/console/audit?skip=" + strconv.Itoa(skip+auditPage)
	}
	return v.show(http.StatusOK, "audit", page{Title: "Audit trail", Section: "audit", Data: t})
}
