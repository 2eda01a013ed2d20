package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// host serves a connector during one call of ours, see connectors.Host.
type host struct {
	*runner
	spent atomic.Bool // what was spent before the call is used up
}

func (h *host) Spend(ctx context.Context, cost int) error {
	if h.limiter == nil {
		return nil
	}
	cost = max(cost, 1)
	permitted := h.spent.CompareAndSwap(false, true)
	if permitted && cost == 1 {
		return nil
	}
	h.spending.Add(1)
	defer h.spending.Add(-1)
	token := newToken()
	for began := time.Now(); ; {
		wait, err := h.limiter.Spend(ctx, token, cost, permitted)
		if err == nil && wait == 0 {
			return nil
		}
		if err == nil && time.Since(began)+wait <= waitHere {
			sleep(ctx, wait)
			continue
		}
		if permitted {
			h.spent.Store(false)
		}
		if err != nil {
			return &connectors.Error{NotSent: true, Err: fmt.Errorf("%s: ask leave to call: %w", h.Name, err)}
		}
		return &connectors.Error{
			Fault: connectors.Throttled, RetryAfter: wait, NotSent: true,
			Err: fmt.Errorf("%s: no call for %s: its limits are used up", h.Name, wait.Round(time.Second)),
		}
	}
}

func (h *host) HoldCalls(ctx context.Context, until time.Time) {
	if h.limiter == nil {
		return
	}
	if err := h.limiter.HoldCalls(ctx, time.Until(until)); err != nil {
		h.log.Warn("cannot hold calls back as the vendor asks", "error", err)
	}
}

func (h *host) Memory() connectors.Memory { return h.store.Memory() }
