package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// SessionLife is how long a session lasts at most, SessionIdle how long without being prolonged.
	SessionLife = 12 * time.Hour
	SessionIdle = time.Hour
)

// Session is that of an operator who is signed in.
type Session struct {
	Operator string    `json:"operator"`
	Login    string    `json:"login"` // what they signed in with, to tell whether it still counts; no secret
	Token    string    `json:"token"` // comes with all they send
	Began    time.Time `json:"began"`
}

// sessionKey is where a session is by what the operator's browser holds, which is not stored itself.
func sessionKey(id string) string { return "lr:session:" + digest(id) }

// BeginSession keeps a session that begins now. id is a secret, hard to guess.
func (s *Store) BeginSession(ctx context.Context, id string, session Session) error {
	session.Began = s.clock.Now().UTC()
	text, err := json.Marshal(session)
	if err != nil {
		return err
	}
	return wrapRedis(s.pipe.do(ctx, redis.NewStatusCmd(ctx, "set", sessionKey(id), text, "px", SessionIdle.Milliseconds())))
}

// Session returns a session that has not ended; ok is false when there is none.
func (s *Store) Session(ctx context.Context, id string) (session Session, ok bool, err error) {
	text, err := s.pipe.get(ctx, sessionKey(id))
	if errors.Is(err, redis.Nil) {
		return Session{}, false, nil
	}
	if err != nil {
		return Session{}, false, wrapRedis(err)
	}
	if err := json.Unmarshal([]byte(text), &session); err != nil {
		return Session{}, false, fmt.Errorf("store: session: %w", err)
	}
	if s.clock.Now().Sub(session.Began) >= SessionLife {
		return Session{}, false, nil
	}
	return session, true, nil
}

// ProlongSession lets a session last for SessionIdle from now, within its SessionLife. One that ended does not come
// back.
func (s *Store) ProlongSession(ctx context.Context, id string, session Session) error {
	left := min(SessionIdle, session.Began.Add(SessionLife).Sub(s.clock.Now()))
	return wrapRedis(s.pipe.do(ctx, redis.NewBoolCmd(ctx, "pexpire", sessionKey(id), left.Milliseconds())))
}

// EndSession forgets a session.
func (s *Store) EndSession(ctx context.Context, id string) error {
	return wrapRedis(s.pipe.do(ctx, redis.NewIntCmd(ctx, "del", sessionKey(id))))
}

// UseOnce says whether nobody has used something that counts once, such as an attempt to sign in, and notes that it is used.
// It is remembered for as long as it would count.
func (s *Store) UseOnce(ctx context.Context, id string, counts time.Duration) (first bool, err error) {
	err = s.pipe.do(ctx, redis.NewStatusCmd(ctx, "set", "lr:used:"+digest(id), "", "px", counts.Milliseconds(), "nx"))
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, wrapRedis(err)
}
