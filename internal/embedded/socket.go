package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// longestPath is how long the path of a Unix socket may be everywhere (104 bytes with the final zero on macOS).
const longestPath = 103

// socket is the place where an engine listens. Its path is written down in the file "address", because it is
// outside the data directory when that one's path is too long for a socket.
type socket struct {
	path    string
	tmp     string // the folder made for it outside the data directory, if any
	address string // the file that holds its path
}

const tmpPrefix = "leadrelay-redis-"

func (s socket) url() string { return socketURL(s.path) }

// newSocket clears away what an earlier process left behind and settles on a path to listen on.
func newSocket(dir string) (socket, error) {
	if old, err := lastSocket(dir); err == nil {
		old.remove()
	}
	s := socket{path: filepath.Join(dir, "redis.sock"), address: filepath.Join(dir, "address")}
	if len(s.path) > longestPath {
		tmp, err := os.MkdirTemp("", tmpPrefix)
		if err != nil {
			return socket{}, err
		}
		s.path, s.tmp = filepath.Join(tmp, "redis.sock"), tmp
		if len(s.path) > longestPath {
			os.Remove(tmp)
			return socket{}, fmt.Errorf("the path %s is too long for a socket, and so is one in the temporary folder", dir)
		}
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return socket{}, err
	}
	return s, os.WriteFile(s.address, []byte(s.path+"\n"), 0o600)
}

// lastSocket is the socket that was last written down in dir.
func lastSocket(dir string) (socket, error) {
	s := socket{address: filepath.Join(dir, "address")}
	text, err := os.ReadFile(s.address)
	if err != nil {
		return socket{}, err
	}
	s.path = strings.TrimSpace(string(text))
	if parent := filepath.Dir(s.path); strings.HasPrefix(filepath.Base(parent), tmpPrefix) {
		s.tmp = parent
	}
	return s, nil
}

func (s socket) remove() {
	if s.path == "" {
		return
	}
	os.Remove(s.path)
	if s.tmp != "" {
		os.Remove(s.tmp)
	}
	os.Remove(s.address)
}

// ask sends one command without arguments and returns the first line of the answer.
func ask(path, command string) (string, error) {
	const patience = 2 * time.Second
	conn, err := net.DialTimeout("unix", path, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "*1\r\n$%d\r\n%s\r\n", len(command), command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}
