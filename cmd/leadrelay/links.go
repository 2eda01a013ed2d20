package main

import (
	"log/slog"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
)

// recordURLs says where people see a connector's record of a lead, "" where that is not known. Of a configuration that
// was loaded without the connectors' settings these are read for it, if this process can: the front end may lack the
// secrets that open them, and has no links then.
func recordURLs(c *config.Config) func(connector, ref string) string {
	linked := map[string]connectors.Linked{}
	add := func(c *config.Config) {
		for _, one := range c.Connectors {
			if l, ok := one.Connector.(connectors.Linked); ok {
				linked[one.Name] = l
			}
		}
	}
	add(c)
	if opened := len(c.Connectors) == 0 || c.Connectors[0].Connector != nil; !opened && c.Path != "" {
		quiet := config.LogTo(func(config.Log) *slog.Logger { return slog.New(slog.DiscardHandler) })
		whole, err := config.Load(c.Path, all.Kinds(), config.SkipFrontEnd(), config.SkipSources(), quiet)
		if err == nil {
			add(whole)
			whole.Close() // an address needs nothing open
		}
	}
	return func(connector, ref string) string {
		if l := linked[connector]; l != nil && ref != "" {
			return l.RecordURL(ref)
		}
		return ""
	}
}
