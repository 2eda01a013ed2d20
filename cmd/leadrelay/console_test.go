package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/console"
)

// TestTheConsoleIsThereForConfiguredOperatorsAlone signs in through `up`, until the operator is taken out.
func TestTheConsoleIsThereForConfiguredOperatorsAlone(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	without := r.read()
	client := &http.Client{}
	client.Jar, _ = cookiejar.New(nil)
	page := func(path string) (status int, at, text string) {
		t.Helper()
		resp, err := client.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Request.URL.Path, string(body)
	}
	if status, _, _ := page("/console"); status != 404 {
		t.Errorf("without operators: got %d", status)
	}
	const password = "correct horse battery"
	hash, err := console.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	r.reconfigure(without + fmt.Sprintf("operators: [{name: anna, password_hash: '%s'}]\n", hash))
	_, at, login := page("/console")
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(login)
	if at != "/console/login" || token == nil {
		t.Fatalf("got %s: %s", at, login)
	}
	resp, err := client.PostForm(r.url+"/console/login", url.Values{"token": {token[1]}, "name": {"anna"}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
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
