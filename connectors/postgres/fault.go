package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/leadrelay/leadrelay/connectors"
)

const codeReadOnly = "25006"

const readOnly = "the server takes no writes: is it a standby? With several hosts in url, target_session_attrs=read-write finds the one that does"

// faultOf says whose trouble a SQLSTATE is: https://www.postgresql.org/docs/current/errcodes-appendix.html
func faultOf(code string) connectors.Fault {
	switch code {
	case "53300": // too many connections
		return connectors.Throttled
	case "08007", "40003": // the server itself does not know what became of the transaction
		return connectors.Unknown
	case codeReadOnly, "55000": // a view that takes no rows, a key that is DEFERRABLE
		return connectors.Setup
	}
	switch code[:min(2, len(code))] {
	case "0A", // not supported: ON CONFLICT of what is no table
		"28", // no such user, wrong password, not allowed by pg_hba.conf
		"3D", // no such database
		"3F", // no such schema
		"42": // no such table or column, no privilege
		return connectors.Setup
	case "22", // a value that does not fit
		"23", // a constraint
		"44", // a view's check option
		"54", // too much for an index, above all
		"P0": // a trigger's RAISE
		return connectors.Lead
	}
	return connectors.Remote
}

// meaning is our text for a SQLSTATE, or for its class where it has none.
func meaning(code string) string {
	for _, key := range []string{code, code[:min(2, len(code))]} {
		if text, ok := meanings[key]; ok {
			return text
		}
	}
	return "the server refuses it"
}

var meanings = map[string]string{
	"0A":         "the table is of a kind that takes no INSERT … ON CONFLICT",
	"08":         "the server or a pooler before it has trouble with the connection",
	"22":         "a value does not fit its column's type",
	"22001":      "a text is too long for its column",
	"22003":      "a number is too large for its column",
	"23":         "a constraint does not allow a value",
	"23502":      "the column must not be empty",
	"23503":      "a foreign key does not allow it",
	"23505":      "another row has the same value where it must be unique",
	"23514":      "a check does not allow a value",
	codeReadOnly: readOnly,
	"3F":         "there is no such schema",
	"40001":      "another transaction was in the way",
	"40P01":      "a deadlock with another transaction",
	"42":         "the table is not as it was when it was last looked at, or a trigger of it fails",
	"42501":      "a privilege is missing, or a row-level security policy does not allow the row",
	"44":         "a view's check option does not allow it",
	"53100":      "its disk is full",
	"53200":      "it is out of memory",
	"53300":      "it has no connection left",
	"54":         "a value is too large for an index or another limit of the server",
	"55000":      "the table, or its key, is of a kind that takes no INSERT … ON CONFLICT",
	"55P03":      "another session held a lock for too long",
	"57014":      "it took longer than timeout, or was called off",
	"57P01":      "the server is shutting down",
	"57P02":      "the server has crashed",
	"57P03":      "the server is starting or shutting down",
	"P0":         "a trigger refuses it",
}

// answered is an error that the server told of.
type answered struct{ code, text string }

func (a *answered) Error() string { return a.code + ": " + a.text }

// codeOf is the SQLSTATE of an error of call, "" where it has none.
func codeOf(err error) string {
	var a *answered
	if errors.As(err, &a) {
		return a.code
	}
	return ""
}

// refused says whether the server has said that the table, or a row, is not as it must be.
func refused(err error) bool {
	fault, _ := connectors.FaultOf(err)
	return codeOf(err) != "" && (fault == connectors.Setup || fault == connectors.Lead)
}

// divisible says whether err may be about one of several rows, and the others would be written without it.
func divisible(err error) bool {
	switch codeOf(err) {
	case "40001", "40P01", "55P03", "57014":
		return true
	}
	fault, _ := connectors.FaultOf(err)
	return err != nil && fault == connectors.Lead
}

