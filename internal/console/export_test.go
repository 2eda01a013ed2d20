package console

import (
	"testing"
	"time"
)

// SetManyTimeout has actions on many end sooner.
func SetManyTimeout(t *testing.T, timeout time.Duration) {
	was := manyTimeout
	manyTimeout = timeout
	t.Cleanup(func() { manyTimeout = was })
}
