package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const apiKey = "5ecre7-api-k3y-that-must-not-show"

// marker is in everything personal that the rig makes up, followed by the lead's number and the change's.
const marker = "personne-"

// person is what of a lead is personal.
type person struct {
	Name  string `json:"name"`
	Email string `json:"email"`
	Note  string `json:"note"`
}

// lead is what a client knows to be accepted.
type lead struct {
	sync.Mutex
	person
	number    int
	id        string
	revision  int64
	addresses []string // all it ever had
	deleted   bool
	changes   int // asked for, to tell their values apart
}

func (l *lead) invent(what string) string {
	l.changes++
	switch what {
	case "email":
		return fmt.Sprintf("%s%d.%d@people.example", marker, l.number, l.changes)
	case "name":
		return fmt.Sprintf("%s%d.%d Familyname", marker, l.number, l.changes)
	default:
		return fmt.Sprintf("=a note on %s%d.%d", marker, l.number, l.changes)
	}
}

// crowd is all that the clients know.
type crowd struct {
	mix     mix
	fronts  []string // base URLs
	stopped atomic.Bool
	failed  func(format string, args ...any)

	mu      sync.Mutex
	leads   []*lead // all that were ever accepted
	live    []*lead
	perhaps []*lead // asked for once, without a key, and not answered: accepted or not

	created, updated, deleted, repeated, unavailable atomic.Int64
}

// mix is what the clients ask for.
type mix struct {
	leads   int           // that live at once, about
	pause   time.Duration // between a client's requests, at most
	address int           // of 100 updates, how many change the address
	remove  int           // of 100 requests, how many delete
	twins   int           // of 100 creates, how many have the address of another lead
}

var usualMix = mix{leads: 300, pause: 60 * time.Millisecond, address: 60, remove: 12, twins: 4}

func (c *crowd) pick(dice *rand.Rand) *lead {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range 20 {
		if len(c.live) == 0 {
			return nil
		}
		i := dice.IntN(len(c.live))
		if dice.IntN(2) == 0 { // one of the newest: pushed right now
			i = max(0, len(c.live)-1-dice.IntN(12))
		}
		if l := c.live[i]; l.TryLock() {
			return l
		}
	}
	return nil
}

func (c *crowd) drop(l *lead) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.live {
		if c.live[i] == l {
			c.live = append(c.live[:i], c.live[i+1:]...)
			return
		}
	}
}

// run is one client until the crowd is stopped. It asks again until it is answered: what it knows to be accepted is.
func (c *crowd) run(number int, dice *rand.Rand) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for step := 0; !c.stopped.Load(); step++ {
		ask := asking{crowd: c, client: client, dice: dice, key: fmt.Sprintf("client-%d-step-%d", number, step)}
		c.mu.Lock()
		live := len(c.live)
		c.mu.Unlock()
		n := dice.IntN(100)
		if live > c.mix.leads && n < 40 {
			n = 99
		}
		switch {
		case n >= 100-c.mix.remove && live > 10:
			ask.remove()
		case n < 35 || live < 10:
			ask.create(number*1_000_000 + step)
		case n < 42:
			ask.read()
		default:
			ask.update(n)
		}
		if c.mix.pause > 0 {
			time.Sleep(time.Duration(dice.Int64N(int64(c.mix.pause))))
		}
	}
}

// asking is one request of a client and all its repetitions.
type asking struct {
	*crowd
	client *http.Client
	dice   *rand.Rand
	key    string
}

