package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

var described = regexp.MustCompile(`^Desc\{fqName: "(leadrelay_[^"]+)", help: "([^"]*)",.* constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)

// TestEveryMetricIsDocumented holds deploy/METRICS.md to what a process that is all registers.
func TestEveryMetricIsDocumented(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("connectors: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, all.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := store.New(t.Context(), redistest.StartAlone(t).Client, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	running := newLive(c, s, log, nil, nil)
	if _, err := running.frontEnd(); err != nil {
		t.Fatal(err)
	}
	running.work()
	running.watch()

	var want []string
	descs := make(chan *prometheus.Desc)
	go func() { running.registry.Describe(descs); close(descs) }()
	for desc := range descs {

		if found := described.FindStringSubmatch(desc.String()); found != nil {
			labels := "–"
			if found[3] != "" {
				labels = "`" + strings.ReplaceAll(found[3], ",", "`, `") + "`"
			}
			want = append(want, fmt.Sprintf("| `%s` | %s | %s |", found[1], labels, found[2]))
		}
	}
	if len(want) < 10 {
		t.Fatalf("only %d metrics are registered, or are described otherwise", len(want))
	}
	slices.Sort(want)
	text, err := os.ReadFile("../../deploy/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `leadrelay_") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("deploy/METRICS.md lists\n%s\nand there are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
