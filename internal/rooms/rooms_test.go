package rooms

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/leadrelay/leadrelay/"

// mayImport lists, for each room, the rooms its code (tests apart) may import. A room that ends in /* is any
// folder below.
var mayImport = map[string][]string{
	"cmd/leadrelay":               {"ingest", "worker", "connectors", "connectors/all", "connectors/csv", "connectors/rest", "connectors/rest/conformance", "internal/alerts", "internal/bench", "internal/config", "internal/console", "internal/embedded", "internal/lead", "internal/store", "internal/tracing", "internal/openid", "internal/queues"},
	"ingest":                      {"internal/lead", "internal/sources", "internal/store", "internal/tracing"},
	"worker":                      {"connectors", "internal/lead", "internal/store", "internal/tracing"},
	"connectors":                  {"internal/lead"},
	"connectors/all":              {"connectors", "connectors/*"},
	"connectors/recipes":          {"connectors", "connectors/rest"},
	"connectors/connectortest":    {"connectors", "internal/lead"},
	"connectors/rest/conformance": {"connectors", "connectors/connectortest", "connectors/rest", "internal/lead"},
	"connectors/*":                {"connectors", "internal/lead", "internal/lockedfile", "internal/mailserver"},
	"internal/lead":               {},
	"internal/store":              {"internal/lead"},
	"internal/bench":              {"internal/lead", "internal/store"},
	"internal/alerts":             {"connectors", "internal/mailserver", "internal/store"},
	"internal/config":             {"connectors", "internal/alerts", "internal/lead", "internal/lockedfile", "internal/sources"},
	"internal/tracing":            {"internal/lead"},
	"internal/sources":            {"connectors", "internal/lead"},
	"internal/lockedfile":         {"connectors"},
	"internal/mailserver":         {"connectors"},
	"internal/console":            {"internal/lead", "internal/openid", "internal/store"},
	"internal/openid":             {},
	"internal/queues":             {},
	"internal/embedded":           {},
	"internal/chromium":           {"internal/redistest"},
	"internal/redistest":          {},
	"internal/browser":            {},
	"internal/rig":                {},
	"internal/promises":           {},
	"internal/rooms":              {},
}

type pkg struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func TestRoomsImportOnlyDownward(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,GoFiles,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p pkg
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) == 0 {
			continue // tests alone
		}
		room := strings.TrimPrefix(p.ImportPath, module)
		if p.Doc == "" {
			t.Errorf("%s has no package comment", room)
		}
		allowed, known := mayImport[room]
		if !known {
			allowed, known = mayImport[path.Dir(room)+"/*"]
		}
		if !known {
			t.Errorf("%s is no room of the house: say in mayImport what it may import", room)
		}
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(allowed, other) && !slices.Contains(allowed, path.Dir(other)+"/*") {
				t.Errorf("%s imports %s", room, other)
			}
			if room == "internal/lead" && strings.Contains(imported, ".") {
				t.Errorf("%s imports %s: the words of the domain need the standard library alone", room, imported)
			}
		}
	}
}
