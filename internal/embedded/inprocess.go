package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// inProcess serves a store on a Unix socket.
type inProcess struct {
	store    *store
	listener net.Listener

	mu    sync.Mutex
	conns map[*conn]struct{} // nil once closed
	wg    sync.WaitGroup

	finished chan struct{}
	failure  error // read after finished
}

func startInProcess(ctx context.Context, dir, socket string, log *slog.Logger) (engine, error) {
	store, err := openStore(dir, log)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		store.journal.close()
		store.redis.Close()
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o600) // its folder is private already
	}
	if err != nil {
		store.journal.close()
		store.redis.Close()
		return nil, err
	}
	p := &inProcess{store: store, listener: listener, conns: map[*conn]struct{}{}, finished: make(chan struct{})}
	store.start()
	p.wg.Go(p.accept)
	return p, nil
}

func (p *inProcess) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			p.store.log.Warn("the in-process store could not accept a connection", "error", err)
			time.Sleep(50 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		p.mu.Lock()
		if p.conns == nil {
			p.mu.Unlock()
			c.Close()
			return
		}
		client := &conn{Conn: c, store: p.store, in: bufio.NewReader(c)}
		client.peer = server.NewPeer(bufio.NewWriter(&client.out))
		p.conns[client] = struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() {
			client.serve()
			p.mu.Lock()
			delete(p.conns, client)
			p.mu.Unlock()
		})
	}
}

func (p *inProcess) done() <-chan struct{} { return p.finished }

func (p *inProcess) err() error {
	select {
	case <-p.finished:
		return p.failure
	default:
		return nil
	}
}

func (p *inProcess) close(context.Context) error {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
	err := p.store.close()
	close(p.finished)
	return err
}

// conn is a client's connection.
type conn struct {
	net.Conn
	store *store
	in    *bufio.Reader
	out   bytes.Buffer // answers not sent yet
	peer  *server.Peer // writes to out
	send  sync.Mutex   // held while something is sent: answers, or messages beside them

	queue    [][]string // what came since MULTI; nil if it has not come
	spoilt   bool       // something in it was refused
	watching int        // store.renewed when WATCH came, plus one; 0 if it has not come

	messages   chan note // of the channels subscribed to; nil before there were any
	subscribed map[string]struct{}
}

const (
	mostWords   = 1 << 20
	longestWord = 64 << 20
	sendAbove   = 64 << 10
)

// serve answers commands in order until the connection ends. Nothing is sent while a lock of the store is held: a
// client that does not read its answers holds up nobody else.
func (c *conn) serve() {
	defer func() {
		c.store.channels.leave(c)
		c.Close()
	}()
	for !c.peer.Closed() {
		args, err := readCommand(c.in)
		if err != nil {
			if errors.Is(err, errProtocol) {
				c.peer.WriteError("ERR " + err.Error())
				c.flush()
			}
			return
		}
		if len(args) == 0 {
			continue
		}
		c.command(strings.ToUpper(args[0]), args)
		c.peer.Flush()
		if c.in.Buffered() == 0 || c.out.Len() > sendAbove {
			if c.flush() != nil {
				return
			}
		}
	}
	c.flush()
}

func (c *conn) flush() error {
	c.send.Lock()
	defer c.send.Unlock()
	return c.flushLocked()
}

func (c *conn) flushLocked() error {
	c.peer.Flush()
	_, err := c.Write(c.out.Bytes())
	if c.out.Reset(); c.out.Cap() > 1<<20 {
		c.out = bytes.Buffer{}
	}
	return err
}

func (c *conn) command(name string, args []string) {
	switch k := kinds[name]; {
	case k == transaction:
		c.transaction(name, args)
	case c.queue != nil && (k == unknown || k == channel):
		c.spoilt = true
		c.peer.WriteError(fmt.Sprintf("ERR '%s' cannot be part of a transaction here", strings.ToLower(name)))
	case c.queue != nil:
		c.queue = append(c.queue, args)
		c.peer.WriteInline("QUEUED")
	case k == channel:
		c.channel(name, args[1:])
	case name == "PING" && len(c.subscribed) > 0 && !c.peer.Resp3:
		c.peer.WriteStrings([]string{"pong", strings.Join(args[1:], " ")})
	default:
		c.store.do(c.peer, &c.out, name, args)
	}
}

