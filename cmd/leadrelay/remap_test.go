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

// TestTheConsoleMapsAgainByTheConfigurationAsItIsNow has a delivery that cannot be mapped, and its mapping mended while
// everything runs.
func TestTheConsoleMapsAgainByTheConfigurationAsItIsNow(t *testing.T) {
	const password = "correct horse battery"
	hash, err := console.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	operators := fmt.Sprintf("operators: [{name: anna, password_hash: '%s'}]\n", hash)
	r := startUp(t, t.TempDir(), "", operators+fmt.Sprintf(signup, "{to: email, from: body.email}"))
	body := `{"who":{"mail":"jane@example.com"}}`
	req, _ := http.NewRequest(http.MethodPost, r.url+"/in/signup", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Signature", hmacHex("a-secret-of-sixteen-characters", body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%v %v", err, resp)
	}
	resp.Body.Close()

	client := &http.Client{}
	client.Jar, _ = cookiejar.New(nil)
	read := func(resp *http.Response, err error) (at, text string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Request.URL.Path, string(page)
	}
	token := func(page string) string {
		t.Helper()
		found := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)
		if found == nil {
			t.Fatalf("no token in %s", page)
		}
		return found[1]
	}
	_, login := read(client.Get(r.url + "/console"))
	read(client.PostForm(r.url+"/console/login", url.Values{"token": {token(login)}, "name": {"anna"}, "password": {password}}))
	_, inbox := read(client.Get(r.url + "/console/inbox"))
	found := regexp.MustCompile(`/console/inbox/(lead_\w+)`).FindStringSubmatch(inbox)
	if found == nil {
		t.Fatalf("nothing waits: %s", inbox)
	}
	again := func() (at, text string) {
		t.Helper()
		return read(client.PostForm(r.url+"/console/inbox/"+found[1]+"/map", url.Values{"token": {token(inbox)}}))
	}
	if at, text := again(); at != "/console/inbox/"+found[1] || !strings.Contains(text, "It is no lead yet: cannot be mapped: email: is required") {
		t.Errorf("before it is mended: %s %s", at, text)
	}
	r.reconfigure(strings.Replace(r.read(), "body.email", "body.who.mail", 1))
	if at, text := again(); at != "/console/leads/"+found[1] || !strings.Contains(text, "jane@example.com") {
		t.Errorf("after it is mended: %s %s", at, text)
	}
	wait(t, "the lead to be in the sheet", func() bool { return strings.Contains(r.sheet(), "jane@example.com") })
}
