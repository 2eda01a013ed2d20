package connectors

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestAnErrorThatNobodyClassifiedIsRemote(t *testing.T) {
	for _, err := range []error{nil, errors.New("x"), fmt.Errorf("a: %w", errors.New("b")), &Error{Err: errors.New("x")}} {
		if fault, wait := FaultOf(err); fault != Remote || wait != 0 {
			t.Errorf("%v: got %v, %v", err, fault, wait)
		}
	}
}

func TestAFaultSurvivesWrapping(t *testing.T) {
	cause := errors.New("cause")
	inner := &Error{Fault: Throttled, RetryAfter: 7 * time.Second, Err: cause}
	err := fmt.Errorf("mailchimp: %w", fmt.Errorf("put member: %w", inner))
	if fault, wait := FaultOf(err); fault != Throttled || wait != 7*time.Second {
		t.Errorf("got %v, %v", fault, wait)
	}
	if err.Error() != "mailchimp: put member: cause" || !errors.Is(err, cause) {
		t.Errorf("got %q", err)
	}
	outer := &Error{Fault: Lead, Err: err}
	if fault, _ := FaultOf(outer); fault != Lead {
		t.Errorf("got %v, want the outermost", fault)
	}
}

func TestFaultNames(t *testing.T) {
	want := map[Fault]string{Remote: "remote", Throttled: "throttled", Setup: "setup", Lead: "lead", Unknown: "unknown"}
	for fault, name := range want {
		if fault.String() != name {
			t.Errorf("got %q, want %q", fault, name)
		}
	}
}
