//go:build !linux && !darwin

package connectortest

import (
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func fillDisk(testing.TB, connectors.Connector, int) {}

// fullDisk cannot be had without a limit on the size of files.
func (f File) fullDisk(t *testing.T, _ string) {
	t.Skip("this system does not limit the size of files")
}