// refusal is an error that the server told of statements. Of the server's own text it repeats names only.
func refusal(e *pgconn.PgError, statements []statement) *connectors.Error {
	text := meaning(e.Code)
	switch column := columnOf(e, statements); {
	case strings.HasPrefix(e.Code, "P0"): // a trigger may say anything, as a name too
	case column != "":
		text += " (column " + quote(column) + ")"
	case e.ConstraintName != "":
		text += " (constraint " + quote(e.ConstraintName) + ")"
	case e.Code == "22001":
		if name := sizedType.FindString(e.Message); name != "" {
			text += " (" + name + ")"
		}
	}
	return &connectors.Error{Fault: faultOf(e.Code), Err: &answered{e.Code, text}}
}

var (
	// sizedType is in the message of a text that is too long, whatever the language of the rest.
	sizedType = regexp.MustCompile(`character(?: varying)?\(\d+\)|bit(?: varying)?\(\d+\)`)
	// parameter is how the context of an error names the parameter that could not be read.
	parameter = regexp.MustCompile(`\$(\d+)(?: = |\n|$)`)
)

// columnOf is the column that the server refuses a value of, "" where it does not tell.
func columnOf(e *pgconn.PgError, statements []statement) string {
	if e.ColumnName != "" || !strings.HasPrefix(e.Code, "22") {
		return e.ColumnName
	}
	found := parameter.FindAllStringSubmatch(e.Where, -1)
	if found == nil {
		return ""
	}
	n, _ := strconv.Atoi(found[len(found)-1][1])
	for _, s := range statements {
		if s.columns != nil && n >= 1 && n <= len(s.values) {
			return s.columns[(n-1)%len(s.columns)]
		}
	}
	return ""
}

// unconnected is why there is no connection. No lead is on its way yet, so the server's own words may be shown.
func (c *connector) unconnected(err error) *connectors.Error {
	e := &connectors.Error{NotSent: true}
	var answer *pgconn.PgError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answer):
		e.Fault = faultOf(answer.Code)
		e.Err = &answered{answer.Code, connectors.Redact(answer.Message, c.pool.Config().ConnConfig.Password)}
	case errors.As(err, &certificate):
		e.Fault = connectors.Setup
		e.Err = errors.New("the server's certificate is not valid or is not trusted; sslrootcert in url may name the file of its authority")
	case strings.Contains(err.Error(), "server refused TLS connection"): // an error that pgconn gives no name
		e.Fault = connectors.Setup
		e.Err = errors.New("the server does not speak TLS, which sslmode in url asks for")
	default:
		e.Err = fmt.Errorf("no connection: %w", reason(err))
	}
	return e
}

func notSent(err error) *connectors.Error {
	return &connectors.Error{NotSent: true, Err: fmt.Errorf("not sent: %w", err)}
}

// unanswered is a call without a whole answer. pgconn.SafeToRetry does not tell whether it went out: a connection that
// breaks while the answer is awaited may be reported as one that was closed before.
func unanswered(err error) *connectors.Error {
	return &connectors.Error{Fault: connectors.Unknown, Err: fmt.Errorf("no whole answer: %w", reason(err))}
}

// reason is an error of the network without its text, which may hold names and addresses.
func reason(err error) error {
	var (
		dns     *net.DNSError
		number  syscall.Errno
		network net.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &dns) && dns.IsNotFound:
		return errors.New("no such host")
	case errors.As(err, &dns):
		return errors.New("the host name cannot be looked up")
	case errors.As(err, &network) && network.Timeout():
		return errors.New("timed out")
	case errors.As(err, &number):
		return number
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, pgconn.ErrConnClosed):
		return errors.New("the connection was closed")
	}
	return errors.New("the connection failed")
}

// fail puts an error's place before it; its fault stays.
func fail(what string, err error) error { return fmt.Errorf("postgres: %s: %w", what, err) }

// failure is a new error of that fault.
func failure(fault connectors.Fault, what, format string, args ...any) error {
	return fail(what, &connectors.Error{Fault: fault, Err: fmt.Errorf(format, args...)})
}
