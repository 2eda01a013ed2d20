package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestTrytonConformance(t *testing.T) {
	r, err := rest.Read("testdata/tryton.yaml")
	if err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, r, conformance.Options{})
}

// TestTryton pushes to a Tryton of its own. What fails is said with 200 there.
func TestTryton(t *testing.T) {
	const user, password = "admin", "vd9-Kestrel-mug"
	install := "apt-get install tryton-server tryton-modules-party python3-phonenumbers"
	admin, server := program(t, "trytond-admin", install), program(t, "trytond", install)
	dir, at := t.TempDir(), address(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hashes := file("passlib", "[passlib]\nschemes = pbkdf2_sha512\npbkdf2_sha512__default_rounds = 1000\n") // else each request takes half a second
	config := file("trytond.conf", fmt.Sprintf("[database]\nuri = sqlite://\npath = %s\n[web]\nlisten = %s\n[password]\npasslib = %s\n", dir, at, hashes))
	file("leads.sqlite", "")
	fill := exec.Command(admin, "-c", config, "-d", "leads", "--email", "admin@example.com", "-u", "party", "--activate-dependencies")
	fill.Env = append(os.Environ(), "TRYTONPASSFILE="+file("password", password))
	run(t, fill)
	serve(t, exec.Command(server, "-c", config), "http://"+at+"/")

	sign := func(r *http.Request) { r.SetBasicAuth(user, password) }
	rpc := func(into any, method string, params ...any) {
		t.Helper()
		var answer struct{ Result, Error json.RawMessage }
		call(t, "POST", "http://"+at+"/leads/", sign, map[string]any{"id": 1, "method": method, "params": append(params, map[string]any{})}, &answer)
		if answer.Error != nil {
			t.Fatalf("%s: %s", method, answer.Error)
		}
		if into != nil {
			if err := json.Unmarshal(answer.Result, into); err != nil {
				t.Fatalf("%s: %v in %s", method, err, answer.Result)
			}
		}
	}
	number := func(ref string) int {
		n, err := strconv.Atoi(ref)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	calls := func(method string) func(*http.Request, string) bool {
		return func(_ *http.Request, body string) bool { return strings.Contains(body, method) }
	}
	s := real{
		recipe: "tryton", url: "http://" + at, secret: "password",
		settings: map[string]any{"database": "leads", "user": user, "password": password},
		places:   map[string]string{"database": "nothing"},
		records: func() (all []person) {
			var parties []struct {
				ID          int
				Name        string
				Identifiers []struct{ Code string }        `json:"identifiers."`
				Mechanisms  []struct{ Type, Value string } `json:"contact_mechanisms."`
			}
			rpc(&parties, "model.party.party.search_read", []any{}, 0, nil, nil,
				[]string{"name", "identifiers.code", "contact_mechanisms.type", "contact_mechanisms.value"})
			for _, p := range parties {
				var ids, emails, phones []string // joined: two of them are no mistake to overlook
				for _, i := range p.Identifiers {
					ids = append(ids, i.Code)
				}
				for _, m := range p.Mechanisms {
					if m.Type == "email" {
						emails = append(emails, m.Value)
					} else {
						phones = append(phones, m.Value)
					}
				}
				all = append(all, person{strconv.Itoa(p.ID), strings.Join(ids, " "), p.Name, strings.Join(emails, " "), strings.Join(phones, " ")})
			}
			return all
		},
		add: func(p person) string {
			var made []int
			rpc(&made, "model.party.party.create", []any{map[string]any{"name": p.name,
				"contact_mechanisms": []any{[]any{"create", []any{map[string]any{"type": "email", "value": p.email}}}}}})
			return strconv.Itoa(made[0])
		},
		remove:  func(ref string) { rpc(nil, "model.party.party.delete", []int{number(ref)}) },
		creates: calls("model.party.party.create"),
		deletes: calls("model.party.party.delete"),
		bad: func(l lead.Lead) lead.Lead {
			l.Custom["phone"] = "+44 12"
			return l
		},
	}
	holdToPromises(t, s)

	t.Run("a party that was deactivated is found", func(t *testing.T) {
		r, l := s.open(t, nil), connectortest.Sample(400)
		ref := r.push(connectortest.Created(l), "")
		rpc(nil, "model.party.party.write", []int{number(ref)}, map[string]any{"active": false})
		if found, _ := r.find(l); found != ref {
			t.Errorf("found %q, want %s", found, ref)
		}
		if after := r.push(connectortest.Updated(connectortest.Edited(l)), ref); after != ref {
			t.Errorf("updated it is %s, was %s", after, ref)
		}
	})

	t.Run("a user who may not", func(t *testing.T) {
		var models []int
		rpc(&models, "model.ir.model.search", []any{[]any{"model", "=", "party.party"}}, 0, 1, nil)
		rpc(nil, "model.ir.model.access.create", []any{map[string]any{"model": models[0], "perm_read": true,
			"perm_create": false, "perm_write": false, "perm_delete": false}})
		rpc(nil, "model.res.user.create", []any{map[string]any{"name": "Relay", "login": "relay", "password": password}})
		r := s.open(t, map[string]any{"user": "relay"})
		l := connectortest.Sample(500)
		_, err := r.Push(t.Context(), connectortest.Created(l), "")
		r.fails(err, connectors.Setup, l)
		if err != nil && !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("got %v", err)
		}
		r.none(l)
	})
}
