package webhook

import (
	"context"
	"fmt"
)

// Check finds out whether the address can be reached, and tells it of nothing.
func (h *hook) Check(ctx context.Context) error {
	if err := h.Reach(ctx); err != nil {
		return fmt.Errorf("webhook: check: %w", err)
	}
	return nil
}
