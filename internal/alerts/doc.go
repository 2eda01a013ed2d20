// Package alerts tells operators when something needs them, and when it is well again:
//
//   - held: a connector's settings or account are refused
//   - down: a connector's breaker is open
//   - behind: the oldest lead that a connector is not in step with has waited too long
//   - config: a process does not take a changed configuration over
//
// Every worker process has a Watcher. One of them at a time looks, decides, and queues what is to be told in the same step
// in which it notes that it was told: so each change is told once whatever dies, and by whichever process lives. A
// message is sent at least once, under an id that stays the same.
//
// There are no floods: trouble is told when it has lasted, and so is its end; what comes in one moment is one message; a
// condition that comes and goes is told of once in a while, with how often it came. A connector that an operator paused
// raises nothing.
package alerts
