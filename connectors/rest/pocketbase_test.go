package rest_test

import (
	"cmp"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestPocketBaseConformance(t *testing.T) {
	r, err := rest.Read("testdata/pocketbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, r, conformance.Options{})
}

// TestPocketBase pushes to a PocketBase of its own. A duplicate is 400 there, as any record that is refused.
func TestPocketBase(t *testing.T) {
	holdToPromises(t, pocketBase(t))
}

func pocketBase(t *testing.T) real {
	binary := program(t, cmp.Or(os.Getenv("POCKETBASE"), "pocketbase"),
		"go install github.com/pocketbase/pocketbase/examples/base@v0.34.2, and set POCKETBASE to the path of base")
	dir := t.TempDir()
	hooks := filepath.Join(dir, "pb_hooks")
	hook, err := os.ReadFile("testdata/pocketbase.pb.js")
	if err == nil {
		err = os.Mkdir(hooks, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(hooks, "leads.pb.js"), hook, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		return exec.Command(binary, append(args, "--dir", filepath.Join(dir, "pb_data"), "--hooksDir", hooks, "--hooksWatch=false", "--hooksPool", "2",
			"--migrationsDir", filepath.Join(dir, "pb_migrations"), "--automigrate=false", "--publicDir", filepath.Join(dir, "pb_public"), "--dev=false")...)
	}
	const user, password = "admin@example.com", "0123456789"
	run(t, command("superuser", "upsert", user, password))
	at := address(t)
	api := "http://" + at + "/api"
	serve(t, command("serve", "--http", at), api+"/health")

	token := ""
	sign := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	var session struct {
		Token  string
		Record struct{ ID string }
	}
	call(t, "POST", api+"/collections/_superusers/auth-with-password", nil, map[string]any{"identity": user, "password": password}, &session)
	token = session.Token
	call(t, "POST", api+"/collections/_superusers/impersonate/"+session.Record.ID, sign, map[string]any{"duration": 365 * 24 * 3600}, &session)
	token = session.Token
	field := func(name, kind string) map[string]any {
		return map[string]any{"name": name, "type": kind, "hidden": name == "email_sha256", "required": name == "email"}
	}
	call(t, "POST", api+"/collections", sign, map[string]any{
		"name": "leads", "type": "base",
		"fields": []any{field("lead_id", "text"), field("email", "email"), field("email_sha256", "text"), field("name", "text"), field("phone", "text"),
			field("company", "text"), field("note", "text")},
		"indexes": []string{
			"CREATE UNIQUE INDEX leads_lead_id ON leads (lead_id) WHERE lead_id != ''",
			"CREATE UNIQUE INDEX leads_email ON leads (email COLLATE NOCASE)",
			"CREATE INDEX leads_email_sha256 ON leads (email_sha256)",
		},
	}, nil)

	records := api + "/collections/leads/records"
	return real{
		recipe: "pocketbase", url: "http://" + at, secret: "token",
		settings: map[string]any{"token": token},
		places:   map[string]string{"collection": "nothing"},
		records: func() (all []person) {
			var page struct {
				Items []struct {
					ID, Name, Email, Phone string
					LeadID                 string `json:"lead_id"`
				}
			}
			call(t, "GET", records+"?perPage=500", sign, nil, &page)
			for _, r := range page.Items {
				all = append(all, person{r.ID, r.LeadID, r.Name, r.Email, r.Phone})
			}
			return all
		},
		add: func(p person) string {
			var made struct{ ID string }
			call(t, "POST", records, sign, map[string]any{"name": p.name, "email": p.email}, &made)
			return made.ID
		},
		remove:  func(ref string) { call(t, "DELETE", records+"/"+ref, sign, nil, nil) },
		creates: func(r *http.Request, _ string) bool { return r.Method == "POST" },
		deletes: func(r *http.Request, _ string) bool { return r.Method == "DELETE" },
		bad: func(l lead.Lead) lead.Lead {
			l.Email = strings.ReplaceAll(l.Email, "@", ".")
			return l
		},
	}
}
