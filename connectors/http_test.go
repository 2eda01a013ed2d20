package connectors

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func request(t testing.TB, method, address string, body any) *http.Request {
	t.Helper()
	req, err := NewJSONRequest(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func client(t *testing.T, opts ClientOptions) *Client {
	c := NewClient(opts)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStatusErrorSaysWhoseFaultAStatusIs(t *testing.T) {
	for _, row := range []struct {
		fault    Fault
		statuses []int
	}{
		{Throttled, []int{429}},
		{Setup, []int{300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 410}},
		{Remote, []int{408, 423, 425, 500, 501, 502, 503, 504, 507, 520, 529, 599}},
		{Lead, []int{400, 402, 405, 406, 409, 411, 412, 413, 414, 415, 418, 421, 422, 424, 426, 428, 431, 451}},
	} {
		for _, status := range row.statuses {
			err := StatusError(&Response{Status: status})
			if fault, _ := FaultOf(err); err == nil || fault != row.fault {
				t.Errorf("%d: got %v, %v; want %v", status, fault, err, row.fault)
			}
		}
	}
	for status := 200; status < 300; status++ {
		if err := StatusError(&Response{Status: status}); err != nil {
			t.Errorf("%d: got %v", status, err)
		}
	}
	err := StatusError(&Response{Status: 503, Header: http.Header{"Retry-After": {"30"}}})
	if fault, wait := FaultOf(err); fault != Throttled || wait != 30*time.Second {
		t.Errorf("503 with Retry-After: got %v, %v", fault, wait)
	}
}

func TestDoSendsOnceAndReturnsTheWholeAnswer(t *testing.T) {
	var got *http.Request
	var sent string
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, sent = r, string(body)
		w.Header().Set("X-Id", "17")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":17}`)
	})
	answer, err := client(t, ClientOptions{}).Do(request(t, http.MethodPut, address+"/members", map[string]int{"n": 1}))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != 201 || answer.Header.Get("X-Id") != "17" || string(answer.Body) != `{"id":17}` {
		t.Errorf("got %d, %v, %s", answer.Status, answer.Header, answer.Body)
	}
	if got.Method != "PUT" || got.URL.Path != "/members" || sent != `{"n":1}` ||
		got.Header.Get("Content-Type") != "application/json" || got.UserAgent() != UserAgent {
		t.Errorf("sent %s %s %s %v", got.Method, got.URL, sent, got.Header)
	}
}

func TestAnAnswerThatNeverComesIsUnknownOnlyIfTheRequestMayHaveBeenApplied(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	listener.Close()
	cutting := serve(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	halving := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "{")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	gone := make(chan struct{})
	silent := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	t.Cleanup(func() { close(gone) })
	for _, row := range []struct {
		name, method, address string
		want                  Fault
	}{
		{"nobody listens", "POST", nobody, Remote},
		{"the name does not resolve", "POST", "http://no-such-host.invalid", Remote},
		{"a write is cut off", "POST", cutting, Unknown},
		{"a delete is cut off", "DELETE", cutting, Unknown},
		{"a read is cut off", "GET", cutting, Remote},
		{"the answer to a write is cut", "PATCH", halving, Unknown},
		{"the answer to a read is cut", "GET", halving, Remote},
		{"a write gets no answer in time", "POST", silent, Unknown},
		{"a read gets no answer in time", "GET", silent, Remote},
	} {
		t.Run(row.name, func(t *testing.T) {
			var body any
			if row.method != "GET" {
				body = "x"
			}
			c := client(t, ClientOptions{Timeout: 200 * time.Millisecond})
			answer, err := c.Do(request(t, row.method, row.address+"/s3cret-path?who=ann@example.com", body))
			if answer != nil || err == nil {
				t.Fatalf("got %v, %v", answer, err)
			}
			var classified *Error
			if !errors.As(err, &classified) || classified.Fault != row.want {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "ann@") {
				t.Errorf("the error holds the URL: %v", err)
			}
		})
	}
}

// asleep is the context of a process that was paused past its deadline and whose timers have not fired yet.
type asleep struct{ context.Context }

func (asleep) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestARequestPastItsDeadlineIsNotSent(t *testing.T) {
	address := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	req := request(t, "POST", address, "x")
	_, err := client(t, ClientOptions{}).Do(req.WithContext(asleep{context.Background()}))
	if fault, _ := FaultOf(err); !errors.Is(err, context.DeadlineExceeded) || fault != Remote {
		t.Errorf("got %v, %v", fault, err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Error("it was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := client(t, ClientOptions{}).Do(request(t, "POST", address, "x"))
	if fault, _ := FaultOf(err); err == nil || fault != Setup {
		t.Errorf("got %v, %v", fault, err)
	}
}

func TestALongAnswerIsReadUpToALimit(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"x":"`+strings.Repeat("y", 3*maxAnswer)+`"}`)
	})
	answer, err := client(t, ClientOptions{}).Do(request(t, "GET", address, nil))
	if err != nil || len(answer.Body) != maxAnswer {
		t.Fatalf("got %d bytes, %v", len(answer.Body), err)
	}
	if fault, _ := FaultOf(answer.JSON(new(any))); fault != Unknown {
		t.Errorf("half of a JSON text is %v", fault)
	}
}

func TestAReasonRepeatsNothingOfTheRequest(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"title":"Invalid Resource","detail":"Ann Lee (Ann) of Acme, ann@acme.example, +44 20 7946 0000 looks fake"}`)
	})
	body := map[string]any{"first": "Ann", "members": []any{map[string]any{"name": "Ann Lee", "company": "Acme"}}}
	answer, err := client(t, ClientOptions{}).Do(request(t, "POST", address, body))
	const want = "400 Invalid Resource: <redacted> (<redacted>) of <redacted>, <redacted>, <redacted> looks fake"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := answer.Redact("Ann Lee again"); got != "<redacted> again" {
		t.Errorf("got %q", got)
	}
}

