package store

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Persistence is what Redis itself does to keep what it was given: what a 2xx survives depends on it.
type Persistence struct {
	AppendOnly string // "yes", "no" or "unknown"
	Fsync      string // "always", "everysec", "no" or "unknown"
	Eviction   string // maxmemory-policy, or "unknown"
}

// Persistence asks Redis, and is that of a Cluster's weakest master. Managed services often do not tell everything.
func (s *Store) Persistence(ctx context.Context) Persistence {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return persistence(ctx, s.client)
	}
	var mu sync.Mutex
	var weakest *Persistence
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		p := persistence(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		if weakest == nil || p.strength() < weakest.strength() {
			weakest = &p
		}
		return nil
	})
	if err != nil || weakest == nil {
		return unknownPersistence
	}
	return *weakest
}

// strength orders by what is survived.
func (p Persistence) strength() int {
	switch _, safe := p.Survives(); {
	case !safe:
		return 0
	case p.Fsync != "always":
		return 1
	default:
		return 2
	}
}

var unknownPersistence = Persistence{"unknown", "unknown", "unknown"}

func persistence(ctx context.Context, client redis.Cmdable) Persistence {
	p := unknownPersistence
	for setting, into := range map[string]*string{
		"appendonly": &p.AppendOnly, "appendfsync": &p.Fsync, "maxmemory-policy": &p.Eviction,
	} {
		if values, err := client.ConfigGet(ctx, setting).Result(); err == nil && values[setting] != "" {
			*into = values[setting]
		}
	}
	info, err := client.Info(ctx, "persistence", "memory").Result()
	if err != nil {
		return p
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case name == "aof_enabled" && p.AppendOnly == "unknown":
			p.AppendOnly = map[string]string{"1": "yes", "0": "no"}[value]
		case name == "maxmemory_policy" && p.Eviction == "unknown":
			p.Eviction = value
		}
	}
	return p
}

// Survives says in plain words what an accepted lead survives, and whether that is as safe as Redis can be.
func (p Persistence) Survives() (words string, safe bool) {
	switch {
	case p.AppendOnly == "no":
		words = "Redis keeps no append-only file: a restart of Redis loses what was accepted since its last snapshot; set appendonly yes"
	case p.AppendOnly != "yes":
		words = "Redis does not tell how it persists: what an accepted lead survives is up to whoever runs it"
	case p.Fsync == "always":
		words, safe = "an accepted lead survives a crash of leadrelay, of Redis and of the machine", true
	case p.Fsync == "no":
		words = "an accepted lead survives a crash of leadrelay and of Redis; a crash of the machine may lose what the system had not written yet; set appendfsync everysec or always"
	default:
		words, safe = "an accepted lead survives a crash of leadrelay and of Redis; a crash of the machine may lose the last second (appendfsync always would not)", true
	}
	if p.Eviction != "noeviction" && p.Eviction != "unknown" {
		words += "; maxmemory-policy " + p.Eviction + " may throw leads away when memory is full: set noeviction"
		safe = false
	}
	return words, safe
}
