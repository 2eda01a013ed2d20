package connectors

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

type nowhere struct{ Settings nowhereSettings }

func (nowhere) Push(context.Context, lead.Change, string) (string, error) { return "", nil }

type nowhereSettings struct {
	List    string        `mapstructure:"list_id"`
	Key     Secret        `mapstructure:"api_key"`
	Timeout time.Duration `mapstructure:"timeout"`
	Size    int           `mapstructure:"size"`
}

func nowhereKind() Kind {
	return Define("nowhere", nowhereSettings{Timeout: 5 * time.Second, Size: 7}, func(s nowhereSettings, env Env) (Connector, error) {
		if s.List == "" {
			return nil, errors.New("list_id: required")
		}
		return nowhere{s}, nil
	})
}

func TestAKindOpensWithItsDefaultsUnderTheSettings(t *testing.T) {
	kind := nowhereKind()
	c, err := kind.Open(map[string]any{"list_id": "a1", "api_key": "k3y", "timeout": "30s"}, Env{})
	if err != nil {
		t.Fatal(err)
	}
	want := nowhereSettings{List: "a1", Key: "k3y", Timeout: 30 * time.Second, Size: 7}
	if got := c.(nowhere).Settings; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// One connector's settings are not the next one's defaults.
	c, err = kind.Open(map[string]any{"list_id": "b2"}, Env{})
	if got := c.(nowhere).Settings; err != nil || got.Timeout != 5*time.Second || got.Key != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAKindRefusesSettingsByName(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings map[string]any
		want     string
	}{
		{"a missing one", map[string]any{}, "list_id: required"},
		{"an unknown one", map[string]any{"list_id": "a", "lits_id": "b"}, "lits_id: unknown setting, did you mean list_id?"},
		{"a wrong type", map[string]any{"list_id": "a", "size": "many"}, "size: must be a whole number"},
		{"a wrong type of a secret", map[string]any{"list_id": "a", "api_key": []any{"s3cret"}}, "api_key: must be text"},
		{"a wrong duration", map[string]any{"list_id": "a", "timeout": 30}, `timeout: must be a duration such as "30s"`},
		{"of a wrong type and missing at once", map[string]any{"size": true}, "size: must be a whole number\nlist_id: required"},
		{"an unknown one that says which is missing", map[string]any{"lits_id": "b", "size": 1}, "lits_id: unknown setting, did you mean list_id?"},
		{"a file that cannot be read and a missing one", map[string]any{"api_key_file": "/nowhere"}, "api_key_file: /nowhere: no such file or directory\nlist_id: required"},
		{"several", map[string]any{"list_id": 1, "size": true}, "list_id: must be text: put it in quotes\nsize: must be a whole number"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := nowhereKind().Open(row.settings, Env{})
			if err == nil || err.Error() != row.want {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
}
