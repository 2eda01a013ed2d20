package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/leadrelay/leadrelay/internal/store"
)

func TestLeadsAreGoneOverFromTheNewest(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		p.SetConnectors([]store.Connector{crm})
		const n = 1300 // more than two pages
		var want []string
		for i, one := range p.CreateMany(t.Context(), batch(n)) {
			if one.Err != nil {
				t.Fatal(one.Err)
			}
			if i%100 != 50 {
				want = append(want, one.Lead.ID)
			} else if err := p.Delete(t.Context(), one.Lead.ID); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(want)
		slices.Reverse(want)
		var got []string
		var leads int64
		err := p.EachLatestHeld(t.Context(), "crm", func(n int64) { leads = n }, func(page []store.Held) error {
			for _, h := range page {
				if got = append(got, h.Lead.ID); !h.Due {
					t.Errorf("%s is not due", h.Lead.ID)
				}
			}
			return nil
		})
		if err != nil || !slices.Equal(got, want) || leads != int64(len(want)) {
			t.Errorf("%d leads, said to be %d, want %d: %v", len(got), leads, len(want), err)
		}
		enough, pages := errors.New("enough"), 0
		err = p.EachLatestHeld(t.Context(), "crm", func(int64) {}, func([]store.Held) error { pages++; return enough })
		if err != enough || pages != 1 {
			t.Errorf("%d pages, %v", pages, err)
		}
	})
}
