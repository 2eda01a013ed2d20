package config

import "time"

// CommonSettings are the settings beside the others of an entry that connectors of all kinds have. Documentation is read
// from their tags, as from those of a kind.
type CommonSettings struct {
	Concurrency int          `mapstructure:"concurrency" help:"pushes in flight in one worker process"`
	Retry       Retry        `mapstructure:"retry"`
	Breaker     Breaker      `mapstructure:"breaker"`
	Limits      CommonLimits `mapstructure:"limits"`
}

// CommonLimits stand, over all workers together, in the place of what a kind knows of its vendor.
type CommonLimits struct {
	Rate        int           `mapstructure:"rate" help:"calls started per time, over all workers together; 0: the kind's own"`
	Per         time.Duration `mapstructure:"per" help:"the time of that rate"`
	Concurrency int           `mapstructure:"concurrency" help:"calls in flight, over all workers together; 0: the kind's own"`
}

// CommonDefaults is what an entry has that says nothing of it.
func CommonDefaults() CommonSettings {
	return CommonSettings{
		Concurrency: 16,
		Retry:       Retry{Initial: time.Second, Max: 15 * time.Minute, Horizon: 72 * time.Hour},
		Breaker:     Breaker{Failures: 5, Probe: 5 * time.Second, ProbeMax: 5 * time.Minute},
	}
}
