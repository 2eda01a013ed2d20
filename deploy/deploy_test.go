// Package deploy tests that the shipped deployment keeps what is accepted and runs with few rights.
package deploy

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestComposeKeepsWhatIsAccepted(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Command     []string
			Volumes     []string
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	redis := file.Services["redis"]
	for flag, want := range map[string]string{"--appendonly": "yes", "--maxmemory-policy": "noeviction"} {
		i := slices.Index(redis.Command, flag)
		if i < 0 || i+1 == len(redis.Command) || redis.Command[i+1] != want {
			t.Errorf("redis runs as %q, want %s %s", redis.Command, flag, want)
		}
	}
	if !slices.Contains(redis.Volumes, "redis:/data") {
		t.Errorf("redis has the volumes %q: its file would go with the container", redis.Volumes)
	}
	for _, name := range []string{"ingest", "worker"} {
		s := file.Services[name]
		if !slices.Equal(s.Command, []string{name}) || s.Environment["LEADRELAY_REDIS_URL"] == "" {
			t.Errorf("%s runs as %q on redis %q", name, s.Command, s.Environment["LEADRELAY_REDIS_URL"])
		}
		if !strings.HasPrefix(s.Environment["LEADRELAY_API_KEY"], "${") {
			t.Errorf("%s: the API key is in the file", name)
		}
	}
}

func TestUnitsRunWithFewRights(t *testing.T) {
	for _, name := range []string{"ingest", "worker"} {
		lines := strings.Split(read(t, "leadrelay-"+name+".service"), "\n")
		for _, want := range []string{
			"ExecStart=/usr/local/bin/leadrelay " + name + " --config /etc/leadrelay/config.yaml",
			"ProtectSystem=strict", "NoNewPrivileges=yes", "Restart=on-failure", "CapabilityBoundingSet=",
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("the unit of %s lacks %s", name, want)
			}
		}
	}
}
