package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Latency is how long requests took.
type Latency struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

func latencyOf(took []time.Duration) Latency {
	if len(took) == 0 {
		return Latency{}
	}
	slices.Sort(took)
	return Latency{took[len(took)/2], took[len(took)*99/100]}
}

// load posts leads over persistent connections, each waiting for its answer before it posts the next. It talks
// HTTP by hand: on a shared machine a full client would cost as much as the server it measures.
type load struct {
	address string // host:port
	host    string // as the server knows itself
	tls     bool
	key     string
	way     string       // in which leads are posted: Create, Form or Batch; "": Create
	sent    atomic.Int64 // leads posted so far; makes each one's address its own

	keepIDs bool
	mu      sync.Mutex
	ids     []string // of accepted leads, with keepIDs
}

// Ways in which leads are posted.
const (
	Create = "create" // one by one
	Form   = "form"   // one by one, as a browser posts a website form
	Batch  = "batch"  // batchOf at once
)

const batchOf = 1000

// leads is how many leads one request has.
func (l *load) leads() int64 {
	if l.way == Batch {
		return batchOf
	}
	return 1
}

// appendRequest writes the next request; body is room for its body.
func (l *load) appendRequest(request, body []byte) (whole, room []byte) {
	path, contentType, further := "/api/v1/leads", "application/json", "Authorization: Bearer "+l.key+"\r\n"
	switch l.way {
	case Form:
		path, contentType = "/f/"+formName, "application/x-www-form-urlencoded"
		further = "Origin: https://www.example.com\r\nAccept: application/json\r\n"
		body = append(body, "name=John+Doe&email=john"...)
		body = strconv.AppendInt(body, l.sent.Add(1), 10)
		body = append(body, "%40bench.example.com&source="+source+"&note=Might+be+interested+in+React+course%2C+asked+for+a+call+back"...)
	case Batch:
		path += "/batch"
		body = append(body, '[')
		for i := range batchOf {
			if i > 0 {
				body = append(body, ',')
			}
			body = l.appendLead(body)
		}
		body = append(body, ']')
	default:
		body = l.appendLead(body)
	}
	request = fmt.Appendf(request, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path, l.host, further, contentType, len(body))
	return append(request, body...), body
}

// outcome is what one measurement of a load saw.
type outcome struct {
	Accepted int64
	Took     time.Duration
	Latency  Latency
}

func (o outcome) perSecond() float64 { return float64(o.Accepted) / o.Took.Seconds() }

// during posts over a number of connections for some time.
func (l *load) during(ctx context.Context, connections int, d time.Duration) (outcome, error) {
	end := time.Now().Add(d)
	return l.run(ctx, connections, func() bool { return time.Now().Before(end) })
}

// post posts n leads over a number of connections.
func (l *load) post(ctx context.Context, connections, n int) (outcome, error) {
	var begun atomic.Int64
	return l.run(ctx, connections, func() bool { return begun.Add(1) <= int64(n) })
}

func (l *load) run(ctx context.Context, connections int, goOn func() bool) (outcome, error) {
	all := make([][]time.Duration, connections)
	problems := make([]error, connections)
	var group sync.WaitGroup
	began := time.Now()
	for i := range connections {
		group.Go(func() { all[i], problems[i] = l.connection(ctx, goOn) })
	}
	group.Wait()
	took := time.Since(began)
	if err := errors.Join(problems...); err != nil {
		return outcome{}, err
	}
	merged := slices.Concat(all...)
	return outcome{int64(len(merged)) * l.leads(), took, latencyOf(merged)}, nil
}

func (l *load) connection(ctx context.Context, goOn func() bool) (took []time.Duration, err error) {
	conn, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	reader := bufio.NewReaderSize(conn, maxAnswer)
	var request, body []byte
	for ctx.Err() == nil && goOn() {
		request, body = l.appendRequest(request[:0], body[:0])
		began := time.Now()
		conn.SetDeadline(began.Add(30 * time.Second))
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		status, answer, err := readAnswer(reader)
		if err != nil {
			return took, err
		}
		if status != 200 {
			return took, fmt.Errorf("a lead was answered %d: %.200s", status, answer)
		}
		took = append(took, time.Since(began))
		if l.keepIDs {
			l.keep(answer)
		}
	}
	return took, ctx.Err()
}

func (l *load) dial(ctx context.Context) (net.Conn, error) {
	if l.tls {
		return (&tls.Dialer{}).DialContext(ctx, "tcp", l.address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
}

// source marks the leads of a benchmark.
const source = "leadrelay-bench"

// appendLead writes a lead of about 150 bytes.
func (l *load) appendLead(body []byte) []byte {
	body = append(body, `{"name":"John Doe","email":"john`...)
	body = strconv.AppendInt(body, l.sent.Add(1), 10)
	return append(body, `@bench.example.com","source":"`+source+`","note":"Might be interested in React course, asked for a call back"}`...)
}

var idMember = []byte(`"lead_id":"`)

func (l *load) keep(answer []byte) {
	_, rest, _ := bytes.Cut(answer, idMember)
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	l.mu.Lock()
	l.ids = append(l.ids, string(id))
	l.mu.Unlock()
}

// maxAnswer is more than any answer has, that to a batch included.
const maxAnswer = 1 << 20

var lengthHeader = []byte("Content-Length: ")

// readAnswer reads an answer with a Content-Length, as Go's server writes it for small bodies.
func readAnswer(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, errors.New("not an HTTP answer")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, errors.New("not an HTTP answer")
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, lengthHeader); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, errors.New("an answer without Content-Length")
	}
	if body, err = r.Peek(length); err != nil {
		return 0, nil, err
	}
	_, err = r.Discard(length)
	return status, body, err
}
