package alerts

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// Settings are what operators want to be told, and where.
type Settings struct {
	After   time.Duration // how long trouble lasts before it is told, and its end
	Oldest  time.Duration // how long a lead may wait before its connector is behind; 0: as long as it takes
	Remind  time.Duration // how long until trouble that lasts is told again; 0: it is not
	Console string        // the address of the operators' pages, if they have one
	To      []Destination
}

// Destination is where operators are told.
type Destination struct {
	Name string // unique: of its queue, and in logs and metrics
	Type string // its Kind's name
	sender
}

// sender makes one attempt to hand a message over. Its errors are connectors.Error and hold no secret.
type sender interface {
	send(ctx context.Context, m Message) error
}

// String is the destination's name: what is inside holds secrets.
func (d Destination) String() string   { return d.Name }
func (d Destination) GoString() string { return d.Name }

// MarshalText is String, for encoding/json and log/slog.
func (d Destination) MarshalText() ([]byte, error) { return []byte(d.Name), nil }

// attemptTimeout bounds one attempt, whatever a destination's own timeout says.
const attemptTimeout = 2 * time.Minute

// Send makes one attempt.
func (d Destination) Send(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return d.send(ctx, m)
}

// Test sends a message that says it is a test.
func (d Destination) Test(ctx context.Context) error {
	now := time.Now()
	return d.Send(ctx, Message{ID: newID(now), At: now.UTC(), Test: true})
}

// Close closes idle connections.
func (d Destination) Close() error {
	if closer, ok := d.sender.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// Kind is a sort of destination.
type Kind struct {
	Name     string // its `type` in config.yaml
	Settings any    // the defaults; config.yaml's keys are its tags

	open func(raw map[string]any) (sender, error)
}

// Kinds are all there are.
func Kinds() []Kind { return []Kind{webhookKind, slackKind, smtpKind} }

// Open reads a destination's settings. It reports all problems at once (errors.Join), each beginning with its key, and
// does no I/O beyond files that hold secrets.
func (k Kind) Open(name string, settings map[string]any) (Destination, error) {
	s, err := k.open(settings)
	return Destination{Name: name, Type: k.Name, sender: s}, err
}

func define[S any](name string, defaults S, open func(S) (sender, error)) Kind {
	return Kind{Name: name, Settings: defaults, open: func(raw map[string]any) (sender, error) {
		return connectors.OpenWith(raw, defaults, open)
	}}
}

// failure says at which destination an error is one.
func failure(kind string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", kind, err)
}
