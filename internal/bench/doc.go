// Package bench measures leadrelay beside yardsticks, in one run on one machine: how fast leads are accepted, how
// fast they get in step, how soon at idle, and what they cost in memory. Everything runs as separate processes,
// as in production; each measurement has a fresh Redis, and rounds take turns, so that the ratios hold on a noisy
// machine where absolute figures do not.
package bench
