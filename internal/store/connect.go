package store

import "github.com/redis/go-redis/v9"

// poolSize is how many connections a process keeps to Redis where its URL does not say: each connector's queue
// has a few of its own, the rest of the program shares pipelines.
const poolSize = 64

// Connect returns a client for a Redis, a Sentinel's master or a Cluster. It does no I/O.
func Connect(options *redis.UniversalOptions) redis.UniversalClient {
	o := *options
	o.ContextTimeoutEnabled = true
	if o.ClientName == "" {
		o.ClientName = "leadrelay"
	}
	if o.PoolSize == 0 {
		o.PoolSize = poolSize
	}
	return redis.NewUniversalClient(&o)
}
