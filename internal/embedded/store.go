package embedded

import (
	"bufio"
	"bytes"
	"container/heap"
	"fmt"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

const (
	syncEvery   = time.Second
	repairEvery = 2 * time.Second

	// A journal is compacted when it has grown past both.
	compactAbove    = 16 << 20
	compactRelative = 2 // times the size of the newest snapshot

	// At start a smaller one will do: nobody waits for it.
	compactAtStart = 1 << 20
)

// store is a miniredis with a journal. What is journalled is not the scripts and transactions that clients send but
// what these did, as Redis itself does it: plain writes in the order of their execution, each script's or
// transaction's in one entry, times to live as deadlines. Replaying them needs no clock and runs no Lua.
//
// miniredis' own clock stands still at the Unix epoch, so that a time to live there is a deadline. The store deletes
// keys when they are due, and journals that as any other write.
type store struct {
	log *slog.Logger

	// mu is held by whoever changes something until the journal has it, and shared by those who read. So no answer
	// rests on anything that a crash of the process could take back.
	mu      sync.RWMutex
	redis   *miniredis.Miniredis
	renewed int // how often redis was replaced, which WATCH would not notice
	journal *journal
	entry   []byte // what the write in progress has done, an entry in the making
	notes   []note // messages it publishes
	writing bool   // there is one in progress
	nested  bool   // commands come from a script in progress
	passing bool   // the next of these comes from the store itself

	scripts map[string]struct{} // those sent so far, which EVALSHA knows until the process ends

	expiring  deadlines
	expiresAt map[string]int64 // the deadline of a key's entry in expiring
	sooner    chan struct{}    // the first deadline has changed

	channels channels

	background sync.WaitGroup
	closing    chan struct{}
	compacting atomic.Bool
	retryAfter time.Time // not before this is compacted again after a failure; guarded by compacting
	trouble    string    // why compaction or repair failed last time, which is told once; guarded by compacting
}

type note struct{ channel, message string }

// openStore reads the journal in dir and goes on with it.
func openStore(dir string, log *slog.Logger) (*store, error) {
	s := &store{
		log: log, scripts: map[string]struct{}{}, expiresAt: map[string]int64{}, sooner: make(chan struct{}, 1), closing: make(chan struct{}),
		entry: make([]byte, entryHeader, 4096),
	}
	began := time.Now()
	redis, err := newRedis()
	if err != nil {
		return nil, err
	}
	replay := replayer(redis)
	told := false
	journal, dropped, err := openJournal(dir, func(args []string) {
		replay(args)
		if !told && time.Since(began) > 2*time.Second {
			told = true
			log.Info("the in-process store is still reading its journal")
		}
	})
	if err != nil {
		redis.Close()
		return nil, err
	}
	s.journal = journal
	s.use(redis)
	if dropped > 0 {
		log.Warn("dropped the end of the journal, which a crash had cut off before it was accepted", "bytes", dropped)
	}
	for _, key := range s.redis.Keys() {
		if ttl := s.redis.TTL(key); ttl > 0 {
			s.schedule(key, ttl.Milliseconds())
		}
	}
	return s, nil
}

// start deletes what has expired meanwhile, and begins to sync, compact and expire.
func (s *store) start() {
	for s.expireDue(server.NewPeer(bufio.NewWriter(discard{})), 1024) <= 0 {
	}
	s.background.Go(s.expire)
	s.background.Go(s.keep)
}

func (s *store) close() error {
	close(s.closing)
	s.background.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.journal.close()
	if s.journal.broken == nil {
		s.journal.broken = errClosed
	}
	s.redis.Close()
	return err
}

var errClosed = fmt.Errorf("the store is closed")

func newRedis() (*miniredis.Miniredis, error) {
	m := miniredis.NewMiniRedis()
	m.SetTime(time.Unix(0, 0))
	conn, err := m.Dial() // starts it without a listener; its commands come through Dispatch
	if err != nil {
		return nil, err
	}
	conn.Close()
	return m, nil
}

// use makes m the one that answers. Until then what it is given is its own affair, whatever script runs elsewhere.
func (s *store) use(m *miniredis.Miniredis) {
	m.Server().SetPreHook(s.hook)
	s.redis = m
}

// replayer returns a function that runs journalled commands.
func replayer(m *miniredis.Miniredis) func(args []string) {
	answers := bufio.NewWriter(discard{})
	peer, srv := server.NewPeer(answers), m.Server()
	return func(args []string) {
		srv.Dispatch(peer, args) // what failed then fails now, and did nothing then and now
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// do runs a command that needs no connection of its own and writes the answer to reply, on which peer writes.
func (s *store) do(peer *server.Peer, reply *bytes.Buffer, name string, args []string) {
	switch kinds[name] {
	case write, script:
		s.change(peer, reply, func() { s.execute(peer, name, args) })
	default:
		s.mu.RLock()
		s.execute(peer, name, args)
		s.mu.RUnlock()
		peer.Flush()
	}
}

// change runs what may change something and sees to it that the journal has it before the answer can be read.
func (s *store) change(peer *server.Peer, reply *bytes.Buffer, run func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := reply.Len()
	s.writing = true
	run()
	s.writing = false
	peer.Flush()
	if err := s.commit(); err != nil {
		reply.Truncate(mark)
		peer.WriteError(refusal(err))
		peer.Flush()
	}
}

// commit journals what was recorded, and only then publishes what goes with it.
func (s *store) commit() error {
	notes := s.notes
	s.notes = nil
	if len(s.entry) > entryHeader {
		err := s.journal.append(seal(s.entry))
		if s.entry = s.entry[:entryHeader]; cap(s.entry) > 1<<20 {
			s.entry = make([]byte, entryHeader, 4096)
		}
		if err != nil {
			s.log.Error("the journal cannot be written: writes are refused until it can", "error", err)
			return err
		}
	}
	for _, n := range notes {
		s.channels.publish(n.channel, n.message)
	}
	return nil
}

func refusal(err error) string {
	return "MISCONF the journal cannot be written, so nothing is accepted: " + err.Error()
}

// execute runs a command, with the lock that its kind needs held.
func (s *store) execute(peer *server.Peer, name string, args []string) {
	switch kinds[name] {
	case write:
		s.apply(peer, name, args)
	case own:
		s.answer(peer, name, args)
	case script:
		s.remember(name, args)
		s.nested = true
		s.redis.Server().Dispatch(peer, args)
		s.nested = false
	case read, session:
		if err := s.journal.broken; err != nil && name == "PING" {
			peer.WriteError(refusal(err)) // as Redis answers: who asks whether it works is told
			return
		}
		s.redis.Server().Dispatch(peer, args)
	default:
		peer.WriteError(fmt.Sprintf("ERR '%s' is not a command of the in-process store", strings.ToLower(name)))
	}
}

// remember keeps a script for the miniredis that takes over after compaction.
func (s *store) remember(name string, args []string) {
	switch {
	case strings.HasPrefix(name, "EVAL") && !strings.HasPrefix(name, "EVALSHA") && len(args) > 1:
		s.scripts[args[1]] = struct{}{}
	case name == "SCRIPT" && len(args) > 2 && strings.EqualFold(args[1], "LOAD"):
		s.scripts[args[2]] = struct{}{}
	case name == "SCRIPT" && len(args) > 1 && strings.EqualFold(args[1], "FLUSH"):
		clear(s.scripts)
	}
}

// hook sees every command before miniredis runs it, and takes those over that a script in progress calls.
func (s *store) hook(peer *server.Peer, name string, args ...string) bool {
	if !s.nested {
		return false
	}
	if s.passing {
		s.passing = false
		return false
	}
	switch kinds[name] {
	case write:
		s.apply(peer, name, append([]string{name}, args...))
	case own:
		s.answer(peer, name, append([]string{name}, args...))
	case read:
		return false
	case script:
		return false // it says no to EVAL in EVAL
	default:
		peer.WriteError(fmt.Sprintf("ERR '%s' cannot be called from scripts of the in-process store", strings.ToLower(name)))
	}
	return true
}

// apply runs one write and records it.
func (s *store) apply(peer *server.Peer, name string, args []string) {
	if err := s.journal.broken; err != nil {
		peer.WriteError(refusal(err))
		return
	}
	args, deadline := absolute(name, args, time.Now().UnixMilli())
	reply := s.call(peer, args)
	if !changedNothing(name, reply) {
		s.entry = appendCommand(s.entry, args...)
		switch {
		case deadline > 0:
			s.expires(peer, args[1], deadline)
		case (name == "RENAME" || name == "RENAMENX") && len(args) == 3:
			if d := s.deadline(peer, args[2]); d > 0 {
				s.schedule(args[2], d)
			}
		}
	}
	peer.WriteRaw(reply)
}

// call runs a command of the store's own in peer's place, in its script if there is one, and returns the answer.
func (s *store) call(peer *server.Peer, args []string) string {
	c := callers.Get().(*caller)
	defer callers.Put(c)
	c.reply.Reset()
	c.peer.Ctx, c.peer.Resp3 = peer.Ctx, peer.Resp3
	if s.nested {
		s.passing = true
	}
	s.redis.Server().Dispatch(c.peer, args)
	c.peer.Flush()
	return c.reply.String()
}

type caller struct {
	reply bytes.Buffer
	peer  *server.Peer
}

var callers = sync.Pool{New: func() any {
	c := &caller{}
	c.peer = server.NewPeer(bufio.NewWriter(&c.reply))
	return c
}}

// deadline is when a key expires, -1 for never and -2 if there is no such key.
func (s *store) deadline(peer *server.Peer, key string) int64 {
	n, _ := strconv.ParseInt(strings.Trim(s.call(peer, []string{"PEXPIRETIME", key}), ":\r\n"), 10, 64)
	return n
}

// answer answers what miniredis does not know, or knows by its standing clock.
func (s *store) answer(peer *server.Peer, name string, args []string) {
	wrong := func() {
		peer.WriteError(fmt.Sprintf("ERR wrong number of arguments for '%s' command", strings.ToLower(name)))
	}
	switch name {
	case "TIME":
		now := time.Now()
		peer.WriteStrings([]string{strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond() / 1000)})
	case "TTL", "PTTL":
		if len(args) != 2 {
			wrong()
			return
		}
		left := s.deadline(peer, args[1])
		if left >= 0 {
			if left -= time.Now().UnixMilli(); left <= 0 {
				left = -2 // due, about to be deleted
			} else if name == "TTL" {
				left = (left + 500) / 1000
			}
		}
		peer.WriteInt(int(left))
	case "PUBLISH":
		if len(args) != 3 {
			wrong()
			return
		}
		if s.writing {
			s.notes = append(s.notes, note{args[1], args[2]})
		} else {
			s.channels.publish(args[1], args[2])
		}
		peer.WriteInt(s.channels.count(args[1]))
	case "SELECT":
		if len(args) != 2 {
			wrong()
			return
		}
		if args[1] != "0" {
			peer.WriteError("ERR DB index is out of range: the in-process store has database 0 only")
			return
		}
		peer.WriteOK()
	case "CONFIG":
		if len(args) < 3 || !strings.EqualFold(args[1], "GET") {
			peer.WriteError("ERR the in-process store knows CONFIG GET only")
			return
		}
		var found []string
		for _, setting := range settings {
			for _, pattern := range args[2:] {
				if ok, _ := path.Match(strings.ToLower(pattern), setting[0]); ok {
					found = append(found, setting[0], setting[1])
					break
				}
			}
		}
		peer.Block(func(w *server.Writer) {
			w.WriteMapLen(len(found) / 2)
			for _, word := range found {
				w.WriteBulk(word)
			}
		})
	case "INFO":
		peer.WriteBulk(s.info())
	}
}

// settings are what CONFIG GET tells, in Redis' words for what holds here.
var settings = [][2]string{
	{"appendonly", "yes"}, {"appendfsync", "everysec"}, {"save", ""}, {"databases", "1"},
	{"maxmemory", "0"}, {"maxmemory-policy", "noeviction"},
}

func (s *store) info() string {
	status := "ok"
	if s.journal.broken != nil {
		status = "err"
	}
	return fmt.Sprintf("# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n\r\n"+
		"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\r\n"+
		"# Persistence\r\nloading:0\r\naof_enabled:1\r\naof_last_write_status:%s\r\naof_current_size:%d\r\naof_base_size:%d\r\n",
		status, s.journal.snapshot+s.journal.since, s.journal.snapshot)
}

// Expiry

type deadline struct {
	at  int64
	key string
}

type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	(*d)[last] = deadline{}
	*d = (*d)[:last]
	return x
}

// schedule notes when a key may be due. It is looked at then: a key that was given longer is noted anew, so one
// entry a key will do.
func (s *store) schedule(key string, at int64) {
	if noted, ok := s.expiresAt[key]; ok && noted <= at {
		return
	}
	s.expiresAt[key] = at
	heap.Push(&s.expiring, deadline{at, key})
	if s.expiring[0].key == key {
		select {
		case s.sooner <- struct{}{}:
		default:
		}
	}
}

// expires follows up on a write that gave a key a deadline, or would have.
func (s *store) expires(peer *server.Peer, key string, at int64) {
	if at > time.Now().UnixMilli() {
		s.schedule(key, at)
		return
	}
	s.deleteDue(peer, key, time.Now().UnixMilli())
}

func (s *store) deleteDue(peer *server.Peer, key string, now int64) {
	switch at := s.deadline(peer, key); {
	case at < 0:
	case at <= now:
		s.call(peer, []string{"DEL", key})
		s.entry = appendCommand(s.entry, "DEL", key)
	default:
		s.schedule(key, at)
	}
}

// expire deletes keys when they are due.
func (s *store) expire() {
	peer := server.NewPeer(bufio.NewWriter(discard{}))
	for {
		wait := s.expireDue(peer, 256)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.sooner:
		case <-s.closing:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// expireDue deletes up to most keys that are due, and returns when to look again.
func (s *store) expireDue(peer *server.Peer, most int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.broken != nil {
		return syncEvery
	}
	now := time.Now().UnixMilli()
	for range most {
		if len(s.expiring) == 0 {
			break
		}
		d := s.expiring[0]
		if d.at > now {
			break
		}
		heap.Pop(&s.expiring)
		if s.expiresAt[d.key] != d.at {
			continue // noted earlier since
		}
		delete(s.expiresAt, d.key)
		s.deleteDue(peer, d.key, now)
	}
	s.commit() // a failure is told there, and from then on all writes are refused
	if len(s.expiring) == 0 {
		return time.Hour
	}
	return time.Duration(s.expiring[0].at-now) * time.Millisecond
}

// Keeping

// keep syncs the journal each second, compacts it when it has grown, and brings it back when it has failed.
func (s *store) keep() {
	s.compactIf(compactAtStart, 1)
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.closing:
			return
		}
		s.sync()
		s.compactIf(compactAbove, compactRelative)
	}
}

func (s *store) sync() error {
	err := s.journal.sync()
	if err != nil {
		s.fail("the journal cannot be synced: writes are refused until it can", err)
	}
	return err
}

func (s *store) fail(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Error(what, "error", err)
	s.journal.fail(err)
}

// compactIf starts to compact the journal when it is larger than above bytes and than relative snapshots, or to
// repair it when it is broken.
func (s *store) compactIf(above, relative int64) {
	if !s.compacting.CompareAndSwap(false, true) {
		return
	}
	s.mu.RLock()
	broken := s.journal.broken != nil
	grown := s.journal.since > above && s.journal.since > relative*s.journal.snapshot
	s.mu.RUnlock()
	if !broken && (!grown || time.Now().Before(s.retryAfter)) {
		s.compacting.Store(false)
		return
	}
	s.background.Go(func() { // so that syncing goes on meanwhile
		defer s.compacting.Store(false)
		what, try := "the journal could not be compacted", s.compact
		if broken {
			what, try = "the journal cannot be written yet", s.repair
		}
		err := try()
		if err == nil {
			s.trouble = ""
			if broken {
				s.log.Info("the journal can be written again: writes are accepted")
			}
			return
		}
		if err.Error() != s.trouble {
			s.trouble = err.Error()
			s.log.Warn(what, "error", err)
		}
		if !broken {
			s.retryAfter = time.Now().Add(time.Minute)
			return
		}
		select {
		case <-time.After(repairEvery):
		case <-s.closing:
		}
	})
}

// compact replaces what has been journalled so far by a snapshot, beside the running store: it is made in a fresh
// miniredis from the files. That one then catches up and takes over, because miniredis never forgets the name of a
// key. The running store waits only to begin a new file, and for the last step of the catching up.
func (s *store) compact() error {
	if err := s.sync(); err != nil { // so that there is little left to sync while it waits
		return err
	}
	s.mu.Lock()
	j := s.journal
	if j.broken != nil {
		s.mu.Unlock()
		return j.broken
	}
	base, snapshot, grown := j.base, j.snapshot > 0, j.since
	n, err := j.rotate()
	if err == nil {
		j.since = 0
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}

	fresh, err := newRedis()
	if err != nil {
		return err
	}
	defer func() { fresh.Close() }()
	replay := replayer(fresh)
	if _, err := j.read(snapshot, base, n, replay); err != nil {
		// What is in memory is sound, and repair writes it down.
		s.fail("the journal cannot be read any more: writes are refused until it is written afresh", err)
		return err
	}
	state := snapshotOf(fresh)
	if err := j.save(n, state); err != nil {
		s.mu.Lock()
		j.since += grown
		s.mu.Unlock()
		return err
	}
	s.mu.Lock()
	j.base, j.snapshot = n, int64(len(state))
	s.mu.Unlock()

	// Each round there is less to catch up with, unless more is written than can be read.
	const enough, mostRounds = 64 << 10, 8
	at := int64(len(fileHeader))
	for range mostRounds {
		s.mu.RLock()
		end, broken := j.size, j.broken
		s.mu.RUnlock()
		if broken != nil || end-at < enough {
			break
		}
		if err := j.follow(n, at, end, replay); err != nil {
			return err
		}
		at = end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	if err := j.follow(n, at, j.size, replay); err != nil {
		return err
	}
	for text := range s.scripts {
		replay([]string{"SCRIPT", "LOAD", text})
	}
	old := s.redis
	s.use(fresh)
	fresh = old // to be closed
	s.renewed++
	return nil
}

// repair writes everything down afresh after the journal has failed. Nothing changes meanwhile: writes are refused.
func (s *store) repair() error {
	s.mu.RLock()
	state := snapshotOf(s.redis)
	n := s.journal.n + 1
	s.mu.RUnlock()
	if err := s.journal.save(n, state); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.resume(n, int64(len(state)))
}

// snapshotOf returns the whole state as a file of the journal: commands that build it from nothing.
func snapshotOf(m *miniredis.Miniredis) []byte {
	const entrySize, wordsEach = 64 << 10, 256
	state := []byte(fileHeader)
	entry := make([]byte, entryHeader, entrySize+entrySize/4)
	add := func(args ...string) {
		if entry = appendCommand(entry, args...); len(entry) > entrySize {
			state = append(state, seal(entry)...)
			entry = entry[:entryHeader]
		}
	}
	build := func(name, key string, elements []string) {
		for len(elements) > 0 {
			n := min(wordsEach, len(elements))
			add(append([]string{name, key}, elements[:n]...)...)
			elements = elements[n:]
		}
	}
	var elements []string
	for _, key := range m.Keys() {
		elements = elements[:0]
		switch m.Type(key) { // none of these fails on a key of its type
		case "string":
			value, _ := m.Get(key)
			add("SET", key, value)
		case "hash":
			fields, _ := m.HKeys(key)
			for _, field := range fields {
				elements = append(elements, field, m.HGet(key, field))
			}
			build("HSET", key, elements)
		case "list":
			list, _ := m.List(key)
			build("RPUSH", key, list)
		case "set":
			members, _ := m.Members(key)
			build("SADD", key, members)
		case "zset":
			scores, _ := m.SortedSet(key)
			for member, score := range scores {
				elements = append(elements, strconv.FormatFloat(score, 'g', -1, 64), member)
			}
			build("ZADD", key, elements)
		}
		if ttl := m.TTL(key); ttl > 0 {
			add("PEXPIREAT", key, strconv.FormatInt(ttl.Milliseconds(), 10))
		}
	}
	if len(entry) > entryHeader {
		state = append(state, seal(entry)...)
	}
	return append(state, seal(make([]byte, entryHeader))...)
}
