package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// sent is what a post holds by the names of its fields: a text, a list of those where the name came several times or
// ends in [], or what JSON holds.
type sent map[string]any

// text is the first text of a field, "" without one.
func (s sent) text(name string) string {
	value := s[name]
	if list, several := value.([]any); several && len(list) > 0 {
		value = list[0]
	}
	text, _ := value.(string)
	return text
}

// maxFields bounds how many fields a post may hold, each of several of a name counted: more than a lead has.
const maxFields = 500

var errManyFields = refused{status: http.StatusRequestEntityTooLarge, code: "payload_too_large",
	message: "This form has more than " + strconv.Itoa(maxFields) + " fields."}

func badForm(why string) error {
	return refused{status: http.StatusBadRequest, code: "bad_request", message: "The form is not well encoded: " + why + "."}
}

// decode reads a post's body. The error is how it is answered.
func (p *post) decode() (sent, error) {
	if err := checkEncoding(p.r); err != nil {
		return nil, err
	}
	media, params, err := mime.ParseMediaType(p.r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	charset := params["charset"]
	if media == "multipart/form-data" {
		body := &interrupted{Reader: http.MaxBytesReader(p.w, p.r.Body, p.BodyBytes)}
		all, err := decodeMultipart(body, params["boundary"])
		if body.err != nil {
			return nil, unread(p.w, body.err)
		}
		if err != nil {
			return nil, err
		}
		return all.sent(charset)
	}
	if media != "application/x-www-form-urlencoded" && (media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return nil, refused{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type",
			message: "A form is sent as application/x-www-form-urlencoded, multipart/form-data or application/json."}
	}
	body, err := wholeBody(p.w, p.r, p.BodyBytes)
	if err != nil {
		return nil, err
	}
	if media == "application/json" {
		fields, err := decodeJSON(body)
		if len(fields) > maxFields {
			return nil, errManyFields
		}
		return fields, err
	}
	all, err := decodeURLEncoded(string(body))
	if err != nil {
		return nil, err
	}
	return all.sent(charset)
}

// decodeJSON reads a JSON object, numbers as they were written.
func decodeJSON(body []byte) (fields sent, err error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: it is not UTF-8", lead.ErrMalformed)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil || fields == nil {
		return nil, lead.ErrMalformed
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows it", lead.ErrMalformed)
	}
	return fields, nil
}

// pairs are the fields of a form in their order, in the encoding of its page.
type pairs []struct{ name, text string }

func (all *pairs) add(name, text string) error {
	if len(*all) == maxFields {
		return errManyFields
	}
	*all = append(*all, struct{ name, text string }{name, text})
	return nil
}

// decodeURLEncoded reads what https://url.spec.whatwg.org/#urlencoded-parsing describes.
func decodeURLEncoded(body string) (all pairs, err error) {
	all = make(pairs, 0, min(strings.Count(body, "&")+1, maxFields))
	for body != "" {
		var pair string
		pair, body, _ = strings.Cut(body, "&")
		name, text, _ := strings.Cut(pair, "=")
		name, badName := url.QueryUnescape(name)
		text, badText := url.QueryUnescape(text)
		if badName != nil || badText != nil {
			return nil, badForm("a % is not followed by two hexadecimal digits")
		}
		if err := all.add(name, text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// interrupted remembers why a reader failed: mime/multipart does not always say.
type interrupted struct {
	io.Reader
	err error
}

func (i *interrupted) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// decodeMultipart reads what https://www.rfc-editor.org/rfc/rfc7578 describes, but for files.
func decodeMultipart(body io.Reader, boundary string) (all pairs, err error) {
	if boundary == "" {
		return nil, badForm("its Content-Type has no boundary")
	}
	for parts := multipart.NewReader(body, boundary); ; {
		part, err := parts.NextPart()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, badForm("its parts cannot be told apart, or the last is missing")
		}
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil {
			return nil, badForm("a part has no Content-Disposition that can be read")
		}
		file, isFile := params["filename"]
		var text []byte
		if file == "" {
			if text, err = io.ReadAll(part); err != nil {
				return nil, badForm("it ends within a part")
			}
		}
		switch {
		case isFile && file == "" && len(text) == 0: // an input that was left empty
		case isFile:
			return nil, refused{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type",
				message:  "Files cannot be sent with this form.",
				problems: []lead.Problem{{Field: clipped(params["name"]), Message: "files cannot be sent with this form"}}}
		default:
			if err := all.add(params["name"], string(text)); err != nil {
				return nil, err
			}
		}
	}
}

// clipped is a name that is not longer than those that can be used.
func clipped(name string) string {
	name = strings.ToValidUTF8(name, "�")
	if letters := []rune(name); len(letters) > lead.MaxCustomName {
		return string(letters[:lead.MaxCustomName]) + "…"
	}
	return name
}

// charsetField is what browsers put the encoding in that they chose
// (https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#naming-form-controls:-the-name-attribute).
const charsetField = "_charset_"

// sent returns the fields by their names, in UTF-8. Those without a name are none.
func (all pairs) sent(charset string) (sent, error) {
	if charset == "" {
		for _, field := range all {
			if strings.EqualFold(field.name, charsetField) {
				charset = field.text
			}
		}
	}
	unicode, err := unicodeFrom(charset)
	if err != nil {
		return nil, err
	}
	fields := make(sent, len(all))
	for _, field := range all {
		name, named := unicode(field.name)
		text, ok := unicode(field.text)
		if !named || !ok {
			return nil, badForm(`it is not in UTF-8 and needs accept-charset="utf-8", or a hidden field named ` + charsetField)
		}
		name, list := strings.CutSuffix(name, "[]")
		if name == "" {
			continue
		}
		switch before := fields[name].(type) {
		case nil:
			if fields[name] = text; list {
				fields[name] = []any{text}
			}
		case string:
			fields[name] = []any{before, text}
		case []any:
			fields[name] = append(before, text)
		}
	}
	return fields, nil
}

// unicodeFrom returns what turns texts of an encoding into UTF-8, or reports that they are none of it.
func unicodeFrom(charset string) (func(text string) (string, bool), error) {
	encoding, err := htmlindex.Get(charset)
	switch {
	case charset == "" || strings.EqualFold(charset, "utf-8"):
		return func(text string) (string, bool) { return text, utf8.ValidString(text) }, nil
	case err != nil:
		return nil, refused{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type",
			message: "The form is in an encoding that is not known; UTF-8 is."}
	}
	decoder := encoding.NewDecoder()
	return func(text string) (string, bool) {
		text, err := decoder.String(text)
		return text, err == nil
	}, nil
}
