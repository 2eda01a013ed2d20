//go:build unix

package lockedfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives file the owner and group that info has, as far as we may: who could open the file still can.
func keepOwner(file *os.File, info fs.FileInfo) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if file.Chown(int(stat.Uid), int(stat.Gid)) != nil {
			file.Chown(-1, int(stat.Gid))
		}
	}
}

// writable asks whether names may be made in a folder, without making one.
func writable(folder string) error {
	if err := syscall.Access(folder, 2 /* W_OK */); err != nil {
		return &fs.PathError{Op: "write", Path: folder, Err: err}
	}
	return nil
}

// folder is an open folder whose names can be made to last.
type folder struct{ *os.File }

func openFolder(name string) (folder, error) {
	d, err := os.Open(name)
	return folder{d}, err
}

// Sync makes the names in the folder last. Some file systems know no such thing and say so.
func (f folder) Sync() error {
	if err := f.File.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
