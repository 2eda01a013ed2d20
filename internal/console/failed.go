package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	lookedAt      = 500  // of the leads that are parked for a connector, the latest
	lookedAtInAll = 2000 // of all connectors together, in equal parts
	listedOfGroup = 20
	replaysAtOnce = 32
)

// failures are what is parked for one connector.
type failures struct {
	Connector string
	Parked    int64
	LookedAt  int  // of them, the latest
	Partly    bool // that is not all
	Groups    []*failure
}

// failure is why leads of a connector are parked, and which.
type failure struct {
	Key           string // what a form names it by
	Fault, Reason string
	Leads         int
	Listed        []store.ParkedRecord // the latest of them
}

// reasonOf is why a lead is parked.
func reasonOf(one store.ParkedRecord) (fault, reason, key string) {
	fault, reason = one.Record.Fault, one.Reason()
	sum := sha256.Sum256([]byte(fault + "\x00" + reason))
	return fault, reason, hex.EncodeToString(sum[:12])
}

func (s *site) failed(v *visit) error {
	var names []string
	for _, c := range s.Store.Connectors() {
		names = append(names, c.Name)
	}
	totals, err := s.Store.Totals(v.ctx, names)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return totals[name].Parked == 0 })
	parked, err := s.Store.LatestParked(v.ctx, names, min(lookedAt, max(1, lookedAtInAll/max(1, len(names)))))
	if err != nil {
		return err
	}
	var all []failures
	for _, name := range names {
		f := failures{Connector: name, Parked: totals[name].Parked, LookedAt: len(parked[name])}
		f.Partly = int64(f.LookedAt) < f.Parked
		byKey := map[string]*failure{}
		for _, one := range parked[name] {
			fault, reason, key := reasonOf(one)
			g := byKey[key]
			if g == nil {
				g = &failure{Key: key, Fault: fault, Reason: reason}
				byKey[key] = g
			}
			if g.Leads++; len(g.Listed) < listedOfGroup {
				g.Listed = append(g.Listed, one)
			}
		}
		f.Groups = slices.SortedFunc(maps.Values(byKey), func(a, b *failure) int {
			return cmp.Or(cmp.Compare(b.Leads, a.Leads), cmp.Compare(a.Reason, b.Reason))
		})
		all = append(all, f)
	}
	return v.show(http.StatusOK, "failed", page{Title: "Failed", Section: "failed", Data: all})
}

// pushFailed pushes the leads again that are parked for a connector: those of a reason, or all.
func (s *site) pushFailed(v *visit) error {
	name, key := v.r.PostForm.Get("connector"), v.r.PostForm.Get("reason")
	if err := v.known(name); err != nil {
		return err
	}
	detail := "all that failed"
	if key != "" {
		reason, err := v.reasonOfKey(name, key)
		if err != nil {
			return err
		}
		if reason == "" {
			v.complain("There was none left to push to %s again.", name)
			return v.goTo("/console/failed")
		}
		detail = "those that failed for: " + reason
	}
	var done atomic.Int64
	var whole bool
	err := v.act(store.Act{What: "pushed again", Connector: name, Detail: detail}, func() (err error) {
		whole, err = v.replayParked(name, key, &done)
		return err
	})
	if err != nil {
		return err
	}
	n := plural(done.Load(), "lead", "leads")
	switch {
	case !whole:
		totals, err := s.Store.Totals(v.ctx, []string{name})
		if err != nil {
			return err
		}
		v.complain("%s will be pushed to %s again. The time did not suffice for all: %s. Push again to go on.",
			n, name, plural(totals[name].Parked, "failed lead is left", "failed leads are left"))
	case done.Load() == 0:
		v.complain("There was none left to push to %s again.", name)
	default:
		v.say("%s will be pushed to %s again.", n, name)
	}
	return v.goTo("/console/failed")
}

// reasonOfKey is why leads of a connector are parked that a form names by a key, "" when none are.
func (v *visit) reasonOfKey(name, key string) (reason string, err error) {
	found := errors.New("found")
	err = v.Store.EachParked(v.ctx, name, func(some []store.ParkedRecord) error {
		for _, one := range some {
			if _, text, its := reasonOf(one); its == key {
				reason = cmp.Or(text, "no reason was given")
				return found
			}
		}
		return nil
	})
	if err == found {
		err = nil
	}
	return reason, err
}

// replayParked replays the leads that are parked for a connector for a reason, "" for any. whole is false when the
// time did not suffice.
func (v *visit) replayParked(name, key string, done *atomic.Int64) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(v.ctx, manyTimeout)
	defer cancel()
	err = v.Store.EachParked(ctx, name, func(some []store.ParkedRecord) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(replaysAtOnce)
		for _, one := range some {
			if _, _, its := reasonOf(one); key != "" && its != key {
				continue
			}
			group.Go(func() error {
				err := v.Store.Replay(ctx, name, one.ID)
				if errors.Is(err, store.ErrNotFound) {
					return nil
				}
				if err == nil {
					done.Add(1)
				}
				return err
			})
		}
		return group.Wait()
	})
	if ctx.Err() != nil && v.ctx.Err() == nil {
		return false, nil // what was reached is done
	}
	return true, err
}