func TestExplainTakesTheReasonOutOfVendorsAnswers(t *testing.T) {
	for _, row := range []struct{ body, want string }{
		{`{"title":"Member Exists","status":400,"detail":"use PUT"}`, "Member Exists: use PUT"},
		{`{"error":{"code":403,"message":"no permission","status":"PERMISSION_DENIED"}}`, "no permission: PERMISSION_DENIED"},
		{`{"error":"invalid_grant","error_description":"expired"}`, "expired: invalid_grant"},
		{`{"message":"jane.doe@example.com is taken"}`, "<redacted> is taken"},
		{`<html>no</html>`, ""}, {``, ""}, {`null`, ""}, {`[]`, ""}, {`{"title":7}`, ""}, {`{"error":null}`, ""},
	} {
		if got := Explain([]byte(row.body)); got != row.want {
			t.Errorf("%s: got %q, want %q", row.body, got, row.want)
		}
	}
}

func TestRetryAfterInBothForms(t *testing.T) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, row := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"120", 2 * time.Minute}, {" 1 ", time.Second}, {"0.5", 500 * time.Millisecond},
		{"Sat, 14 Mar 2026 15:10:26 GMT", time.Minute}, {"Saturday, 14-Mar-26 15:10:26 GMT", time.Minute},
		{"Sat, 14 Mar 2026 15:00:00 GMT", 0}, {"Fri, 14 Mar 2036 15:00:00 GMT", maxRetryAfter},
		{"0", 0}, {"-5", 0}, {"1e300", maxRetryAfter}, {"Inf", maxRetryAfter}, {"NaN", 0}, {"soon", 0},
	} {
		if got := RetryAfter(http.Header{"Retry-After": {row.value}}, now); got != row.want {
			t.Errorf("%q: got %s, want %s", row.value, got, row.want)
		}
	}
}

func TestRefusePrivateDialsOnlyPublicAddresses(t *testing.T) {
	for _, row := range []struct {
		refused   bool
		addresses []string
	}{
		{true, []string{
			"127.0.0.1:80", "127.255.255.254:80", "0.0.0.0:80", "0.1.2.3:80", "10.0.0.1:80", "172.16.0.1:80",
			"172.31.255.255:80", "192.168.0.1:80", "169.254.169.254:80", "100.64.0.1:80", "100.127.255.255:80",
			"192.0.0.1:80", "192.0.2.1:80", "198.18.0.1:80", "198.51.100.1:80", "203.0.113.1:80", "224.0.0.1:80",
			"239.255.255.255:80", "240.0.0.1:80", "255.255.255.255:80",
			"[::]:80", "[::1]:80", "[::7f00:1]:80", "[fe80::1]:80", "[fe80::1%lo]:80", "[fc00::1]:80", "[fd12::1]:80",
			"[fec0::1]:80", "[ff02::1]:80", "[2001:db8::1]:80", "[2001::1]:80", "[2002:7f00:1::]:80", "[100::1]:80",
			"[64:ff9b::7f00:1]:80", "[64:ff9b:1::1]:80", "[::ffff:127.0.0.1]:80", "[::ffff:10.0.0.1]:80",
			"[::ffff:a9fe:a9fe]:80",
			"localhost:80", "example.com:80", "127.0.0.1", "", "/run/socket",
		}},
		{false, []string{
			"1.1.1.1:443", "8.8.8.8:80", "172.15.255.255:80", "172.32.0.1:80", "100.63.255.255:80", "100.128.0.1:80",
			"192.0.1.1:80", "198.20.0.1:80", "223.255.255.255:80", "[2606:4700::1111]:443", "[2a00:1450::1]:443",
			"[::ffff:1.1.1.1]:443",
		}},
	} {
		for _, address := range row.addresses {
			if err := refusePrivate(address); (err != nil) != row.refused {
				t.Errorf("%q: got %v, want it refused: %v", address, err, row.refused)
			}
		}
	}
}

func TestAPublicOnlyClientChecksAfterDNS(t *testing.T) {
	address := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") })
	address = strings.Replace(address, "127.0.0.1", "localhost", 1)
	_, err := client(t, ClientOptions{PublicOnly: true}).Do(request(t, "POST", address, "x"))
	if fault, _ := FaultOf(err); err == nil || fault != Setup || !strings.Contains(err.Error(), "allow_private") {
		t.Errorf("got %v, %v", fault, err)
	}
}

