// Package store is everything leadrelay keeps in Redis: the leads, what each connector has of them, the work
// that follows from the difference, and the jobs that wake workers for it.
//
// # Layout
//
// Leads are split into lead.Shards shards by their id. Every key of a shard carries the shard's number as its
// hash tag, so one lead's data share a slot of a Redis Cluster, and no script touches two slots. Scripts build
// keys only from the shard's prefix. They never read the clock: times come from the caller, who takes them from
// Clock, so that a journal of commands replays to the same state.
//
//	lr:{07}:l:ID      the lead, "REVISION JSON", or its tombstone, "REVISION D ..."
//	lr:{07}:s:ID      hash: connector -> sync record, "SYNCED JSON"
//	lr:{07}:v:ID      hash: revision -> the lead as it then was, for event connectors that were not told yet
//	lr:{07}:a:ID      hash: idempotency key -> the answer given, for as long as a repeat is known
//	lr:{07}:k:KEY     idempotency key of a create -> the lead or submission it made, for as long
//	lr:{07}:ids       zset: all ids of the shard, by name and so by age
//	lr:{07}:e:HASH    zset: the ids of the leads of an address
//	lr:{07}:own       hash: HASH -> ID, the lead that owns an address under dedupe
//	lr:{07}:d:NAME    zset: the backlog of a connector, leads not in step, by the time they are due: when their change was
//	                  accepted, after a retry's delay, or when a fence lapses
//	lr:{07}:b:NAME    zset: those of them that were tried, by the time the oldest change was accepted
//	lr:{07}:f:NAME    hash: ID -> "TOKEN SINCE", the fence a worker holds while it pushes, and since when the lead waits
//	lr:{07}:p:NAME    zset: parked leads of a connector, by the time they were parked
//	lr:{07}:keys      zset: HASH:ID, the leads that have their record at a keyed connector under a key
//	lr:{07}:w         hash: NAME -> until when a worker is known to be awake for the shard
//	lr:{07}:q:ID      hash: a submission, which becomes the lead of this id, see submissions.go
//	lr:{07}:i:STATE:ORIGIN  zset: the ids of an origin's submissions in a state, by name and so by age
//	lr:{07}:inbox     hash: "STATE ORIGIN" -> how many of these there are
//	lr:{07}:fetches   zset: submissions to be fetched, by the time they are due or their claim lapses
//	lr:gates          hash: NAME -> the gate of a connector: open, or why and until when not
//	lr:clock          the time on Redis's clock when a process read it last
//	lr:secret:NAME    random bytes that all processes share
//	lr:{limits}:*     what counts under vendors' limits, see limits.go
//	lr:{memory}:*     what workers share of an account, such as an access token, see memory.go
//	lr:{alerts}:state         the alerts, as they were seen last, and what operators were told
//	lr:{alerts}:queue:NAME    list: messages that wait for a destination of alerts, oldest first
//	lr:{alerts}:trouble:NAME  why a destination is not reached
//	lr:{alerts}:lease:WHAT    which process looks, or sends to a destination
//	lr:{alerts}:refusals      hash: process -> the configuration that it does not take over
//	lr:session:HASH   an operator's session at the console, until it ends
//	lr:used:HASH      what counts once, such as an attempt to sign in there, and was used
//	lr:audit          list: what operators did there, newest first
//	lr:{activity}:*   what went on in the last hour and the last day, and each connector's last failure, see activity.go and counting.go
//	asynq:*           the jobs, as asynq lays them out
package store
