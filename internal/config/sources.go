package config

import (
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/sources"
)

// Source is one configured third-party source, open.
type Source struct {
	Name    string // unique, as connectors' names are
	Type    string // its kind's name
	Fetches bool   // as its kind says
	Source  *sources.Source
}

// sourceEntry is one source as the file has it, its settings apart: their kind reads them.
type sourceEntry struct {
	Name     string         `mapstructure:"name"`
	Type     string         `mapstructure:"type"`
	Settings any            `mapstructure:"settings"`
	Source   string         `mapstructure:"source"`
	When     string         `mapstructure:"when"`
	Fields   []sources.Rule `mapstructure:"fields"`
}

// sources reads and opens the sources.
func (l *loader) sources(raw any, c *Config) {
	l.named("sources", raw, func(place string, entry map[string]any) string {
		settings := entry["settings"]
		delete(entry, "settings")
		kind, known := l.sourceKind(place, entry)
		if known && l.skipFrontEnd && !kind.Fetches {
			return text(entry["name"])
		}
		expanded, _ := l.expand(place, "", entry).(map[string]any)
		var e sourceEntry
		l.decode(place, expanded, &e)
		mapping, ok := settings.(map[string]any)
		if settings != nil && !ok {
			l.problem(place, "settings: must be a mapping")
			return e.Name
		}
		if !known {
			return e.Name
		}
		mapping, _ = l.expand(place+"settings.", "", mapping).(map[string]any)
		opened, err := kind.Open(mapping, sources.Options{Name: e.Name, Source: e.Source, When: e.When, Fields: e.Fields})
		for _, problem := range connectors.Problems(err) {
			if text := problem.Error(); strings.HasPrefix(text, "fields") || strings.HasPrefix(text, "when") {
				l.report(place, problem) // they are the entry's
			} else {
				l.report(place+"settings.", problem)
			}
		}
		if err == nil {
			c.Sources = append(c.Sources, Source{Name: e.Name, Type: kind.Name, Fetches: kind.Fetches, Source: opened})
		}
		return e.Name
	})
}

func (l *loader) sourceKind(place string, entry map[string]any) (sources.Kind, bool) {
	if text(entry["type"]) == "" {
		l.problem(place, "type: required")
		return sources.Kind{}, false
	}
	var known []string
	for _, kind := range sources.Kinds() {
		if kind.Name == entry["type"] {
			return kind, true
		}
		known = append(known, kind.Name)
	}
	if nearest := connectors.Nearest(text(entry["type"]), known); nearest != "" {
		l.problem(place, "type: unknown, did you mean %s?", nearest)
	} else {
		l.problem(place, "type: unknown (known: %s)", strings.Join(known, ", "))
	}
	return sources.Kind{}, false
}
