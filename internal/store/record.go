package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// State is where a lead stands with a connector.
type State string

const (
	Pending  State = "pending"  // not pushed yet, or being pushed
	InStep   State = "in_step"  // the remote has the newest revision
	Skipped  State = "skipped"  // the connector's `when` leaves this lead out
	Retrying State = "retrying" // the last attempt failed; it will be tried again
	Parked   State = "parked"   // refused or given up; waits for a change or a replay
)

// Record is the sync record of one lead and one connector: what the remote has, and the last outcome.
type Record struct {
	Synced int64 `json:"-"` // the revision the remote has; 0: none

	Ref   string   `json:"r,omitempty"` // the remote's id of the record
	Tried []string `json:"k,omitempty"` // keys under which a push without an answer may have left a record
	Sent  bool     `json:"s,omitempty"` // a call for this lead may have reached the remote

	Missed int64 `json:"l,omitempty"` // Unix ms since when the remote is asked for that record and does not know of it

	Address string `json:"d,omitempty"` // the AddressDigest of what was pushed, where leads of one address share a record

	Payload string `json:"h,omitempty"` // the connectors.Mapping's Digest of what the remote has

	Attempts     int   `json:"a,omitempty"` // failed attempts in a row
	FailingSince int64 `json:"f,omitempty"` // Unix ms of the first of them

	State  State  `json:"x,omitempty"` // Skipped, Retrying or Parked; "" otherwise
	Fault  string `json:"e,omitempty"` // connectors.Fault of the last failed attempt
	Reason string `json:"m,omitempty"` // its text, without personal data
	At     int64  `json:"t,omitempty"` // Unix ms of the last outcome
	Next   int64  `json:"n,omitempty"` // Unix ms before which it is not tried again
}

func (r Record) encode() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic("store: a record always encodes: " + err.Error())
	}
	return strconv.FormatInt(r.Synced, 10) + " " + string(text)
}

// Standing is where a lead at the wanted revision stands by this record.
func (r Record) Standing(wanted int64) State {
	switch {
	case r.State == Parked || r.State == Retrying:
		return r.State
	case r.Synced < wanted:
		return Pending
	case r.State == Skipped:
		return Skipped
	default:
		return InStep
	}
}

// LastOutcome is when the last attempt ended, zero if none did.
func (r Record) LastOutcome() time.Time {
	if r.At == 0 {
		return time.Time{}
	}
	return time.UnixMilli(r.At).UTC()
}

func decodeRecord(text string) (Record, error) {
	if text == "" {
		return Record{}, nil
	}
	synced, rest, _ := strings.Cut(text, " ")
	var r Record
	if err := json.Unmarshal([]byte(rest), &r); err != nil {
		return Record{}, fmt.Errorf("store: sync record: %w", err)
	}
	var err error
	if r.Synced, err = strconv.ParseInt(synced, 10, 64); err != nil {
		return Record{}, fmt.Errorf("store: sync record: %w", err)
	}
	return r, nil
}
