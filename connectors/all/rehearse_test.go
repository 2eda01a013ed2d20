package all_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/recipes"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// marker is within every secret of the settings here.
const marker = "MARKEDSECRET"

// watched listens where every system would be, and counts who comes.
func watched(t *testing.T) (address string, visits *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	visits = &atomic.Int64{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			conn.Close()
		}
	}()
	return listener.Addr().String(), visits
}

func privateKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Comment": marker}, Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// markedSettings are settings of every kind whose secrets hold the marker, and whose systems are at address or in folder.
func markedSettings(t *testing.T, address, folder string) map[string]map[string]any {
	t.Helper()
	host, text, _ := net.SplitHostPort(address)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	key := privateKey(t)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "robot@example.com", "private_key_id": marker,
		"private_key": key, "token_uri": "http://" + address + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]map[string]any{
		"csv":          {"path": filepath.Join(folder, "leads.csv")},
		"xlsx":         {"path": filepath.Join(folder, "leads.xlsx")},
		"googlesheets": {"credentials": string(account), "spreadsheet_id": "sheet1", "base_url": "http://" + address},
		"mailchimp":    {"api_key": marker + "-us21", "list_id": "list1", "base_url": "http://" + address},
		"postgres":     {"url": "postgres://leads:" + marker + "@" + address + "/crm?sslmode=disable"},
		"smtp": {"host": host, "port": port, "tls": "none", "username": marker + "user", "password": marker, "from": "leads@example.com",
			"to": []any{"sales@example.com"}, "events": []any{"created", "updated", "deleted"}},
		"webhook": {"url": "http://" + address + "/" + marker + "?token=" + marker, "secret": "whsec_TUFSS0VEU0VDUkVUTUFSS0VEU0VDUkVUTUFSSw==", "allow_private": true},
		"rest":    {"recipe": "../rest/testdata/tryton.yaml"},
	}
	for _, recipe := range recipes.All() {
		settings[recipe.Name] = nil
	}
	for _, kind := range all.Kinds() {
		name := kind.Name
		own := settings[name]
		if kind.Resolve == nil {
			continue
		}
		given := own
		if kind, own, err = kind.Resolve(given); err != nil {
			t.Fatal(err)
		}
		made := map[string]any{}
		each := reflect.TypeOf(kind.Settings)
		for i := range each.NumField() {
			field := each.Field(i)
			setting := field.Tag.Get("mapstructure")
			switch value := own[setting]; {
			case value != nil:
				made[setting] = value
			case setting == "base_url" || strings.HasSuffix(setting, "_url"):
				made[setting] = "http://" + address
			case setting == "private_key":
				made[setting] = key
			case field.Type == reflect.TypeFor[connectors.Secret]():
				made[setting] = marker + "+/=" + setting
			case field.Tag.Get("required") == "true" && field.Tag.Get("oneof") != "":
				made[setting] = strings.Fields(field.Tag.Get("oneof"))[0]
			case field.Tag.Get("required") == "true" && field.Type.Kind() == reflect.String:
				made[setting] = "4201"
			case field.Tag.Get("required") == "true" && field.Type.Kind() == reflect.Int:
				made[setting] = 4201
			case field.Tag.Get("required") == "true":
				made[setting] = []any{"4201"}
			}
		}
		maps.Copy(made, given) // such as the recipe of rest
		settings[name] = made
	}
	return settings
}

