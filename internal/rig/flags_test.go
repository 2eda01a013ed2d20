package rig

import (
	"flag"
	"testing"
	"time"
)

var (
	runFor  = flag.Duration("rig.for", 0, "how long the rig runs, in rounds; 0: one round")
	load    = flag.Duration("rig.round", 30*time.Second, "how long one round is under load")
	seedArg = flag.Int64("rig.seed", 0, "the seed of the (first) round; 0: a new one")
	race    = flag.Bool("rig.race", false, "build leadrelay with the race detector")
	notices = flag.Bool("rig.notices", false, "also run the rig on programs without their safeguards (minutes)")
	keep    = flag.Bool("rig.keep", false, "keep the folder with logs and data even if all is well")
)

// loadTime is how long a test is under load; shorter under -short, and at most most where that is not 0.
func loadTime(most time.Duration) time.Duration {
	d := *load
	if testing.Short() {
		d = min(d, 8*time.Second)
	}
	if most > 0 {
		d = min(d, most)
	}
	return d
}

// newSeed is the seed asked for, or a new one.
func newSeed() int64 {
	if *seedArg != 0 {
		return *seedArg
	}
	return time.Now().UnixNano() % 1_000_000_000
}
