package store

import (
	"errors"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Address says where Redis is.
type Address struct {
	// URL is redis://[user:password@]host:port[/db], rediss:// for TLS, or unix:///path. Several hosts are
	// separated by commas: the nodes of a Cluster, or the Sentinels.
	URL            string
	Cluster        bool   // the hosts are nodes of a Redis Cluster
	SentinelMaster string // the hosts are Sentinels that know the master under this name
}

// Connect returns a client for an address. It does no I/O. Errors do not repeat the URL, which may hold a
// password.
func Connect(a Address) (redis.UniversalClient, error) {
	single, hosts := a.URL, []string(nil)
	if u, err := url.Parse(a.URL); err == nil && u.Scheme != "unix" && u.Host != "" {
		hosts = strings.Split(u.Host, ",")
		u.Host = hosts[0]
		single = u.String()
	}
	opts, err := redis.ParseURL(single)
	if err != nil {
		return nil, errors.New("redis.url: is not a Redis URL such as redis://:password@host:6379/0")
	}
	opts.ContextTimeoutEnabled = true
	opts.ClientName = "leadrelay"
	opts.PoolSize = 64
	switch {
	case a.Cluster && a.SentinelMaster != "":
		return nil, errors.New("redis: give cluster or sentinel_master, not both")
	case a.Cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: hosts, Username: opts.Username, Password: opts.Password, TLSConfig: opts.TLSConfig,
			ClientName: opts.ClientName, ContextTimeoutEnabled: true, PoolSize: opts.PoolSize,
		}), nil
	case a.SentinelMaster != "":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: a.SentinelMaster, SentinelAddrs: hosts,
			Username: opts.Username, Password: opts.Password, DB: opts.DB, TLSConfig: opts.TLSConfig,
			ClientName: opts.ClientName, ContextTimeoutEnabled: true, PoolSize: opts.PoolSize,
		}), nil
	case len(hosts) > 1:
		return nil, errors.New("redis.url: names several hosts; set redis.cluster or redis.sentinel_master")
	}
	return redis.NewClient(opts), nil
}
