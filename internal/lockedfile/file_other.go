//go:build !unix

package lockedfile

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, fs.FileInfo) {}

// writable cannot be asked without writing; the first write will tell.
func writable(string) error { return nil }

// folder needs no syncing: Windows writes names through.
type folder struct{}

func openFolder(string) (folder, error) { return folder{}, nil }
func (folder) Sync() error              { return nil }
func (folder) Close() error             { return nil }
