package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Requests of one group are accepted together and are told apart all the same.
func TestP2RequestsOfAGroupMakeOneLeadEachHoweverOftenTheyAreRepeated(t *testing.T) {
	onEach(t, groups)
}

func groups(server *server) {
	s, t := server.process(), server.t
	const requests, repeats = 40, 5
	var mu sync.Mutex
	ids := make([]map[string]bool, requests)
	for n := range ids {
		ids[n] = map[string]bool{}
	}
	var group sync.WaitGroup
	for n := range requests {
		for range repeats {
			group.Go(func() {
				once := &store.Idempotency{Key: fmt.Sprint("post ", n), Fingerprint: "same", Group: "form/contact"}
				l, err := s.Create(context.Background(), patchOf(fmt.Sprintf("p%d@example.com", n)), once)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids[n][l.ID] = true
				mu.Unlock()
			})
		}
	}
	group.Wait()
	shards := map[byte]bool{}
	for n, made := range ids {
		if len(made) != 1 {
			t.Errorf("request %d was answered with %v", n, made)
		}
		for id := range made {
			if _, err := s.Get(context.Background(), id); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			shards[id[14]] = true
		}
	}
	if len(shards) != 1 {
		t.Errorf("a group's leads are in %d shards", len(shards))
	}
	other := &store.Idempotency{Key: "post 1", Fingerprint: "another", Group: "form/contact"}
	if _, err := s.Create(context.Background(), patchOf("p1@example.com"), other); !errors.Is(err, store.ErrKeyReused) {
		t.Errorf("another request under a known key: %v", err)
	}
}
