package rest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// real is a system that nobody here wrote, and what a test does there by hand, around the recipe.
type real struct {
	recipe   string
	url      string
	settings map[string]any
	secret   string            // the setting that holds what must not be told
	places   map[string]string // a setting, and a value that names what is not there

	records func() []person                  // all, by the system's own API
	add     func(p person) string            // returns the ref
	remove  func(ref string)                 // by hand
	creates func(*http.Request, string) bool // whether a request makes a record
	deletes func(*http.Request, string) bool
	bad     func(lead.Lead) lead.Lead // what the system refuses
}

// person is a record as the system's own API shows it.
type person struct{ ref, leadID, name, email, phone string }

// program is where a program is, by its name or path; without it the test is skipped.
func program(t testing.TB, name, install string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		connectortest.SkipOrFail(t, fmt.Sprintf("%v: %s", err, install))
	}
	return path
}

// run runs a program to its end.
func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(cmd.Path), err, out)
	}
}

// serve starts a server, waits until the URL answers, and stops the server when the test ends.
func serve(t testing.TB, cmd *exec.Cmd, url string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), out.String())
		}
	})
	patience := time.After(time.Minute)
	for again := time.NewTicker(50 * time.Millisecond); ; {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", filepath.Base(cmd.Path), out.String())
		case <-patience:
			t.Fatalf("%s does not answer", filepath.Base(cmd.Path))
		case <-again.C:
		}
	}
}

