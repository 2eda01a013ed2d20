package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// leaks names the secrets and the personal data in a text that must have none.
func (r *round) leaks(where string, text []byte) (problems []string) {
	for name, secret := range r.secrets {
		if bytes.Contains(text, []byte(secret)) {
			problems = append(problems, where+" holds "+name)
		}
	}
	if at := bytes.Index(bytes.ToLower(text), []byte(marker)); at >= 0 {
		problems = append(problems, fmt.Sprintf("%s holds personal data: %q", where, text[max(0, at-200):min(len(text), at+60)]))
	}
	return problems
}

// everything reads all keys that match, from every master.
func everything(client redis.UniversalClient, match string) (map[string][]byte, error) {
	found := map[string][]byte{}
	return found, redistest.EachMaster(client, func(ctx context.Context, c *redis.Client) error {
		keys := c.Scan(ctx, 0, match, 1000).Iterator()
		for keys.Next(ctx) {
			key := keys.Val()
			text, err := contents(ctx, c, key)
			if err != nil {
				return err
			}
			found[key] = text
		}
		return keys.Err()
	})
}

func contents(ctx context.Context, c *redis.Client, key string) ([]byte, error) {
	kind, err := c.Type(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "none": // gone meanwhile
		return nil, nil
	case "string":
		text, err := c.Get(ctx, key).Bytes()
		if err == redis.Nil {
			err = nil
		}
		return text, err
	case "hash":
		all, err := c.HGetAll(ctx, key).Result()
		return fmt.Append(nil, all), err
	case "list":
		all, err := c.LRange(ctx, key, 0, -1).Result()
		return fmt.Append(nil, all), err
	case "set":
		all, err := c.SMembers(ctx, key).Result()
		return fmt.Append(nil, all), err
	case "zset":
		all, err := c.ZRange(ctx, key, 0, -1).Result()
		return fmt.Append(nil, all), err
	}
	return nil, fmt.Errorf("%s is a %s", key, kind)
}

// snoop looks for personal data and secrets where none may be at any time: in jobs, in the records of outcomes, in
// metrics. What cannot be read at the moment is left out.
func (r *round) snoop() (problems []string) {
	if text, err := everything(r.redis, "asynq:*"); err == nil {
		for key, value := range text {
			problems = append(problems, r.leaks("job data "+key, append([]byte(key+" "), value...))...)
		}
		r.snooped.Add(int64(len(text)))
	}
	for _, match := range []string{"lr:*:s:*", "lr:gates"} {
		text, err := everything(r.redis, match)
		if err != nil {
			continue
		}
		for key, value := range text {
			problems = append(problems, r.leaks("the record "+key, value)...)
		}
	}
	for _, p := range r.pages {
		if text, err := fetch(p + "/metrics"); err == nil {
			problems = append(problems, r.leaks("a metric", text)...)
		}
	}
	return problems
}

var numbered = regexp.MustCompile(marker + `(\d+)\.`)

// remains says what Redis still has of leads that are gone and should not.
func (r *round) remains(all map[string][]byte) (problems []string) {
	gone := map[int]bool{}
	goneIDs := map[string]bool{}
	for _, l := range r.crowd.leads {
		if l.deleted {
			gone[l.number], goneIDs[l.id] = true, true
		}
	}
	for _, l := range r.crowd.leads {
		for _, address := range l.addresses { // of which one may have been another's, too
			if m := numbered.FindStringSubmatch(address); !l.deleted && m != nil {
				n, _ := strconv.Atoi(m[1])
				delete(gone, n)
			}
		}
	}
	for key, value := range all {
		for _, m := range numbered.FindAllSubmatch(value, -1) {
			if n, _ := strconv.Atoi(string(m[1])); gone[n] {
				problems = append(problems, fmt.Sprintf("redis: %s holds personal data of a deleted lead: %.200q", key, value))
			}
		}
		parts := strings.SplitN(key, ":", 4)
		if parts[0] != "lr" || len(parts) < 4 {
			continue
		}
		if strings.Contains("l s v a", parts[2]) && goneIDs[parts[3]] {
			problems = append(problems, fmt.Sprintf("redis: %s is left of a deleted lead: %.200q", key, value))
		}
		if strings.Contains("b d f p", parts[2]) {
			problems = append(problems, fmt.Sprintf("redis: %s is left although all is in step: %.200q", key, value))
		}
		if parts[2] == "v" {
			problems = append(problems, fmt.Sprintf("redis: %s keeps former states although all were told: %.200q", key, value))
		}
		for _, name := range []string{"email", "ids"} {
			if parts[2] == name {
				for id := range goneIDs {
					if bytes.Contains(value, []byte(id)) {
						problems = append(problems, fmt.Sprintf("redis: %s still lists %s", key, id))
					}
				}
			}
		}
	}
	return problems
}

// logLeaks reads every process's log. A data race or a panic there is a failure, too.
func (r *round) logLeaks() (problems []string) {
	for _, p := range r.processes() {
		text := p.Output()
		problems = append(problems, r.leaks("the log of "+p.Name, text)...)
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if at := bytes.Index(text, []byte(bad)); at >= 0 {
				problems = append(problems, fmt.Sprintf("%s: %s", p.Name, text[at:min(len(text), at+4000)]))
			}
		}
	}
	if _, err := os.Stat(r.dir); err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}
