// Package rig is the fault rig: an honest attempt to break the promises P1, P2, P3, P5 and P7. It runs the real
// program as separate processes (two ingest, two workers, Redis with `appendfsync always`) and, under a seeded
// random schedule of creates, updates and deletes through the front door, kills, pauses and restarts every one of
// them, while the remotes (a webhook, a Mailchimp audience, a Google sheet, a csv file, Pipedrive without a key of
// ours, Salesforce with results of its own for each lead of a batch) apply and then cut the connection, refuse before
// or after they applied, are slow, hang and send garbage. Then it heals everything, waits for the backlog to drain,
// and compares what the remotes have with what was accepted.
//
//	go test ./internal/rig                                             # a minute or two
//	go test ./internal/rig -run Separate -v -timeout 0 -rig.for 2h     # hours, telling how it gets on
//	go test ./internal/rig -run Separate -v -rig.seed 4711             # the round of that seed once more
//	go test ./internal/rig -run Notices -v -timeout 0 -rig.notices     # see below
//
// A long run is many rounds, each with a seed and a Redis of its own. A seed fixes what the clients ask for, who is
// killed and paused when, and how the remotes misbehave; how the processes interleave is left to the machine.
// -rig.round is how long a round is under load, -rig.race builds the program with the race detector, -rig.keep keeps
// logs and data.
//
// The rig can fail, and TestTheRigNotices… shows it: each patch in testdata takes one safeguard out of the program.
package rig