// address is one that nobody listens at.
func address(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// call makes a request of the test's own and decodes the answer.
func call(t testing.TB, method, url string, sign func(*http.Request), body, into any) {
	t.Helper()
	encoded, _ := json.Marshal(body)
	req, err := http.NewRequest(method, url, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if sign != nil {
		sign(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, url, resp.StatusCode, said)
	}
	if into != nil {
		if err := json.Unmarshal(said, into); err != nil {
			t.Fatalf("%s %s: %v in %s", method, url, err, said)
		}
	}
}

// line is the way to a system. It loses the answers that it is told to lose, after the system gave them.
type line struct {
	url string

	mu   sync.Mutex
	lose func(r *http.Request, body string) bool
	lost int
}

func newLine(t testing.TB, to string) *line {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.mu.Lock()
		lost := l.lose != nil && l.lose(r, string(body))
		if lost {
			l.lose = nil
			l.lost++
		}
		l.mu.Unlock()
		if !lost {
			proxy.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		if answer.Code >= 300 {
			t.Errorf("the answer that was to be lost is %d %s", answer.Code, answer.Body)
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

// loses makes the line lose the next answer to such a request.
func (l *line) loses(such func(r *http.Request, body string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = such
}

// relation is a recipe's connector to a real system.
type relation struct {
	t testing.TB
	real
	*line
	connectors.Connector
	log *bytes.Buffer
}

// open opens the connector; settings differ from those that work.
func (s real) open(t testing.TB, settings map[string]any, fields ...connectors.FieldRule) *relation {
	t.Helper()
	r := &relation{t: t, real: s, line: newLine(t, s.url), log: &bytes.Buffer{}}
	recipe, err := rest.Read(filepath.Join("testdata", s.recipe+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kind := recipe.Kind()
	if fields == nil {
		fields = kind.Fields
	}
	mapping, err := connectors.NewMapping(fields)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]any{"base_url": r.line.url}
	for _, from := range []map[string]any{s.settings, settings} {
		for name, value := range from {
			given[name] = value
		}
	}
	r.Connector, err = kind.Open(given, connectors.Env{Name: s.recipe, Fields: mapping, Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Connector.(io.Closer).Close() })
	return r
}

// push pushes what must succeed.
func (r *relation) push(change lead.Change, ref string) string {
	r.t.Helper()
	ref, err := r.Push(r.t.Context(), change, ref)
	if err != nil {
		r.t.Fatalf("%s: %v", change.Op, err)
	}
	return ref
}

// fails holds an error to a fault, and to what errors must not hold.
func (r *relation) fails(err error, fault connectors.Fault, l lead.Lead) {
	r.t.Helper()
	var classified *connectors.Error
	if !errors.As(err, &classified) || classified.Fault != fault {
		got, _ := connectors.FaultOf(err)
		r.t.Errorf("the fault %v: %v; want %v", got, err, fault)
	}
	for _, secret := range []string{l.Email, l.Name, fmt.Sprint(r.settings[r.secret])} {
		if err != nil && secret != "" && strings.Contains(err.Error(), secret) {
			r.t.Errorf("the error tells %q: %v", secret, err)
		}
	}
}

// holds checks that the system has exactly one record of a lead, as it is, under a ref.
func (r *relation) holds(l lead.Lead, ref string) {
	r.t.Helper()
	phone, _ := l.Custom["phone"].(string)
	want := person{ref, l.ID, l.Name, lead.NormalEmail(l.Email), phone}
	found := r.of(l)
	for i := range found {
		found[i].email = lead.NormalEmail(found[i].email)
	}
	if len(found) != 1 || found[0] != want {
		r.t.Errorf("the system holds %+v, want %+v", found, want)
	}
}

// of lists the records that have a lead's id or its address.
func (r *relation) of(l lead.Lead) (found []person) {
	for _, p := range r.records() {
		if p.leadID == l.ID || lead.NormalEmail(p.email) == lead.NormalEmail(l.Email) {
			found = append(found, p)
		}
	}
	return found
}

func (r *relation) none(l lead.Lead) {
	r.t.Helper()
	if found := r.of(l); len(found) > 0 {
		r.t.Errorf("the system holds %+v, want nothing", found)
	}
}

// find asks for the record as a worker does: of the lead only the id is known.
func (r *relation) find(l lead.Lead) (string, bool) {
	r.t.Helper()
	ref, found, err := r.Connector.(connectors.Finder).Find(r.t.Context(), lead.Lead{ID: l.ID})
	if err != nil {
		r.t.Fatal(err)
	}
	return ref, found
}

// holdToPromises pushes leads to a real system and reads there what became of them.
func holdToPromises(t *testing.T, s real) {
	people := 0
	each := func(name string, test func(r *relation, l lead.Lead)) {
		t.Run(name, func(t *testing.T) {
			people++
			test(s.open(t, nil), connectortest.Sample(people))
		})
	}

	each("check", func(r *relation, _ lead.Lead) {
		if err := r.Connector.(connectors.Checker).Check(r.t.Context()); err != nil {
			r.t.Error(err)
		}
		err := s.open(r.t, nil, connectors.FieldRule{To: "shoe_size", From: "name"}).Connector.(connectors.Checker).Check(r.t.Context())
		r.fails(err, connectors.Setup, lead.Lead{})
		if err == nil || !strings.Contains(err.Error(), "no field shoe_size") {
			r.t.Errorf("got %v", err)
		}
	})

	each("create, update, delete, and each again", func(r *relation, l lead.Lead) {
		ref := r.push(connectortest.Created(l), "")
		r.holds(l, ref)
		if again := r.push(connectortest.Created(l), ""); again != ref {
			r.t.Errorf("created again it is %s, was %s", again, ref)
		}
		r.holds(l, ref)
		for range 2 {
			l = connectortest.Edited(l)
			l.Email = "changed." + l.Email
			for range 2 {
				if after := r.push(connectortest.Updated(l), ref); after != ref {
					r.t.Errorf("updated it is %s, was %s", after, ref)
				}
				r.holds(l, ref)
			}
		}
		delete(l.Custom, "phone")
		r.push(connectortest.Updated(l), ref)
		r.holds(l, ref)
		for range 2 {
			if after := r.push(connectortest.Deleted(l), ref); after != "" {
				r.t.Errorf("deleted it is %s", after)
			}
			r.none(l)
		}
	})

	each("deleted there by hand, it is created again", func(r *relation, l lead.Lead) {
		ref := r.push(connectortest.Created(l), "")
		r.remove(ref)
		l = connectortest.Edited(l)
		after := r.push(connectortest.Updated(l), ref)
		if after == ref {
			r.t.Errorf("it has the ref of the record that is gone")
		}
		r.holds(l, after)
	})

	each("a record that somebody else made is adopted", func(r *relation, l lead.Lead) {
		ref := r.add(person{name: "By Hand", email: strings.ToUpper(l.Email)})
		if adopted := r.push(connectortest.Created(l), ""); adopted != ref {
			r.t.Errorf("the record is %s, want the one that was there, %s", adopted, ref)
		}
		r.holds(l, ref)
		if found, _ := r.find(l); found != ref {
			r.t.Errorf("found %s, want %s", found, ref)
		}
	})

	each("two leads of one address have one record, until the last of them goes", func(r *relation, l lead.Lead) {
		other := connectortest.Sample(1000 + people)
		other.Email = l.Email
		ref := r.push(connectortest.Created(l), "")
		if shared := r.push(connectortest.Created(other), ""); shared != ref {
			r.t.Errorf("the other's record is %s, want %s", shared, ref)
		}
		r.push(connectortest.Deleted(l), ref)
		r.holds(other, ref)
		r.push(connectortest.Deleted(other), ref)
		r.none(other)
	})

	each("nobody's record is not found", func(r *relation, l lead.Lead) {
		if ref, found := r.find(l); found {
			r.t.Errorf("found %s", ref)
		}
	})

	each("the answer to a create is lost", func(r *relation, l lead.Lead) {
		created := func(q *http.Request, body string) bool { return s.creates(q, body) && strings.Contains(body, l.ID) }
		r.loses(created)
		_, err := r.Push(r.t.Context(), connectortest.Created(l), "")
		r.fails(err, connectors.Unknown, l)
		ref, found := r.find(l)
		if !found {
			r.t.Fatal("what was created is not found")
		}
		l = connectortest.Edited(l)
		r.push(connectortest.Updated(l), ref)
		r.holds(l, ref)

		// The lead may as well be deleted before the next attempt.
		people++
		l = connectortest.Sample(people)
		r.loses(created)
		_, err = r.Push(r.t.Context(), connectortest.Created(l), "")
		r.fails(err, connectors.Unknown, l)
		ref, _ = r.find(l)
		r.push(connectortest.Deleted(l), ref)
		r.none(l)

		// And who does not ask first creates no second record.
		people++
		l = connectortest.Sample(people)
		r.loses(created)
		_, err = r.Push(r.t.Context(), connectortest.Created(l), "")
		r.fails(err, connectors.Unknown, l)
		l = connectortest.Edited(l)
		l.Email = "changed." + l.Email
		r.holds(l, r.push(connectortest.Created(l), ""))
		if r.lost != 3 {
			r.t.Errorf("%d answers were lost, want 3", r.lost)
		}
	})

	each("the answer to a delete is lost", func(r *relation, l lead.Lead) {
		ref := r.push(connectortest.Created(l), "")
		r.loses(s.deletes)
		_, err := r.Push(r.t.Context(), connectortest.Deleted(l), ref)
		r.fails(err, connectors.Unknown, lead.Lead{})
		r.push(connectortest.Deleted(l), ref)
		r.none(l)
		if r.lost != 1 {
			r.t.Errorf("%d answers were lost, want 1", r.lost)
		}
	})

	each("what the system refuses is the lead's trouble", func(r *relation, l lead.Lead) {
		l = s.bad(l)
		_, err := r.Push(r.t.Context(), connectortest.Created(l), "")
		r.fails(err, connectors.Lead, l)
		r.none(l)
	})

	each("through the front door", frontDoor)

	for name, wrong := range s.places {
		each("a "+name+" that is not there", func(r *relation, l lead.Lead) {
			r.unsettled(map[string]any{name: wrong}, l)
		})
	}
	each("a bad credential", func(r *relation, l lead.Lead) {
		r.unsettled(map[string]any{s.secret: "wr0ng-s3cret"}, l)
	})
}

// unsettled holds all that can be asked under wrong settings to the fault of the settings.
func (r *relation) unsettled(settings map[string]any, l lead.Lead) {
	r.t.Helper()
	ref := r.push(connectortest.Created(l), "")
	wrong := r.real.open(r.t, settings)
	refused := func(err error) { // and nothing was changed
		r.t.Helper()
		r.fails(err, connectors.Setup, l)
		r.holds(l, ref)
	}
	ctx := r.t.Context()
	_, _, err := wrong.Connector.(connectors.Finder).Find(ctx, lead.Lead{ID: l.ID})
	refused(err)
	refused(wrong.Connector.(connectors.Checker).Check(ctx))
	for _, change := range []lead.Change{connectortest.Created(l), connectortest.Updated(connectortest.Edited(l)), connectortest.Deleted(l)} {
		known := ref
		if change.Op == lead.Create {
			known = ""
		}
		_, err = wrong.Push(ctx, change, known)
		refused(err)
	}
}

// frontDoor sends a lead's whole life through leadrelay as an operator runs it.
func frontDoor(r *relation, l lead.Lead) {
	t, dir := r.t, r.t.TempDir()
	program, at, key := filepath.Join(dir, "leadrelay"), address(t), "a-key-of-this-test-alone"
	run(t, exec.Command("go", "build", "-o", program, "../../cmd/leadrelay"))
	recipe, err := filepath.Abs(filepath.Join("testdata", r.recipe+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]any{"recipe": recipe, "base_url": r.line.url}
	for name, value := range r.settings {
		settings[name] = value
	}
	config, _ := json.Marshal(map[string]any{
		"listen": at, "data_dir": filepath.Join(dir, "data"), "redis": map[string]any{"engine": "in-process"},
		"api_keys":   []any{map[string]any{"name": "test", "key": key}},
		"connectors": []any{map[string]any{"name": "crm", "type": "rest", "settings": settings}},
	})
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	checked, err := exec.Command(program, "check", "--config", file).CombinedOutput()
	if err != nil {
		t.Fatalf("check: %v\n%s", err, checked)
	}
	serve(t, exec.Command(program, "up", "--config", file), "http://"+at+"/healthz")

	leads := "http://" + at + "/api/v1/leads"
	sign := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
	eventually := func(what string, holds func([]person) bool) {
		t.Helper()
		patience := time.After(time.Minute)
		for again := time.NewTicker(50 * time.Millisecond); !holds(r.of(l)); {
			select {
			case <-patience:
				t.Fatalf("waited in vain for %s; the system holds %+v", what, r.of(l))
			case <-again.C:
			}
		}
	}

	r.loses(r.creates)
	var accepted struct {
		Data struct {
			LeadID string `json:"lead_id"`
		}
	}
	call(t, "POST", leads, sign, map[string]any{"name": l.Name, "email": l.Email, "source": "website", "phone": l.Custom["phone"]}, &accepted)
	l.ID = accepted.Data.LeadID
	eventually("the record", func(found []person) bool { return len(found) == 1 })

	call(t, "PUT", leads+"/"+l.ID, sign, map[string]any{"name": "Wilhelmina Featherstone"}, nil)
	eventually("the new name", func(found []person) bool { return len(found) == 1 && found[0].name == "Wilhelmina Featherstone" })
	if r.lost != 1 {
		t.Errorf("%d answers were lost, want 1", r.lost)
	}

	gone := r.of(l)[0].ref
	r.remove(gone)
	call(t, "PUT", leads+"/"+l.ID, sign, map[string]any{"name": "Zenobia Featherstone"}, nil)
	eventually("a new record", func(found []person) bool {
		return len(found) == 1 && found[0].ref != gone && found[0].name == "Zenobia Featherstone" && found[0].leadID == l.ID
	})

	call(t, "DELETE", leads+"/"+l.ID, sign, nil, nil)
	eventually("no record", func(found []person) bool { return len(found) == 0 })
}