func (a *asking) create(number int) {
	l := &lead{number: number, revision: 1}
	l.person = person{Name: l.invent("name"), Email: l.invent("email"), Note: l.invent("note")}
	if a.dice.IntN(100) < a.mix.twins {
		if other := a.pick(a.dice); other != nil {
			l.Email = other.Email
			other.Unlock()
		}
	}
	l.addresses = []string{l.Email}
	key := a.key
	if a.dice.IntN(100) < 40 {
		key = "" // as a form does: it is asked once
	}
	status, body, _ := a.until("POST", "/api/v1/leads", l.person, key)
	if status == 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.perhaps = append(a.perhaps, l)
		return
	}
	var answer struct {
		Data struct {
			ID string `json:"lead_id"`
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != 200 || answer.Data.ID == "" {
		a.failed("a create was answered %d %s", status, body)
		return
	}
	l.id = answer.Data.ID
	a.created.Add(1)
	a.mu.Lock()
	a.leads, a.live = append(a.leads, l), append(a.live, l)
	a.mu.Unlock()
}

func (a *asking) update(n int) {
	l := a.pick(a.dice)
	if l == nil {
		return
	}
	defer l.Unlock()
	put := func(change map[string]string, key string) {
		if status, body, _ := a.until("PUT", "/api/v1/leads/"+l.id, change, key); status != 200 {
			a.failed("an update of %s was answered %d %s", l.id, status, body)
		}
		a.updated.Add(1)
	}
	switch {
	case n%10 == 0: // nothing changes: no revision
		put(map[string]string{"name": l.Name}, a.key)
	case n%10 == 1: // two at once, from two clients
		name, note := l.invent("name"), l.invent("note")
		var both sync.WaitGroup
		other := *a
		other.dice = rand.New(rand.NewPCG(a.dice.Uint64(), 0))
		both.Go(func() { put(map[string]string{"name": name}, a.key) })
		both.Go(func() {
			if status, body, _ := other.until("PUT", "/api/v1/leads/"+l.id, map[string]string{"note": note}, a.key+"-b"); status != 200 {
				a.failed("an update of %s was answered %d %s", l.id, status, body)
			}
		})
		both.Wait()
		l.Name, l.Note = name, note
		l.revision += 2
	case a.dice.IntN(100) < a.mix.address:
		address := l.invent("email")
		if len(l.addresses) > 1 && a.dice.IntN(5) == 0 { // back to a former one
			address = l.addresses[a.dice.IntN(len(l.addresses)-1)]
		}
		if address == l.Email {
			return
		}
		put(map[string]string{"email": address}, a.key)
		l.Email, l.addresses = address, append(l.addresses, address)
		l.revision++
	default:
		name := l.invent("name")
		put(map[string]string{"name": name}, a.key)
		l.Name = name
		l.revision++
	}
}

func (a *asking) remove() {
	l := a.pick(a.dice)
	if l == nil {
		return
	}
	defer l.Unlock()
	// A delete has no key: whoever repeats it may find it done.
	status, body, first := a.until("DELETE", "/api/v1/leads/"+l.id, nil, "")
	if status != 200 && (status != 404 || first) {
		a.failed("a delete of %s was answered %d %s", l.id, status, body)
	}
	l.deleted = true
	l.revision++
	a.deleted.Add(1)
	a.drop(l)
}

// read asks for a lead: a client sees what it was told is accepted.
func (a *asking) read() {
	l := a.pick(a.dice)
	if l == nil {
		return
	}
	defer l.Unlock()
	status, body, _ := a.until("GET", "/api/v1/leads/"+l.id, nil, "")
	if problem := l.differs(status, body); problem != "" {
		a.failed("%s", problem)
	}
}

// differs says in what an answer to a GET is not the accepted lead.
func (l *lead) differs(status int, body []byte) string {
	var answer struct {
		Data struct {
			person
			Revision int64
		}
	}
	if status != 200 || json.Unmarshal(body, &answer) != nil {
		return fmt.Sprintf("front end: GET of %s is answered %d %s", l.id, status, body)
	}
	if answer.Data.person != l.person || answer.Data.Revision != l.revision {
		return fmt.Sprintf("front end: %s is revision %d %v, accepted was revision %d %v", l.id, answer.Data.Revision, answer.Data.person, l.revision, l.person)
	}
	return ""
}

// adopt looks for the leads whose create was not answered: of each there may be one, and then it was accepted.
func (c *crowd) adopt() {
	ask := asking{crowd: c, client: http.DefaultClient, dice: rand.New(rand.NewPCG(1, 1))}
	for _, l := range c.perhaps {
		_, body, _ := ask.until("GET", "/api/v1/leads?email="+url.QueryEscape(l.Email), nil, "")
		var answer struct {
			Data []struct {
				ID string `json:"lead_id"`
				person
			}
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			c.failed("front end: a list by address is answered %s", body)
		}
		for _, found := range answer.Data {
			if found.person != l.person {
				continue // another lead's, of the same address
			}
			if l.id != "" {
				c.failed("one create made both %s and %s", l.id, found.ID)
			}
			l.id = found.ID
		}
		if l.id != "" {
			c.leads = append(c.leads, l)
		}
	}
}

// until sends a request until it is answered, to any front end; but a create without a key once, with status 0 if it is
// not answered. first says that the first attempt was.
func (a *asking) until(method, path string, body any, key string) (status int, answer []byte, first bool) {
	text, _ := json.Marshal(body)
	for attempt := 0; ; attempt++ {
		if attempt > 0 && method == "POST" && key == "" {
			return 0, nil, false
		}
		if attempt > 0 {
			a.repeated.Add(1)
			time.Sleep(time.Duration(20+a.dice.IntN(80)) * time.Millisecond)
		}
		// Some clients are hasty: they ask again while they are being answered.
		patience := 15 * time.Second
		if a.dice.IntN(20) == 0 {
			patience = time.Duration(1+a.dice.IntN(40)) * time.Millisecond
		}
		front := a.fronts[a.dice.IntN(len(a.fronts))]
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		req, _ := http.NewRequestWithContext(ctx, method, front+path, bytes.NewReader(text))
		req.Header.Set("Authorization", "Bearer "+apiKey)
		req.Header.Set("Content-Type", "application/json")
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := a.client.Do(req)
		if err != nil {
			cancel()
			continue
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		cancel()
		switch {
		case err != nil, resp.StatusCode == 409:
			continue
		case resp.StatusCode == 503:
			a.unavailable.Add(1)
			if resp.Header.Get("Retry-After") == "" {
				a.failed("a 503 without Retry-After: %s", answer)
			}
			continue
		}
		if resp.StatusCode != 200 && strings.Contains(string(answer), marker) {
			a.failed("an error repeats personal data: %d %s", resp.StatusCode, answer)
		}
		return resp.StatusCode, answer, attempt == 0
	}
}
