//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// identity is the file's number and its device's: a rename puts another file at the path, perhaps of the same size and
// time.
func identity(info fs.FileInfo) any {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return [2]uint64{uint64(stat.Dev), stat.Ino}
	}
	return nil
}
