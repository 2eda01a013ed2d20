package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

//go:embed assets
var assetsDir embed.FS

// asset is a file that pages use.
type asset struct {
	body []byte
	kind string
	etag string
}

// assets are read when there is a console: most commands have none.
var assets = sync.OnceValue(func() map[string]asset {
	all := map[string]asset{}
	for name, kind := range map[string]string{
		"style.css": "text/css; charset=utf-8", "script.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		body, err := assetsDir.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // embedded at build time
		}
		sum := sha256.Sum256(body)
		all[name] = asset{body, kind, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
	}
	return all
})

func (a asset) serve(v *visit) error {
	header := v.w.Header()
	header.Set("Content-Type", a.kind)
	header.Set("ETag", a.etag)
	header.Set("Cache-Control", "no-cache") // kept, and asked for whether it changed
	http.ServeContent(v.w, v.r, "", time.Time{}, bytes.NewReader(a.body))
	return nil
}
