package connectortest

import (
	"os"
	"testing"
)

// SpecDir is the folder of vendor API descriptions that the environment variable SPEC_DIR names. Without one
// the test is skipped, or fails where skipping is not allowed: see SkipOrFail.
func SpecDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SPEC_DIR")
	if dir == "" {
		SkipOrFail(t, "SPEC_DIR not set: set it to the folder of vendor API descriptions")
	}
	return dir
}

// SkipOrFail skips a test that lacks something outside this repository, such as a program. With
// LEADRELAY_NO_SKIP=1, as in continuous integration, it fails instead: what is never run is not tested.
func SkipOrFail(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("LEADRELAY_NO_SKIP") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
