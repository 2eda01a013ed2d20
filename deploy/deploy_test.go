// Package deploy tests that the shipped deployment keeps what is accepted and runs with few rights.
package deploy

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

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
			Grace       string   `yaml:"stop_grace_period"`
			ReadOnly    bool     `yaml:"read_only"`
			Drop        []string `yaml:"cap_drop"`
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
		// Docker kills what has not stopped in time, ten seconds if nothing is said.
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace <= shutdownTimeout(t) {
			t.Errorf("%s has %q to stop, shorter than its shutdown_timeout", name, s.Grace)
		}
		if !s.ReadOnly || !slices.Equal(s.Drop, []string{"ALL"}) {
			t.Errorf("%s may write to its image or keeps capabilities", name)
		}
	}
	if key := file.Services["ingest"].Environment["LEADRELAY_API_KEY"]; !strings.HasPrefix(key, "${") {
		t.Error("the API key is in the file")
	}
	if _, given := file.Services["worker"].Environment["LEADRELAY_API_KEY"]; given {
		t.Error("the worker is given an API key, which it does not need")
	}
	if volumes := file.Services["worker"].Volumes; !slices.Contains(volumes, "leads:/home/nonroot/data") {
		t.Errorf("the worker has the volumes %q: the sheet would go with the container", volumes)
	}
}

func shutdownTimeout(t *testing.T) time.Duration {
	t.Helper()
	var file struct {
		Timeout string `yaml:"shutdown_timeout"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "../config.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	timeout, err := time.ParseDuration(file.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	return timeout
}

// What lies in a checkout that is in use must not get into an image's layers.
func TestTheImageIsBuiltWithoutData(t *testing.T) {
	lines := strings.Split(read(t, "../.dockerignore"), "\n")
	for _, want := range []string{".git", "data"} {
		if !slices.Contains(lines, want) {
			t.Errorf(".dockerignore lacks %s", want)
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

// metric is the name of one of ours, in Go or in an expression.
var metric = regexp.MustCompile(`leadrelay_[a-z_]+`)

// exposed lists the metrics there are: those that the program registers.
func exposed(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	registered := regexp.MustCompile(`Name:\s*"(leadrelay_[a-z_]+)"|gauge\("([a-z_]+)"`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, match := range registered.FindAllStringSubmatch(read(t, path), -1) {
			name := match[1]
			if name == "" {
				name = "leadrelay_" + match[2]
			}
			names[name] = true
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("metrics: %v, %v", names, err)
	}
	return names
}

func TestAlertsAndDashboardAskForMetricsThereAre(t *testing.T) {
	names := exposed(t)
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal([]byte(read(t, "grafana.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var alerts struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	if err := yaml.Unmarshal([]byte(read(t, "alerts.yaml")), &alerts); err != nil {
		t.Fatal(err)
	}
	var expressions []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			expressions = append(expressions, rule.Expr)
		}
	}
	shown := map[string]bool{}
	for _, expression := range expressions {
		for _, name := range metric.FindAllString(expression, -1) {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
			shown[name] = true
			if !names[name] {
				t.Errorf("%s is not exposed: %s", name, expression)
			}
		}
	}
	for name := range names {
		if !shown[name] && name != "leadrelay_config_loaded_timestamp_seconds" {
			t.Errorf("%s is neither in the dashboard nor in an alert", name)
		}
	}
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("promtool is not installed: apt-get install prometheus")
		}
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
