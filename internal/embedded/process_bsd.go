//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package embedded

import "syscall"

// processAttributes put redis-server in a process group of its own, so that Ctrl-C in a terminal reaches leadrelay
// only, which still needs its store to drain. When leadrelay is killed it goes on, until the next start shuts it
// down.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
