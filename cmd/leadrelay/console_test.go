package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
)

// visitor is somebody's browser at the console.
type visitor struct {
	r      *running
	client *http.Client
}

func (r *running) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &visitor{r, &http.Client{Jar: jar}}
}

// page is what a path shows, and at which it does.
func (v *visitor) page(path string) (status int, at, text string) {
	v.r.t.Helper()
	resp, err := v.client.Get(v.r.url + path)
	if err != nil {
		v.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Request.URL.Path, string(body)
}

const annasPassword = "correct horse battery"

// annaMaySignIn is an operator's entry in a configuration.
func annaMaySignIn(t *testing.T) string {
	t.Helper()
	hash, err := console.HashPassword(annasPassword)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("operators: [{name: anna, password_hash: '%s'}]\n", hash)
}

// login signs anna in.
func (v *visitor) login() {
	v.r.t.Helper()
	_, at, login := v.page("/console")
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(login)
	if at != "/console/login" || token == nil {
		v.r.t.Fatalf("got %s: %s", at, login)
	}
	resp, err := v.client.PostForm(v.r.url+"/console/login", url.Values{"token": {token[1]}, "name": {"anna"}, "password": {annasPassword}})
	if err != nil {
		v.r.t.Fatal(err)
	}
	resp.Body.Close()
}

// TestTheConsoleIsThereForConfiguredOperatorsAlone signs in through `up`, until the operator is taken out.
func TestTheConsoleIsThereForConfiguredOperatorsAlone(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	without := r.read()
	v := r.visitor()
	page := v.page
	if status, _, _ := page("/console"); status != 404 {
		t.Errorf("without operators: got %d", status)
	}
	r.reconfigure(without + annaMaySignIn(t))
	v.login()
	id := r.post(`{"email":"jane@example.com","name":"Jane"}`)
	if status, at, text := page("/console"); status != 200 || at != "/console" || !strings.Contains(text, "sheet") {
		t.Errorf("signed in: got %d at %s: %s", status, at, text)
	}
	if status, _, text := page("/console/leads/" + id); status != 200 || !strings.Contains(text, "jane@example.com") {
		t.Errorf("the lead: got %d %s", status, text)
	}
	if said := "operators[0]"; strings.Contains(r.out.String(), said) {
		t.Errorf("the log has %s", said)
	}

	// A hash that cannot be read is a configuration that is not taken over.
	r.write(without + "operators: [{name: anna, password_hash: '$argon2id$v=19$m=1'}]\n")
	wait(t, "the configuration to be refused", func() bool { return strings.Contains(r.out.String(), "not taken over") })
	if status, at, _ := page("/console"); status != 200 || at != "/console" {
		t.Errorf("after a configuration that is not taken over: got %d at %s", status, at)
	}
	r.reconfigure(without)
	if status, _, _ := page("/console"); status != 404 {
		t.Errorf("after the operator was taken out: got %d", status)
	}
}

// TestAnIdentityProviderThatIsAwayHoldsUpNothing starts `up` with one that does not answer, and takes others over while it
// runs. Leads and passwords do without it.
func TestAnIdentityProviderThatIsAwayHoldsUpNothing(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes calls and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	provider := func(allow string) string {
		return fmt.Sprintf("oidc: {issuer: 'http://%s', client_id: console, client_secret: hush-hush, allow: [%s]}\n", silent.Addr(), allow)
	}
	r := startUp(t, t.TempDir(), "", annaMaySignIn(t), provider("{email: anna@example.com}"))
	if !strings.Contains(r.out.String(), "/console\n") {
		t.Errorf("the greeting is %s", r.out)
	}
	r.post(`{"email":"jane@example.com"}`)
	v := r.visitor()
	page := func() string {
		t.Helper()
		_, _, text := v.page("/console")
		return text
	}
	if text := page(); !strings.Contains(text, `href="/console/openid"`) {
		t.Fatalf("the login page is %s", text)
	}
	v.login()
	if text := page(); !strings.Contains(text, "Sign out") {
		t.Errorf("the password does not do: %s", text)
	}

	// P8: what is wrong with it changes nothing, and is said without its secret.
	good := r.read()
	r.write(strings.Replace(good, "{email: anna@example.com}", "{email: anna@example.com, domain: example.com}", 1))
	wait(t, "the configuration to be refused", func() bool { return strings.Contains(r.out.String(), "oidc.allow[0]: must have one of") })
	r.reconfigure(strings.Replace(good, "anna@example.com", "otto@example.com", 1))
	r.post(`{"email":"john@example.com"}`)
	if text := page(); !strings.Contains(text, "Sign out") {
		t.Errorf("a session by password ends with another provider: %s", text)
	}
	// Without passwords there is a console still; without both there is none.
	without := regexp.MustCompile(`(?m)^operators:.*\n`).ReplaceAllString(good, "")
	r.reconfigure(without)
	if text := page(); !strings.Contains(text, `href="/console/openid"`) || strings.Contains(text, `type="password"`) {
		t.Errorf("without passwords: %s", text)
	}
	r.reconfigure(regexp.MustCompile(`(?m)^oidc:.*\n`).ReplaceAllString(without, ""))
	if text := page(); !strings.Contains(text, "there is no console") {
		t.Errorf("without anybody: %s", text)
	}
	if strings.Contains(r.out.String(), "hush") {
		t.Errorf("the log has the secret: %s", r.out)
	}
}

// TestAsynqsMonitorShowsTheQueuesOfEitherEngine: what `up` brings is what the monitor looks into.
func TestAsynqsMonitorShowsTheQueuesOfEitherEngine(t *testing.T) {
	for _, engine := range []string{config.EngineServer, config.EngineInProcess} {
		t.Run(engine, func(t *testing.T) {
			r := startUp(t, t.TempDir(), engine, annaMaySignIn(t))
			r.post(`{"email":"jane@example.com"}`)
			v := r.visitor()
			v.login()
			wait(t, "the queue of the sheet", func() bool {
				_, _, text := v.page("/console/queues/api/queues")
				return strings.Contains(text, `"queue":"sheet"`)
			})
			for _, path := range []string{"/console/queues", "/console/queues/api/servers", "/console/queues/api/queue_stats", "/console/queues/api/redis_info"} {
				if status, _, text := v.page(path); status != http.StatusOK {
					t.Errorf("%s: %d %s", path, status, text)
				}
			}
		})
	}
}
