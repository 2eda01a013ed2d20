package config

import "reflect"

// Fixed lists the settings that differ from a former configuration and that a running program cannot take over: they
// count from its next start.
func (c *Config) Fixed(former *Config) (settings []string) {
	for _, s := range []struct {
		name        string
		mine, their any
	}{
		{"listen", c.Listen, former.Listen},
		{"tls", c.TLS, former.TLS},
		{"data_dir", c.DataDir, former.DataDir},
		{"redis", c.Redis, former.Redis},
		{"log", c.Log, former.Log},
		{"shutdown_timeout", c.ShutdownTimeout, former.ShutdownTimeout},
		{"tracing", c.Tracing, former.Tracing},
		{"worker.listen", c.Worker.Listen, former.Worker.Listen},
	} {
		if !reflect.DeepEqual(s.mine, s.their) {
			settings = append(settings, s.name)
		}
	}
	return settings
}
