package connectors

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
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
		{Setup, []int{300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 407, 410}},
		{Remote, []int{408, 423, 425, 500, 501, 502, 503, 504, 507, 520, 529, 599}},
		{Lead, []int{400, 406, 409, 411, 412, 413, 414, 415, 418, 421, 422, 424, 426, 428, 431, 451}},
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
	for status, want := range map[int]string{410: "410 Gone", 520: "520", 307: "307 redirects are not followed; set the final address"} {
		if err := StatusError(&Response{Status: status, Body: []byte("<html>")}); err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
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
	const nobody = "http://127.0.0.1:1"
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
	const enough = 2 * time.Second // to connect, on a machine with too much to do
	for _, row := range []struct {
		name, method, address string
		want                  Fault
		notSent               bool
	}{
		{"nobody listens", "POST", nobody, Remote, true},
		{"the name does not resolve", "POST", "http://no-such-host.invalid", Remote, true},
		{"a write is cut off", "POST", cutting, Unknown, false},
		{"a delete is cut off", "DELETE", cutting, Unknown, false},
		{"a read is cut off", "GET", cutting, Remote, false},
		{"the answer to a write is cut", "PATCH", halving, Unknown, false},
		{"the answer to a read is cut", "GET", halving, Remote, false},
		{"a write gets no answer in time", "POST", silent, Unknown, false},
		{"a read gets no answer in time", "GET", silent, Remote, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var body any
			if row.method != "GET" {
				body = "x"
			}
			c := client(t, ClientOptions{Timeout: enough})
			answer, err := c.Do(request(t, row.method, row.address+"/s3cret-path?who=ann@example.com", body))
			if answer != nil || err == nil {
				t.Fatalf("got %v, %v", answer, err)
			}
			var classified *Error
			if !errors.As(err, &classified) || classified.Fault != row.want || classified.NotSent != row.notSent {
				t.Errorf("got %#v, want %v, not sent: %v", classified, row.want, row.notSent)
			}
			for _, part := range []string{"s3cret", "ann@", "127.0.0.1", "no-such-host"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error holds the URL: %v", err)
				}
			}
		})
	}
}

func TestAnErrorRepeatsNothingOfWhatCameInPlaceOfHTTP(t *testing.T) {
	for name, answer := range map[string]string{
		"an echo":                  "POST /s3cret?token=s3cret HTTP/1.1\r\n",
		"another protocol":         "s3cret\r\n",
		"a header without a colon": "HTTP/1.1 200 OK\r\ns3cret\r\n\r\n",
		"a length that is none":    "HTTP/1.1 200 OK\r\nContent-Length: s3cret\r\n\r\n",
		"an unknown encoding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: s3cret\r\n\r\n",
	} {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, answer)
		})
		_, err := client(t, ClientOptions{}).Do(request(t, "POST", address, "x"))
		if fault, _ := FaultOf(err); err == nil || fault != Unknown || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, %v", name, fault, err)
		}
	}
}

func TestAServerThatCannotBeTrustedIsASetupFaultThatSaysWhy(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	trusted := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	later := func() time.Time { return time.Now().AddDate(1000, 0, 0) }
	for _, row := range []struct {
		address string
		tls     *tls.Config
		want    string
	}{
		{server.URL, nil, "signed by an unknown authority"},
		{strings.Replace(server.URL, "127.0.0.1", "localhost", 1), &tls.Config{RootCAs: trusted}, "for another name"},
		{server.URL, &tls.Config{RootCAs: trusted, Time: later}, "expired"},
		{strings.Replace(plain, "http://", "https://", 1), nil, "does not speak TLS"},
	} {
		c := client(t, ClientOptions{})
		c.http.Transport.(*http.Transport).TLSClientConfig = row.tls
		_, err := c.Do(request(t, "POST", row.address, "x"))
		if fault, _ := FaultOf(err); err == nil || fault != Setup || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "localhost") {
			t.Errorf("got %v, %v; want a setup fault: %s", fault, err, row.want)
		}
	}
}

// wire carries connections to a server and can fall silent, as a network does that drops what it is given.
type wire struct {
	net.Listener
	accepted atomic.Int32
	silent   atomic.Int32 // connections up to this one carry nothing any more
}

func newWire(t *testing.T, to string) *wire {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: listener}
	t.Cleanup(func() { w.Close() })
	carry := func(number int32, from, to net.Conn) {
		defer to.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			if w.silent.Load() < number {
				to.Write(buffer[:n])
			}
		}
	}
	go func() {
		for {
			conn, err := w.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				conn.Close()
				return
			}
			number := w.accepted.Add(1)
			go carry(number, conn, server)
			go carry(number, server, conn)
		}
	}()
	return w
}

func TestAConnectionThatDiedSilentlyIsReplaced(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	between := newWire(t, server.Listener.Addr().String())
	c := client(t, ClientOptions{Timeout: 500 * time.Millisecond})
	transport := c.http.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	transport.HTTP2.SendPingTimeout /= 50
	transport.HTTP2.PingTimeout /= 50
	address := "https://" + between.Addr().String()
	for { // a slow machine may take more than one attempt
		if answer, err := c.Do(request(t, "POST", address, "x")); err == nil {
			if string(answer.Body) != "HTTP/2.0" {
				t.Fatalf("%s is spoken, want HTTP/2.0", answer.Body)
			}
			break
		}
	}
	between.silent.Store(between.accepted.Load())
	for range 100 {
		if _, err := c.Do(request(t, "POST", address, "x")); err == nil {
			return
		}
	}
	t.Error("a hundred requests went into the dead connection")
}