func TestAnAddressThatIsNoURLIsASetupFaultThatDoesNotShowIt(t *testing.T) {
	_, err := NewJSONRequest(context.Background(), "POST", "http://s3cret host/%zz", nil)
	if fault, _ := FaultOf(err); err == nil || fault != Setup || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v, %v", fault, err)
	}
	_, err = NewJSONRequest(context.Background(), "POST", "http://example.com", func() {})
	if fault, _ := FaultOf(err); err == nil || fault != Lead {
		t.Errorf("got %v, %v", fault, err)
	}
}

func TestRedactRemovesWhatIdentifiesAPerson(t *testing.T) {
	for _, row := range []struct {
		text   string
		values []string
		want   string
	}{
		{"nothing here: 400", nil, "nothing here: 400"},
		{"jane.doe+x@example.com exists", nil, "<redacted> exists"},
		{"<jane@example.com>, 'joe@example.org'", nil, "<<redacted>>, '<redacted>'"},
		{"GET /members/jane%40example.com", nil, "GET <redacted>"},
		{"zoë@exämple.de", nil, "<redacted>"},
		{"call +44 20 7946 0958 or (020) 7946-0958", nil, "call <redacted> or (<redacted>"},
		{"Ann Lee and Ann", []string{"Ann", "Ann Lee"}, "<redacted> and <redacted>"},
		{"too short: Al", []string{"Al"}, "too short: Al"},
		{"red lead", []string{"red", "lead"}, "<redacted> <redacted>"},
		{strings.Repeat("é", 301), nil, strings.Repeat("é", 300) + "…"},
	} {
		if got := Redact(row.text, row.values...); got != row.want {
			t.Errorf("%q without %q: got %q, want %q", row.text, row.values, got, row.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("Ann Lee <ann@example.com> +44 20 7946 0958", "Ann", "Ann Lee")
	f.Add("a@b@c%40d", "abca", "bcab")
	f.Add(strings.Repeat("x", 400), "xxx", "")
	f.Fuzz(func(t *testing.T, text, first, second string) {
		got := Redact(text, first, second)
		if utf8.RuneCountInString(got) > maxReason+1 {
			t.Errorf("%d runes", utf8.RuneCountInString(got))
		}
		if addressPattern.MatchString(got) {
			t.Errorf("an address is left: %q", got)
		}
		for _, v := range []string{first, second} {
			// What the placeholder and the cut bring in may spell a value by accident.
			if len(v) > 2 && utf8.ValidString(v) && !strings.ContainsAny(v, "<>…\uFFFD") && !strings.Contains("redacted", v) && strings.Contains(got, v) {
				t.Errorf("%q is left in %q", v, got)
			}
		}
	})
}

func FuzzStatusError(f *testing.F) {
	f.Add(400, []byte(`{"title":"no","detail":{"a":[1]}}`), "7")
	f.Add(503, []byte(`{"error":{"message":"x@example.com"}}`), "Sat, 14 Mar 2026 15:10:26 GMT")
	f.Fuzz(func(t *testing.T, status int, body []byte, retryAfter string) {
		err := StatusError(&Response{Status: status, Body: body, Header: http.Header{"Retry-After": {retryAfter}}})
		if success := status >= 200 && status < 300; (err == nil) != success {
			t.Fatalf("%d: got %v", status, err)
		}
		if err == nil {
			return
		}
		if _, wait := FaultOf(err); wait < 0 || wait > maxRetryAfter {
			t.Errorf("a wait of %s", wait)
		}
		if text := err.Error(); addressPattern.MatchString(text) || len(text) > 4*maxReason+100 {
			t.Errorf("got %q", text)
		}
	})
}

func FuzzRefusePrivate(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{10, 1, 2, 3})
	f.Add([]byte{169, 254, 169, 254})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ip, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		plain := refusePrivate(netip.AddrPortFrom(ip, 80).String())
		if (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()) && plain == nil {
			t.Errorf("%s is dialled", ip)
		}
		if ip.Is4() {
			mapped := netip.AddrFrom16(ip.As16())
			if (refusePrivate(netip.AddrPortFrom(mapped, 80).String()) == nil) != (plain == nil) {
				t.Errorf("%s and %s differ", ip, mapped)
			}
		}
	})
}

func TestJSONOfAnAnswerThatIsNotJSONIsUnknown(t *testing.T) {
	for _, body := range []string{"", "<html>", `{"id":`, `{"id":"text"}`} {
		var got struct{ ID int }
		err := (&Response{Status: 200, Body: []byte(body)}).JSON(&got)
		if fault, _ := FaultOf(err); err == nil || fault != Unknown {
			t.Errorf("%q: got %v, %v", body, fault, err)
		}
	}
	var got struct{ ID int }
	if err := (&Response{Status: 200, Body: []byte(`{"id":7}`)}).JSON(&got); err != nil || got.ID != 7 {
		t.Errorf("got %v, %v", got, err)
	}
}
