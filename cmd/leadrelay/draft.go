package main

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
)

// sound is an entry without the parts that have problems.
func sound(e console.Entry, problems []console.Problem) console.Entry {
	faulty := map[string]bool{}
	for _, p := range problems {
		faulty[p.Place] = true
	}
	if e.Other = nil; faulty["when"] {
		e.When = ""
	}
	if faulty["name"] {
		e.Name = ""
	}
	if e.Fields != nil {
		rules := []console.FieldRule{}
		for i, rule := range e.Fields {
			if !faulty[fmt.Sprintf("fields[%d]", i)] {
				rules = append(rules, rule)
			}
		}
		e.Fields = rules
	}
	return e
}

// alone loads an entry as if the file had no other, so that nothing is said of others, and opens its connector. It is nil
// where there are problems.
func (s settings) alone(e console.Entry, options ...config.Option) (*config.Config, []console.Problem) {
	if e.Name == "" {
		e.Name = "draft"
	}
	text, err := config.SetConnector([]byte("connectors: []\n"), "", writtenEntry(e))
	if err != nil {
		return nil, []console.Problem{{Text: err.Error()}}
	}
	options = append(options, config.SkipFrontEnd(), config.SkipSources())
	c, err := config.LoadText(text, s.path, all.Kinds(), options...)
	if err != nil {
		return nil, problemsOf(err, e.Name)
	}
	return c, nil
}

var problemPattern = regexp.MustCompile(`^connectors\[\d+\] "([^"]*)": ([^ ]+): (.*)$`)

// problemsOf are the loader's problems, those of the named entry by their place in it.
func problemsOf(err error, name string) (list []console.Problem) {
	var invalid *config.Invalid
	if !errors.As(err, &invalid) {
		return []console.Problem{{Text: err.Error()}}
	}
	for _, text := range invalid.Problems {
		if found := problemPattern.FindStringSubmatch(text); found != nil && found[1] == name {
			list = append(list, console.Problem{Place: found[2], Text: found[3]})
		} else {
			list = append(list, console.Problem{Text: text})
		}
	}
	return list
}

func shownEntry(e config.ConnectorEntry) console.Entry {
	shown := console.Entry{Name: e.Name, Kind: e.Type, When: e.When, Settings: e.Settings, Other: e.Other}
	if e.Fields != nil {
		shown.Fields = []console.FieldRule{}
	}
	for _, rule := range e.Fields {
		shown.Fields = append(shown.Fields, console.FieldRule(rule))
	}
	return shown
}

func writtenEntry(e console.Entry) config.ConnectorEntry {
	written := config.ConnectorEntry{Name: e.Name, Type: e.Kind, When: e.When, Settings: e.Settings, Other: e.Other}
	if e.Fields != nil {
		written.Fields = []connectors.FieldRule{}
	}
	for _, rule := range e.Fields {
		written.Fields = append(written.Fields, connectors.FieldRule(rule))
	}
	return written
}