// The environment's proxy is read once in a process's life.
func TestAProxyIsUsedButByPublicOnlyClients(t *testing.T) {
	const receiver = "http://receiver.example/s3cret"
	switch os.Getenv("PROXY_TEST") {
	case "":
		var asked atomic.Int32
		proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				w.WriteHeader(http.StatusProxyAuthRequired)
				return
			}
			asked.Add(1)
		})
		child := exec.Command(os.Args[0], "-test.run=^TestAProxyIsUsedButByPublicOnlyClients$")
		child.Env = append(slices.DeleteFunc(os.Environ(), func(pair string) bool {
			return strings.HasPrefix(strings.ToLower(pair), "no_proxy=")
		}), "PROXY_TEST=child", "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy)
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("the proxy was asked %d times, want once", n)
		}
	case "child":
		if _, err := client(t, ClientOptions{}).Do(request(t, "POST", receiver, "x")); err != nil {
			t.Error(err)
		}
		_, err := client(t, ClientOptions{}).Do(request(t, "POST", strings.Replace(receiver, "http", "https", 1), "x"))
		if fault, _ := FaultOf(err); err == nil || fault != Setup || err.Error() != "no answer: 407 from the proxy" {
			t.Errorf("got %v, %v", fault, err)
		}
		_, err = client(t, ClientOptions{PublicOnly: true}).Do(request(t, "POST", "http://10.1.2.3/", "x"))
		if fault, _ := FaultOf(err); err == nil || fault != Setup || !strings.Contains(err.Error(), "allow_private") {
			t.Errorf("got %v, %v", fault, err)
		}
	}
}

// asleep is the context of a process that was paused past its deadline and whose timers have not fired yet.
type asleep struct{ context.Context }

func (asleep) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestARequestPastItsDeadlineIsNotSent(t *testing.T) {
	address := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	req := request(t, "POST", address, "x")
	_, err := client(t, ClientOptions{}).Do(req.WithContext(asleep{context.Background()}))
	var classified *Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &classified) || classified.Fault != Remote || !classified.NotSent {
		t.Errorf("got %v", err)
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
		io.WriteString(w, `{"title":"Invalid Resource","detail":"Ann Lee (Ann) of Acme, ann@acme.example, +44 20 7946 0000 looks fake: 85200 is not 7"}`)
	})
	body := map[string]any{"first": "Ann", "age": 7, "salary": 85200, "members": []any{map[string]any{"name": "Ann Lee", "company": "Acme"}}}
	answer, err := client(t, ClientOptions{}).Do(request(t, "POST", address, body))
	const want = "400 Invalid Resource: <redacted> (<redacted>) of <redacted>, <redacted>, <redacted> looks fake: <redacted> is not 7"
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
		{"Sat Mar 14 15:10:26 2026", time.Minute}, {"Sat, 14 Mar 2026 25:10:26 GMT", 0},
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
			"[::ffff:a9fe:a9fe]:80", "[::ffff:0:7f00:1]:80", "[64:ff9b::a9fe:a9fe]:80", "[2001:20::1]:80", "[3fff::1]:80",
			"[4000::1]:80", "[5f00::1]:80", "192.88.99.1:80",
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
		{"a list is at fault, A. says", []string{"a"}, "a list is at fault, A. says"},
		{"Li Al is no name", []string{"Li", "Al", "no"}, "<redacted> <redacted> is no name"},
		{"alLi", []string{"Li"}, "alLi"},
		{"you cannot; Ann's annual ann, ANN!", []string{"Ann"}, "you cannot; <redacted>'s annual <redacted>, <redacted>!"},
		{"MCALLISTER-o'neil mcallister", []string{"McAllister"}, "<redacted>-o'neil <redacted>"},
		{"王小明は無効、王は", []string{"王小明", "王"}, "<redacted>は無効、<redacted>は"},
		{"?q=Anne+Lee&n=Anne%20Lee", []string{"Anne Lee"}, "?q=<redacted>&n=<redacted>"},
		{`Q &amp; D, Q \u0026 D, Q%20%26%20D, q & d`, []string{"Q & D"}, "<redacted>, <redacted>, <redacted>, <redacted>"},
		{`"say \"hello\"\n" is long`, []string{"say \"hello\""}, `"<redacted>\n" is long`},
		{"note 'Please ring my br…' is too long", []string{"Please ring my brother Sam"}, "note '<redacted>…' is too long"},
		{"Ann of ann@lee-bakery.example", []string{"Ann"}, "<redacted> of <redacted>"},
		{"note: " + strings.Repeat("secret ", 5000), []string{strings.Repeat("secret ", 5000)}, "note: <redacted>…"},
		{"bad: \xff", nil, "bad: \uFFFD"},
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
			if utf8.RuneCountInString(v) >= shortValue && strings.TrimSpace(v) == v && utf8.ValidString(v) && !strings.ContainsAny(v, "<>…\uFFFD") && !strings.Contains("redacted", v) && strings.Contains(got, v) {
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
