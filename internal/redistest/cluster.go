package redistest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is a Redis Cluster of three masters.
type Cluster struct {
	nodes [3]*Server
	buses [3]int

	mu sync.Mutex // one at a time is killed
}

// NewCluster keeps logs and data in dir.
func NewCluster(dir string) *Cluster {
	c := &Cluster{}
	for i := range c.nodes {
		c.buses[i] = FreePort()
		c.nodes[i] = newServer(dir, fmt.Sprint("redis-", i), FreePort(),
			"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(c.buses[i]))
	}
	return c
}

func (c *Cluster) Start() error {
	ctx := context.Background()
	const slots = 16384
	for i, n := range c.nodes {
		if err := n.Start(); err != nil {
			return err
		}
		if err := n.Client.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
			return err
		}
	}
	// Each with each: to hear of one another by gossip would take them seconds.
	for i, n := range c.nodes {
		for j, other := range c.nodes[:i] {
			_, port, _ := strings.Cut(other.address(), ":")
			if err := n.Client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", port, c.buses[j]).Err(); err != nil {
				return err
			}
		}
	}
	return c.Heal()
}

func (c *Cluster) Heal() error {
	if err := startAll(c.Servers()); err != nil {
		return err
	}
	return ofOneMind(c.Servers(), c.ok)
}

func (c *Cluster) ok() bool {
	for _, n := range c.nodes {
		info, err := n.Client.ClusterInfo(context.Background()).Result()
		if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
			return false
		}
	}
	return true
}

func (c *Cluster) Options() *redis.UniversalOptions {
	o := &redis.UniversalOptions{IsClusterMode: true}
	for _, n := range c.nodes {
		o.Addrs = append(o.Addrs, n.address())
	}
	return o
}

func (c *Cluster) Servers() []*Server { return c.nodes[:] }

// databases is 1: a Cluster has no others.
func (c *Cluster) databases() int { return 1 }

func (c *Cluster) Kill(which int, downFor time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[which%len(c.nodes)]
	n.Kill()
	time.Sleep(downFor)
	n.Start()
	Within(20*time.Second, c.ok)
}
