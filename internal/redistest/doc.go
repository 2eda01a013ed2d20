// Package redistest runs real redis-servers for tests: one alone, behind Sentinel, or as a Cluster, and kills, pauses
// and starts them again.
//
// A test that calls Start runs on a server alone, unless the environment names another topology:
//
//	LEADRELAY_TEST_REDIS=sentinel go test ./internal/promises ./ingest
//	LEADRELAY_TEST_REDIS=cluster  go test ./internal/promises ./ingest
package redistest
