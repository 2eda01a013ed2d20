package config

import (
	"context"
	"os"
	"time"
)

const (
	lookEvery = 500 * time.Millisecond
	// quietFor is how long a file must not have changed before it is read: an editor that writes in place is done by then.
	quietFor = time.Second
)

// Watch calls changed, one call after another, each time the file at path has become another than the one of a Revision
// and nobody is writing it any more, and for each value of asked, until ctx ends. It looks at the path itself from time to time, so that it makes no
// difference how the file was replaced: written in place, by a rename, or by a symbolic link on the way that leads
// elsewhere now, as Kubernetes does. A file that is gone is waited for.
func Watch(ctx context.Context, path, was string, asked <-chan os.Signal, changed func()) {
	known := lookAt(path)
	if text, err := read(path); err == nil && revision(text) != was {
		known = look{size: -1} // it changed since it was loaded
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen, since := known, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			known = lookAt(path)
			seen = known
			changed()
			continue
		case <-tick.C:
		}
		now := lookAt(path)
		if now != seen {
			seen, since = now, time.Now()
		}
		if seen != known && seen != (look{}) && time.Since(since) >= quietFor {
			known = seen
			changed()
		}
	}
}

// look is what tells one state of a file from another without reading it; none where there is no file.
type look struct {
	size     int64
	modified time.Time
	file     any // which one it is, where the system says so
}

func lookAt(path string) look {
	info, err := os.Stat(path)
	if err != nil {
		return look{}
	}
	return look{info.Size(), info.ModTime(), identity(info)}
}
