package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Outcomes of attempts, as they are counted.
const (
	sent    = "sent"
	failed  = "failed"
	refused = "refused"
	givenUp = "given up"
	dropped = "dropped"
)

const (
	// sendAlone is how long the process that sends to a destination is the only one that does, unless it says again that it
	// is: a dead one's message is sent by another as soon.
	sendAlone = 10 * time.Second

	retryFirst = 5 * time.Second
	retryMost  = 5 * time.Minute
	waitMost   = time.Hour // what a destination may ask for by Retry-After

	// recordTimeout bounds the writing down of what became of an attempt.
	recordTimeout = 5 * time.Second
)

// deliver begins an attempt for each destination for which a message waits, unless one is under way: one that hangs keeps
// no other waiting.
func (w *Watcher) deliver(ctx context.Context, begin func(func())) error {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	to := map[string]Destination{}
	var names []string
	for _, d := range w.settings.Load().To {
		to[d.Name] = d
		names = append(names, d.Name)
	}
	if len(names) == 0 {
		return nil
	}
	waiting, err := w.Store.FirstAlerts(looking, names)
	if err != nil || len(waiting) == 0 {
		return err
	}
	states, err := w.Store.AlertDestinations(looking, names)
	if err != nil {
		return err
	}
	for name := range waiting {
		if w.rests(states[name]) || !w.claim(name) {
			continue
		}
		begin(func() {
			defer w.unclaim(name)
			w.drain(ctx, to[name])
		})
	}
	return nil
}

// claim reserves a destination in this process.
func (w *Watcher) claim(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending[name] {
		return false
	}
	w.sending[name] = true
	return true
}

func (w *Watcher) unclaim(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sending, name)
}

// drain sends what waits for a destination, oldest first, until nothing does or an attempt fails, where no other process
// does.
func (w *Watcher) drain(ctx context.Context, d Destination) {
	mine, err := w.Store.LeaseAlerts(ctx, "send:"+d.Name, w.token, sendAlone)
	if err != nil || !mine {
		return // the next look comes by again
	}
	ctx, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		defer stop()
		w.keepLease(ctx, d.Name)
	}()
	for ctx.Err() == nil {
		message, due, err := w.due(ctx, d.Name)
		if err != nil || !due || !w.attempt(ctx, d, message) {
			break
		}
	}
	stop()
	<-kept
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	w.Store.EndAlertLease(end, "send:"+d.Name, w.token) // else it lapses
}

// due returns the message that waits longest for a destination, if it may be sent now: another process may have tried a
// moment ago.
func (w *Watcher) due(ctx context.Context, name string) (message string, due bool, err error) {
	first, err := w.Store.FirstAlerts(ctx, []string{name})
	if err != nil {
		return "", false, err
	}
	states, err := w.Store.AlertDestinations(ctx, []string{name})
	if err != nil {
		return "", false, err
	}
	message, due = first[name]
	return message, due && !w.rests(states[name]), nil
}

// rests says whether a destination is left alone for now.
func (w *Watcher) rests(d store.AlertDestination) bool {
	return d.Trouble != nil && w.Now().Before(d.Trouble.Next)
}

// keepLease prolongs the lease of a destination until ctx ends or the lease is another's.
func (w *Watcher) keepLease(ctx context.Context, name string) {
	tick := time.NewTicker(sendAlone / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if mine, err := w.Store.LeaseAlerts(ctx, "send:"+name, w.token, sendAlone); err == nil && !mine {
			return
		}
	}
}

// attempt sends one message and writes down what became of it. It reports whether the next may follow at once.
func (w *Watcher) attempt(ctx context.Context, d Destination, text string) bool {
	var m Message
	err := json.Unmarshal([]byte(text), &m)
	if err != nil {
		err = &connectors.Error{Fault: connectors.Lead, Err: errors.New("a message cannot be read; was it queued by a newer leadrelay?")}
	}
	if err == nil {
		err = d.Send(ctx, m)
	}
	if ctx.Err() != nil && err != nil {
		return false // this process ends, or another has it
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	outcome, recordErr := w.record(ctx, d, m, text, err)
	w.outcomes.WithLabelValues(d.Name, outcome).Inc()
	if recordErr != nil {
		w.Log.Warn("what became of an alert could not be recorded; it is sent again", "destination", d.Name, "message", m.ID, "error", recordErr)
	}
	return recordErr == nil && outcome != failed
}

// record writes down what became of an attempt, and returns its outcome. Trouble is logged when it begins or is another,
// and when it is over.
func (w *Watcher) record(ctx context.Context, d Destination, m Message, text string, failure error) (outcome string, err error) {
	log := w.Log.With("destination", d.Name, "message", m.ID)
	states, err := w.Store.AlertDestinations(ctx, []string{d.Name})
	trouble := states[d.Name].Trouble
	if failure == nil {
		if trouble != nil {
			log.Info("a destination of alerts is reached again", "attempts", trouble.Tries)
			err = errors.Join(err, w.Store.NoteAlertTrouble(ctx, d.Name, nil))
		}
		return sent, errors.Join(err, w.Store.EndAlert(ctx, d.Name, text))
	}

	fault, wait := connectors.FaultOf(failure)
	reason, now := connectors.Redact(failure.Error()), w.Now()
	if trouble == nil {
		trouble = &store.AlertTrouble{Since: now}
	}
	was := trouble.Reason
	trouble.Reason = reason
	trouble.Tries++
	trouble.Next = now.Add(max(backoff(trouble.Tries), min(wait, waitMost)))
	switch {
	case fault == connectors.Lead:
		outcome, trouble.Next = refused, now // that message is; the next may not be
		log.Error("an alert is refused and not sent again", "reason", reason)
	case now.Sub(m.At) >= store.AlertLife:
		outcome = givenUp
		log.Error("an alert could not be sent for too long and is given up", "reason", reason)
	default:
		outcome = failed
		if was != reason {
			log.Error("a destination of alerts is not reached; it is tried again", "fault", fault, "reason", reason)
		}
	}
	if outcome != failed {
		err = errors.Join(err, w.Store.EndAlert(ctx, d.Name, text))
	}
	return outcome, errors.Join(err, w.Store.NoteAlertTrouble(ctx, d.Name, trouble))
}

// backoff is the wait after so many attempts that failed: doubled after each, half of it left to chance.
func backoff(tries int) time.Duration {
	wait := retryFirst
	for ; tries > 1 && wait < retryMost; tries-- {
		wait *= 2
	}
	wait = min(wait, retryMost)
	return wait/2 + rand.N(wait/2)
}
