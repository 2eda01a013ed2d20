package connectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestASecretShowsNowhere(t *testing.T) {
	const key = "k3y"
	type settings struct {
		Key  Secret
		More *Secret
		All  []Secret
		By   map[string]Secret
	}
	s := settings{Key: key, More: new(Secret), All: []Secret{key}, By: map[string]Secret{"by": key}}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, s.Key), fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s))
	}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	inYAML, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("opened", "key", s.Key, "settings", s)
	}
	for _, text := range append(shown, string(encoded), string(inYAML), log.String(), fmt.Errorf("bad key %v", s.Key).Error()) {
		if strings.Contains(text, key) || strings.Contains(text, fmt.Sprintf("%x", key)) {
			t.Errorf("shown: %s", text)
		}
	}
	if got := s.Key.String(); got != "<secret>" {
		t.Errorf("got %q", got)
	}
	if s.Key.Reveal() != key {
		t.Error("Reveal does not give the secret")
	}
}
