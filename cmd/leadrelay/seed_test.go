package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

// TestAnswersAreTheSeeds sends the seed's request bodies. The answers must be 200 and have the seed's members, no
// more and no fewer, with the seed's values but for the lead's id and the time.
func TestAnswersAreTheSeeds(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(connectortest.SpecDir(t), "..", "seeds", "*.txt"))
	if err != nil || len(files) == 0 {
		connectortest.SkipOrFail(t, "the leads API's seed is not beside SPEC_DIR")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 5 {
		t.Fatalf("the seed has %d JSON blocks, want 5: add and update with an answer each, and delete's answer", len(blocks))
	}
	dir, err := os.MkdirTemp("", "lr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := startUp(t, dir, "in-process")
	const leads = "/api/v1/leads"
	id := ""
	for _, step := range []struct{ method, path, body, want string }{
		{"POST", leads, blocks[0][1], blocks[1][1]},
		{"PUT", leads + "/ID", blocks[2][1], blocks[3][1]},
		{"DELETE", leads + "/ID", "", blocks[4][1]},
	} {
		status, text := r.call(step.method, strings.Replace(step.path, "ID", id, 1), step.body)
		var got, want map[string]any
		if err := json.Unmarshal([]byte(step.want), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v in %s", step.method, err, text)
		}
		gotLead, _ := got["data"].(map[string]any)
		wantLead, _ := want["data"].(map[string]any)
		for name, value := range gotLead {
			given, _ := value.(string)
			switch name {
			case "lead_id":
				if id == "" {
					id = given
				}
				wantLead[name] = id
			case "created_at", "updated_at":
				if _, err := time.Parse("2006-01-02T15:04:05Z", given); err != nil {
					t.Errorf("%s: %s: %v", step.method, name, err)
				}
				if wantLead[name] != nil {
					wantLead[name] = value
				}
			}
		}
		if status != 200 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %d %s, want the answer of the seed %s", step.method, status, text, step.want)
		}
	}
}
