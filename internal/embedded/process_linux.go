package embedded

import "syscall"

// processAttributes put redis-server in a process group of its own, so that Ctrl-C in a terminal reaches leadrelay
// only, which still needs its store to drain; and have it shut down in good order when leadrelay is killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
