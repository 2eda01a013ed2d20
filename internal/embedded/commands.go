package embedded

import (
	"strconv"
	"strings"
)

// kind is how a command is run.
type kind int

const (
	unknown     kind = iota
	read             // changes nothing
	write            // is journalled
	script           // what it does is journalled
	own              // is answered here, not by miniredis
	session          // concerns the connection only
	transaction      // MULTI and what belongs to it
	channel          // subscriptions
)

// kinds are the commands on offer. Left out is what blocks, what picks at random, what no snapshot can hold
// (streams, HyperLogLogs, expiring hash fields, databases other than 0), and what nobody here uses. A command that
// is not on this list is refused, so that nothing is changed that the journal does not know.
var kinds = map[string]kind{}

func init() {
	for k, names := range map[kind]string{
		read: `EXISTS KEYS TYPE SCAN TOUCH EXPIRETIME PEXPIRETIME DBSIZE MEMORY RANDOMKEY
			GET MGET STRLEN GETRANGE GETBIT BITCOUNT BITPOS
			HEXISTS HGET HGETALL HKEYS HLEN HMGET HSTRLEN HVALS HSCAN HRANDFIELD
			LINDEX LPOS LLEN LRANGE
			SCARD SDIFF SINTER SINTERCARD SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER SUNION SSCAN
			ZCARD ZCOUNT ZINTER ZLEXCOUNT ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX
			ZREVRANGEBYSCORE ZREVRANK ZSCORE ZMSCORE ZUNION ZSCAN ZRANDMEMBER`,
		write: `DEL UNLINK EXPIRE EXPIREAT PEXPIRE PEXPIREAT PERSIST RENAME RENAMENX FLUSHALL FLUSHDB
			SET SETNX SETEX PSETEX GETSET GETDEL GETEX MSET MSETNX APPEND SETRANGE SETBIT BITOP
			INCR INCRBY INCRBYFLOAT DECR DECRBY
			HSET HSETNX HMSET HDEL HINCRBY HINCRBYFLOAT
			LPUSH LPUSHX RPUSH RPUSHX LPOP RPOP RPOPLPUSH LMOVE LINSERT LREM LSET LTRIM
			SADD SREM SMOVE SDIFFSTORE SINTERSTORE SUNIONSTORE
			ZADD ZINCRBY ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZINTERSTORE ZUNIONSTORE
			ZPOPMAX ZPOPMIN`,
		script:      `EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT`,
		own:         `TIME TTL PTTL PUBLISH CONFIG INFO SELECT`,
		session:     `AUTH HELLO PING ECHO CLIENT COMMAND CLUSTER QUIT`,
		transaction: `MULTI EXEC DISCARD WATCH UNWATCH`,
		channel:     `SUBSCRIBE UNSUBSCRIBE`,
	} {
		for _, name := range strings.Fields(names) {
			kinds[name] = k
		}
	}
}

// idle are writes that changed nothing when they answer nil or zero. They are not journalled, so that the looking
// for work of idle workers does not fill the disk.
var idle = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`DEL UNLINK EXPIRE EXPIREAT PEXPIRE PEXPIREAT PERSIST SETNX GETDEL HDEL HSETNX
		LPUSHX RPUSHX LPOP RPOP RPOPLPUSH LMOVE LREM SADD SREM SMOVE ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK
		ZREMRANGEBYSCORE`) {
		idle[name] = true
	}
}

func changedNothing(name, reply string) bool {
	return idle[name] && (reply == ":0\r\n" || reply == "$-1\r\n" || reply == "_\r\n")
}

// latest is the end of all deadlines, in milliseconds: what a time.Duration since the epoch still holds.
const latest = 9_000_000_000_000

// absolute puts a command's time to live as a deadline, in milliseconds of Unix time, which it returns too if there is
// one. Invalid times are left for miniredis to refuse.
func absolute(name string, args []string, now int64) (rewritten []string, deadline int64) {
	at := func(number string, unit, base int64) (int64, bool) {
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil:
			return 0, false
		case n > latest/unit:
			return latest, true
		case n < -latest/unit:
			return 1, true
		}
		return min(max(base+n*unit, 1), latest), true
	}
	positive := func(number string) bool { return number != "" && number[0] != '-' && strings.Trim(number, "+0") != "" }

	switch name {
	case "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT":
		if len(args) < 3 {
			return args, 0
		}
		unit, base := int64(1000), now
		if name[0] == 'P' {
			unit = 1
		}
		if strings.HasSuffix(name, "AT") {
			base = 0
		}
		deadline, ok := at(args[2], unit, base)
		if !ok {
			return args, 0
		}
		return append([]string{"PEXPIREAT", args[1], strconv.FormatInt(deadline, 10)}, args[3:]...), deadline

	case "SETEX", "PSETEX":
		if len(args) != 4 || !positive(args[2]) {
			return args, 0
		}
		unit := int64(1000)
		if name == "PSETEX" {
			unit = 1
		}
		deadline, ok := at(args[2], unit, now)
		if !ok {
			return args, 0
		}
		return []string{"SET", args[1], args[3], "PXAT", strconv.FormatInt(deadline, 10)}, deadline

	case "SET", "GETEX":
		options := 3
		if name == "GETEX" {
			options = 2
		}
		for i := options; i+1 < len(args); i++ {
			unit, base := int64(1000), now
			switch strings.ToUpper(args[i]) {
			case "EX":
			case "PX":
				unit = 1
			case "EXAT":
				base = 0
			case "PXAT":
				unit, base = 1, 0
			default:
				continue
			}
			d, ok := at(args[i+1], unit, base)
			if !ok || !positive(args[i+1]) {
				return args, 0
			}
			rewritten = append([]string{}, args...)
			rewritten[i], rewritten[i+1] = "PXAT", strconv.FormatInt(d, 10)
			return rewritten, d
		}
	}
	return args, 0
}
