package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
)

const (
	liveTimeout = 30 * time.Second // bounds one connector's live check
	liveAtOnce  = 16               // connectors that are checked side by side
)

// liveCheck is what a connector's system says of its settings, as --json prints it.
type liveCheck struct {
	Connector string   `json:"connector"`
	Type      string   `json:"type"`
	Ready     bool     `json:"ready"`
	Asked     bool     `json:"asked"` // false: its system cannot be asked without writing
	Fault     string   `json:"fault,omitempty"`
	Problems  []string `json:"problems"`
}

// checkLive asks the connectors' systems side by side. The answers are in the connectors' order.
func checkLive(ctx context.Context, all []config.Connector) []liveCheck {
	checks := make([]liveCheck, len(all))
	var group errgroup.Group
	group.SetLimit(liveAtOnce)
	for i, c := range all {
		group.Go(func() error {
			checks[i] = checkOne(ctx, c)
			return nil
		})
	}
	group.Wait()
	return checks
}

func checkOne(ctx context.Context, c config.Connector) liveCheck {
	checked := liveCheck{Connector: c.Name, Type: c.Type, Ready: true, Problems: []string{}}
	checker, can := c.Connector.(connectors.Checker)
	if !can {
		return checked
	}
	checked.Asked = true
	err := within(ctx, liveTimeout, checker.Check)
	if err == nil {
		return checked
	}
	fault, _ := connectors.FaultOf(err)
	checked.Ready, checked.Fault = false, fault.String()
	for _, problem := range connectors.Problems(err) {
		// Who reads it knows which connector is checked.
		checked.Problems = append(checked.Problems, strings.TrimPrefix(strings.TrimPrefix(problem.Error(), c.Type+": "), "check: "))
	}
	return checked
}

// within calls do, which has so much time, and does not wait for it longer.
func within(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: is its address right, and can this machine reach it?", most)
	}
	return ctx.Err()
}

func showLive(out io.Writer, checks []liveCheck) {
	for _, c := range checks {
		fmt.Fprintf(out, "%s (%s): %s\n", c.Connector, c.Type, c.words())
	}
}

// words say it in a line, and each problem in one of its own.
func (c liveCheck) words() string {
	switch {
	case !c.Asked:
		return "settings are valid; its system cannot be asked without writing"
	case c.Ready:
		return "ready: signed in, what the settings and fields name is there"
	}
	text := fmt.Sprintf("NOT READY (%s)", c.Fault)
	for _, problem := range c.Problems {
		text += "\n  - " + strings.ReplaceAll(problem, "\n", "\n    ")
	}
	return text
}

func showLiveJSON(out io.Writer, checks []liveCheck) error {
	return json.NewEncoder(out).Encode(map[string]any{"connectors": checks})
}

// notReady says how many connectors are not, nil where all are.
func notReady(checks []liveCheck) error {
	failed := 0
	for _, c := range checks {
		if !c.Ready {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d connectors are not ready", failed, len(checks))
}
