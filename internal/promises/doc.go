// Package promises holds the tests of leadrelay's promises P1 to P8, by number and through the front door: HTTP
// in, the connector's side out, on a real redis-server, with processes that die at each step and remotes that
// misbehave. It has no code of its own.
package promises
