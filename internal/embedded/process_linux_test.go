package embedded

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A redis-server does not outlive a leadrelay that was killed, though nobody tells it.
func TestEndsWithItsParent(t *testing.T) {
	needRedisServer(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EMBEDDED_TEST_DIR="+dir, "EMBEDDED_TEST_ENGINE="+RedisServer)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // it runs
	lock, err := os.OpenFile(filepath.Join(dir, "redis", "redis-server.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	free := func() bool { return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil }
	if free() {
		t.Error("it does not hold its lock")
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "redis-server ends", free)
}
