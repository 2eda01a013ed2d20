package promises

import (
	"os"
	"testing"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

func TestALeadReachesEveryConnectorAndLeavesIt(t *testing.T) {
	crm, hook, sheet := newRemote("crm"), newEventRemote("hook"), newRemote("sheet")
	sheet.batch = 10
	w := newWorld(t, crm, hook, sheet)
	p := w.start(nil)
	id := p.post(`{"name":"John Doe","email":"john@gmail.com","source":"website","note":"n","budget":12.50}`)
	p.inStep()
	p.put(id, `{"email":"john.new@gmail.com"}`)
	p.inStep()
	for _, r := range []*remote{crm, sheet} {
		if got := r.of(id); len(got) != 1 || got[0].email != "john.new@gmail.com" || got[0].revision != 2 {
			t.Errorf("%s has %+v, want one record of revision 2", r.name, got)
		}
	}
	p.remove(id)
	p.inStep()
	for _, r := range []*remote{crm, sheet} {
		if got := r.of(id); len(got) != 0 {
			t.Errorf("%s still has %+v after the delete", r.name, got)
		}
	}
	if got := hook.told(id); len(got) != 3 || got[0].op != lead.Create || got[1].op != lead.Update || got[2].op != lead.Delete {
		t.Errorf("hook was told %+v, want create, update, delete", got)
	}
	if keys := w.redis.Keys(t, "lr:*"+id+"*"); len(keys) != 0 {
		t.Errorf("after every connector confirmed the delete, %v are left", keys)
	}
}