// everyKind opens every kind of connector.
func everyKind(t *testing.T, settings map[string]map[string]any) map[string]connectors.Connector {
	t.Helper()
	opened := map[string]connectors.Connector{}
	for _, kind := range all.Kinds() {
		name, given := kind.Name, settings[kind.Name]
		if kind.Resolve != nil {
			var err error
			if kind, given, err = kind.Resolve(given); err != nil {
				t.Fatal(err)
			}
		}
		mapping, err := connectors.NewMapping(kind.Fields)
		if err != nil {
			t.Fatal(err)
		}
		c, err := kind.Open(given, connectors.Env{Name: name, Fields: mapping, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if closer, ok := c.(io.Closer); ok {
			t.Cleanup(func() { closer.Close() })
		}
		opened[name] = c
	}
	return opened
}

// peculiar leads are what people send, and not what forms expect.
func peculiar() []lead.Lead {
	bare := connectortest.Sample(2)
	bare.Name, bare.Note, bare.Source, bare.Custom = "", "", "", nil
	odd := connectortest.Sample(3)
	odd.Name, odd.Note = `Zoë "Z" O'Brien <&> \ 志明`, "line one\r\nline two\ttab {{ no template }} %41 +"
	odd.Email = "O'Brien+tag@Exämple.com"
	odd.Custom = map[string]any{"tags": []any{"a", json.Number("2"), true}, "company": "A/B & C? #1", "nested": map[string]any{"x": nil}}
	return []lead.Lead{connectortest.Sample(1), bare, odd}
}

// TestARehearsalOfEveryKindSendsNothingAndTellsNoSecret: what it shows names the lead, and no more follows unseen.
func TestARehearsalOfEveryKindSendsNothingAndTellsNoSecret(t *testing.T) {
	folder := t.TempDir()
	address, visits := watched(t)
	for name, c := range everyKind(t, markedSettings(t, address, folder)) {
		t.Run(name, func(t *testing.T) {
			for i, l := range peculiar() {
				ref := "1042"
				if keyed, ok := c.(connectors.Keyed); ok {
					ref = keyed.Key(l)
				}
				edited := connectortest.Edited(l)
				edited.Email = "moved." + edited.Email
				steps := []struct {
					what   string
					change lead.Change
					ref    string
				}{
					{"create", connectortest.Created(l), ""},
					{"create again", connectortest.Created(l), ref},
					{"update", connectortest.Updated(connectortest.Edited(l)), ref},
					{"move", connectortest.Updated(edited), ref},
					{"delete", connectortest.Deleted(l), ref},
				}
				for _, step := range steps {
					sent, err := connectors.Rehearse(context.Background(), c, step.change, step.ref)
					if err != nil {
						t.Errorf("lead %d: %s: %v\n%+v", i, step.what, err, sent)
					}
					if step.what == "create" && len(sent) == 0 {
						t.Errorf("lead %d: %s shows nothing", i, step.what)
					}
					for _, one := range sent {
						text, _ := json.Marshal(one)
						for _, secret := range []string{marker, "TUFSS0VE", "MARKEDSECRET%2B"} {
							if strings.Contains(string(text), secret) {
								t.Errorf("lead %d: %s shows a secret: %s", i, step.what, text)
							}
						}
						if one.Line == "" {
							t.Errorf("lead %d: %s: nothing says what it is: %s", i, step.what, text)
						}
					}
				}
			}
		})
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("files were made: %v %v", left, err)
	}
}

// TestARehearsalLeavesNoTraceInFiles: also where the files are there.
func TestARehearsalLeavesNoTraceInFiles(t *testing.T) {
	folder := t.TempDir()
	opened := everyKind(t, markedSettings(t, "127.0.0.1:1", folder))
	for _, name := range []string{"csv", "xlsx"} {
		c := opened[name]
		for i := range 3 {
			if _, err := c.Push(context.Background(), connectortest.Created(connectortest.Sample(i)), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := contents(t, folder)
	for _, name := range []string{"csv", "xlsx"} {
		for _, change := range []lead.Change{
			connectortest.Created(connectortest.Sample(7)), connectortest.Updated(connectortest.Edited(connectortest.Sample(1))), connectortest.Deleted(connectortest.Sample(1)),
		} {
			sent, err := connectors.Rehearse(context.Background(), opened[name], change, change.Lead.ID)
			if err != nil || len(sent) != 1 {
				t.Errorf("%s: %v %+v", name, err, sent)
			}
		}
	}
	if after := contents(t, folder); !maps.Equal(before, after) {
		t.Errorf("the files were %v, and are %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[file.Name()] = string(text)
	}
	return all
}
