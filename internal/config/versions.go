package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// keptVersions is how many versions of a file there are at most.
const keptVersions = 50

// VersionsIn is the folder of the versions for OpenFile, below a configuration's data_dir.
func VersionsIn(dataDir string) string { return filepath.Join(dataDir, "config-versions") }

// Version is a text that a configuration file held until somebody replaced it by the program.
type Version struct {
	ID       string
	At       time.Time // when it was replaced
	Who      string    // replaced it
	Revision string    // of the text
}

// A version is a file, private to its owner, that begins with a line of who replaced it; the rest is the text as it was.
// Its name says when, and the revision, by which a file that was written in part is known.
var (
	versionFile = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{9}Z)-([0-9a-f]{12})$`)
	versionLine = "# replaced by "
)

const (
	versionTime   = "20060102T150405.000000000Z"
	versionSuffix = ".yaml"
)

// ErrNoVersion is the error for a version that is not kept, or not any more.
var ErrNoVersion = errors.New("there is no such version")

// Versions lists the versions, the newest first.
func (f *File) Versions() ([]Version, error) {
	var versions []Version
	ids, err := f.versionIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		version, _, err := f.readVersion(id)
		switch {
		case errors.Is(err, ErrNoVersion): // pruned meanwhile, or not all of it was written
		case err != nil:
			return nil, err
		default:
			versions = append(versions, version)
		}
	}
	return versions, nil
}

// Version returns a version's text.
func (f *File) Version(id string) ([]byte, error) {
	_, text, err := f.readVersion(id)
	return text, err
}

// versionIDs lists the names of all, the newest first.
func (f *File) versionIDs() (ids []string, err error) {
	entries, err := os.ReadDir(f.keep)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if id, found := strings.CutSuffix(entry.Name(), versionSuffix); found && versionFile.MatchString(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids, nil
}

func (f *File) versionPath(id string) string { return filepath.Join(f.keep, id+versionSuffix) }

func (f *File) readVersion(id string) (version Version, text []byte, err error) {
	parts := versionFile.FindStringSubmatch(id)
	if parts == nil {
		return version, nil, ErrNoVersion
	}
	at, err := time.Parse(versionTime, parts[1])
	if err != nil {
		return version, nil, ErrNoVersion
	}
	text, err = read(f.versionPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return version, nil, ErrNoVersion
	}
	if err != nil {
		return version, nil, err
	}
	line, text, _ := bytes.Cut(text, []byte("\n"))
	who, err := strconv.Unquote(strings.TrimPrefix(string(line), versionLine))
	if err != nil || revision(text) != parts[2] {
		return version, nil, ErrNoVersion
	}
	return Version{id, at, who, parts[2]}, text, nil
}

// keptVersion can be given up again.
type keptVersion struct{ path string }

func (k keptVersion) undo() {
	if k.path != "" {
		os.Remove(k.path)
	}
}

// keepVersion keeps a text, unless the newest version is the same.
func (f *File) keepVersion(text []byte, who string) (keptVersion, error) {
	ids, err := f.versionIDs()
	if err != nil {
		return keptVersion{}, err
	}
	at := time.Now().UTC()
	if len(ids) > 0 {
		newest, former, err := f.readVersion(ids[0])
		if err == nil && bytes.Equal(former, text) && newest.Who == who {
			return keptVersion{}, nil
		}
		// The clock may have been set back: the order of the names is that of the changes all the same.
		if last, err := time.Parse(versionTime, versionFile.FindStringSubmatch(ids[0])[1]); err == nil && !at.After(last) {
			at = last.Add(time.Nanosecond)
		}
	}
	path := f.versionPath(at.Format(versionTime) + "-" + revision(text))
	err = lockedfile.Alone(path, func(held *lockedfile.Held) error {
		_, err := held.Replace(nil, func(w *bufio.Writer) error {
			fmt.Fprintf(w, "%s%s\n", versionLine, strconv.QuoteToASCII(who))
			_, err := w.Write(text)
			return err
		})
		return err
	})
	return keptVersion{path}, err
}

// prune removes the oldest versions beyond those that are kept, and what a crash left of one.
func (f *File) prune() {
	unfinished, _ := filepath.Glob(filepath.Join(f.keep, ".*"+versionSuffix+".tmp"))
	for _, path := range unfinished {
		os.Remove(path)
	}
	ids, err := f.versionIDs()
	if err != nil || len(ids) <= keptVersions {
		return
	}
	for _, id := range ids[keptVersions:] {
		os.Remove(f.versionPath(id))
	}
}
