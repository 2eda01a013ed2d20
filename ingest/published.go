package ingest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// published is what every page may have, and keep for minutes: it is the same for as long as the process runs.
type published struct {
	contentType   []string
	plain, packed representation
}

// representation is a body as it is sent, and what it is known by.
type representation struct {
	body []byte
	etag string
}

func publish(contentType string, body []byte) *published {
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // a level that there is
	w.Write(body)                                              // a buffer takes everything
	w.Close()
	return &published{[]string{contentType}, represent(body), represent(packed.Bytes())}
}

func represent(body []byte) representation {
	sum := sha256.Sum256(body)
	return representation{body, `"` + hex.EncodeToString(sum[:16]) + `"`}
}

func (p *published) serve(w http.ResponseWriter, r *http.Request) {
	sent := p.plain
	packed := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if packed {
		sent = p.packed
	}
	header := w.Header()
	header["X-Content-Type-Options"] = noSniff
	header.Set("ETag", sent.etag)
	header.Set("Cache-Control", "public, max-age=300")
	header.Set("Vary", "Accept-Encoding")
	// Also a page that isolates itself or checks the integrity of what it has from elsewhere.
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if sent.known(r) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header["Content-Type"] = p.contentType
	if packed {
		header.Set("Content-Encoding", "gzip")
	}
	w.Write(sent.body) // a client that is gone cannot be told
}

// known says whether who asks has it (https://www.rfc-editor.org/rfc/rfc9110#name-if-none-match).
func (sent representation) known(r *http.Request) bool {
	for tag := range strings.SplitSeq(strings.Join(r.Header["If-None-Match"], ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == sent.etag {
			return true
		}
	}
	return false
}