// transaction is done here because miniredis does not tell what a transaction of its own does. Each command is
// checked when it runs, not when it is queued; apart from that it is Redis' own.
func (c *conn) transaction(name string, args []string) {
	s := c.store
	switch name {
	case "MULTI":
		if c.queue != nil {
			c.peer.WriteError("ERR MULTI calls can not be nested")
			return
		}
		c.queue = [][]string{}
		c.peer.WriteOK()
	case "DISCARD":
		if c.queue == nil {
			c.peer.WriteError("ERR DISCARD without MULTI")
			return
		}
		c.queue, c.spoilt = nil, false
		c.unwatch()
		c.peer.WriteOK()
	case "WATCH":
		if c.queue != nil {
			c.peer.WriteError("ERR WATCH inside MULTI is not allowed")
			return
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		if c.watching == 0 {
			c.watching = s.renewed + 1
		}
		s.redis.Server().Dispatch(c.peer, args)
	case "UNWATCH":
		c.unwatch()
		c.peer.WriteOK()
	case "EXEC":
		if c.queue == nil {
			c.peer.WriteError("ERR EXEC without MULTI")
			return
		}
		queue, spoilt := c.queue, c.spoilt
		c.queue, c.spoilt = nil, false
		if spoilt {
			c.unwatch()
			c.peer.WriteError("EXECABORT Transaction discarded because of previous errors.")
			return
		}
		s.change(c.peer, &c.out, func() {
			if !c.undisturbed() {
				c.peer.WriteLen(-1)
				return
			}
			c.peer.WriteLen(len(queue))
			for _, args := range queue {
				s.execute(c.peer, strings.ToUpper(args[0]), args)
			}
		})
	}
}

func (c *conn) unwatch() {
	if c.watching == 0 {
		return
	}
	c.watching = 0
	c.store.mu.RLock()
	defer c.store.mu.RUnlock()
	c.store.call(c.peer, []string{"UNWATCH"})
}

// undisturbed says whether no watched key was changed, which an empty transaction of miniredis tells, and ends the
// watch.
func (c *conn) undisturbed() bool {
	if c.watching == 0 {
		return true
	}
	renewed := c.watching != c.store.renewed+1
	c.watching = 0
	c.store.call(c.peer, []string{"MULTI"})
	return c.store.call(c.peer, []string{"EXEC"}) == "*0\r\n" && !renewed
}

//lint:ignore ST1005 a client shows it as Redis words it
var errProtocol = errors.New("Protocol error")

// readCommand reads a command as clients send it, an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	words, err := readNumber(in, '*', mostWords)
	if err != nil {
		return nil, err
	}
	args := make([]string, 0, min(words, 64))
	for range words {
		size, err := readNumber(in, '$', longestWord)
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		if word[size] != '\r' || word[size+1] != '\n' {
			return nil, fmt.Errorf("%w: no line end after a string", errProtocol)
		}
		args = append(args, string(word[:size]))
	}
	return args, nil
}

func readNumber(in *bufio.Reader, mark byte, most int) (int, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return 0, fmt.Errorf("%w: too long a line", errProtocol)
	}
	if err != nil {
		return 0, err
	}
	if len(line) < 4 || line[0] != mark || line[len(line)-2] != '\r' {
		return 0, fmt.Errorf("%w: expected '%c' and a number", errProtocol, mark)
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%w: expected '%c' and a number up to %d", errProtocol, mark, most)
	}
	return n, nil
}

// channels are who listens to what.
type channels struct {
	mu        sync.Mutex
	listeners map[string]map[*conn]struct{}
}

// mostMessages may wait for a listener to read them. One that falls further behind is disconnected, and has to
// connect again: it must not hold up those who publish.
const mostMessages = 1024

func (ch *channels) count(channel string) int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.listeners[channel])
}

func (ch *channels) publish(channel, message string) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for c := range ch.listeners[channel] {
		select {
		case c.messages <- note{channel, message}:
		default:
			c.Close()
		}
	}
}

func (ch *channels) join(channel string, c *conn) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.listeners == nil {
		ch.listeners = map[string]map[*conn]struct{}{}
	}
	if ch.listeners[channel] == nil {
		ch.listeners[channel] = map[*conn]struct{}{}
	}
	ch.listeners[channel][c] = struct{}{}
	c.subscribed[channel] = struct{}{}
}

func (ch *channels) part(channel string, c *conn) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	delete(c.subscribed, channel)
	if delete(ch.listeners[channel], c); len(ch.listeners[channel]) == 0 {
		delete(ch.listeners, channel)
	}
}

// leave ends all subscriptions of a connection.
func (ch *channels) leave(c *conn) {
	for channel := range c.subscribed {
		ch.part(channel, c)
	}
	if c.messages != nil {
		close(c.messages)
	}
}

func (c *conn) channel(name string, channels []string) {
	confirm := func(word string, channel *string) {
		c.peer.Block(func(w *server.Writer) {
			w.WritePushLen(3)
			w.WriteBulk(word)
			if channel == nil {
				w.WriteNull()
			} else {
				w.WriteBulk(*channel)
			}
			w.WriteInt(len(c.subscribed))
		})
	}
	switch name {
	case "SUBSCRIBE":
		if len(channels) == 0 {
			c.peer.WriteError("ERR wrong number of arguments for 'subscribe' command")
			return
		}
		if c.messages == nil {
			c.subscribed = map[string]struct{}{}
			c.messages = make(chan note, mostMessages)
			go c.deliver(c.peer.Resp3)
		}
		c.send.Lock() // a message must not come before the confirmation
		defer c.send.Unlock()
		for _, channel := range channels {
			c.store.channels.join(channel, c)
			confirm("subscribe", &channel)
		}
		c.flushLocked()
	case "UNSUBSCRIBE":
		if len(channels) == 0 {
			for channel := range c.subscribed {
				channels = append(channels, channel)
			}
		}
		for _, channel := range channels {
			c.store.channels.part(channel, c)
			confirm("unsubscribe", &channel)
		}
		if len(channels) == 0 {
			confirm("unsubscribe", nil)
		}
	}
}

// deliver sends messages as they come, beside the answers.
func (c *conn) deliver(resp3 bool) {
	for m := range c.messages {
		var text bytes.Buffer
		w := bufio.NewWriter(&text)
		peer := server.NewPeer(w)
		peer.Resp3 = resp3
		peer.Block(func(w *server.Writer) {
			w.WritePushLen(3)
			w.WriteBulk("message")
			w.WriteBulk(m.channel)
			w.WriteBulk(m.message)
		})
		peer.Flush()
		c.send.Lock()
		_, err := c.Write(text.Bytes())
		c.send.Unlock()
		if err != nil {
			c.Close()
		}
	}
}
