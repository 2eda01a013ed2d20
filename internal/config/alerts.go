package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/alerts"
)

// Alerts say what operators are told of, and where.
type Alerts struct {
	After      time.Duration        `mapstructure:"after"`       // how long trouble lasts before it is told, and its end
	Oldest     time.Duration        `mapstructure:"oldest"`      // how long a lead may wait; 0: as long as it takes
	Remind     time.Duration        `mapstructure:"remind"`      // how long until trouble that lasts is told again; 0: never
	ConsoleURL string               `mapstructure:"console_url"` // "" for none
	To         []alerts.Destination `mapstructure:"to"`          // not open where Load was told SkipAlerts
}

// destination is one as the file has it, its settings apart: their kind reads them.
type destination struct {
	Name     string `mapstructure:"name"`
	Type     string `mapstructure:"type"`
	Settings any    `mapstructure:"settings"`
}

// checkAlerts reports what is wrong with the settings beside the destinations.
func (l *loader) checkAlerts(a Alerts) {
	if a.After < 0 {
		l.problem("", "alerts.after: must be 0 (at once) or above")
	}
	if a.Oldest < 0 {
		l.problem("", "alerts.oldest: must be 0 (as long as it takes) or above")
	}
	if a.Remind < 0 {
		l.problem("", "alerts.remind: must be 0 (never) or above")
	}
	if a.ConsoleURL != "" {
		u, err := url.Parse(a.ConsoleURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
			l.problem("", "alerts.console_url: must be a URL such as https://leads.example.com/console, or empty")
		}
	}
}

// destinations reads and opens where operators are told.
func (l *loader) destinations(raw any, c *Config) {
	l.named("alerts.to", raw, func(place string, entry map[string]any) string {
		settings := entry["settings"]
		delete(entry, "settings")
		entry, _ = l.expand(place, "", entry).(map[string]any)
		var e destination
		l.decode(place, entry, &e)
		kind, known := l.destinationKind(place, e.Type)
		mapping, ok := settings.(map[string]any)
		if settings != nil && !ok {
			l.problem(place, "settings: must be a mapping")
			return e.Name
		}
		if !known {
			return e.Name
		}
		opened := alerts.Destination{Name: e.Name, Type: kind.Name}
		if !l.skipAlerts {
			mapping, _ = l.expand(place+"settings.", "", mapping).(map[string]any)
			var err error
			opened, err = kind.Open(e.Name, mapping)
			l.report(place+"settings.", err)
		}
		c.Alerts.To = append(c.Alerts.To, opened)
		return e.Name
	})
}

func (l *loader) destinationKind(place, name string) (alerts.Kind, bool) {
	var known []string
	for _, kind := range alerts.Kinds() {
		if kind.Name == name {
			return kind, true
		}
		known = append(known, kind.Name)
	}
	switch nearest := connectors.Nearest(name, known); {
	case l.faulty[place+"type"]:
	case name == "":
		l.problem(place, "type: required (%s)", strings.Join(known, ", "))
	case nearest != "":
		l.problem(place, "type: unknown, did you mean %s?", nearest)
	default:
		l.problem(place, "type: unknown (known: %s)", strings.Join(known, ", "))
	}
	return alerts.Kind{}, false
}

// CloseAlerts closes what the destinations hold open and do not use in this moment.
func (c *Config) CloseAlerts() {
	for _, d := range c.Alerts.To {
		d.Close()
	}
}
