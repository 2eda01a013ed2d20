package console

import (
	"net/http"

	"github.com/leadrelay/leadrelay/internal/store"
)

// history lists the texts of the file that saving replaced.
func (s *site) history(v *visit) error {
	file, versions, err := v.versions()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "history", page{Title: "History", Section: "connectors", Data: struct {
		File     File
		Versions []Version
	}{file, versions}})
}

func (v *visit) versions() (File, []Version, error) {
	if v.Settings == nil {
		return File{}, nil, noFile
	}
	file, err := v.Settings.File()
	if err != nil {
		file = File{Path: file.Path, Writable: file.Writable} // going back mends it
	}
	versions, err := v.Settings.Versions()
	if err != nil {
		err = fileTrouble(err)
	}
	return file, versions, err
}

// version is the one the path names.
func (v *visit) version() (File, Version, error) {
	file, versions, err := v.versions()
	if err != nil {
		return file, Version{}, err
	}
	for _, one := range versions {
		if one.ID == v.pageID() {
			return file, one, nil
		}
	}
	return file, Version{}, refusal{http.StatusNotFound, "There is no such version", "Only the newest versions are kept, and this one is none of them."}
}

// askGoBack shows what going back to a version would change.
func (s *site) askGoBack(v *visit) error {
	file, version, err := v.version()
	if err != nil {
		return err
	}
	diff, err := s.Settings.DiffBack(version.ID)
	if err != nil {
		return fileTrouble(err)
	}
	return v.show(http.StatusOK, "version", page{Title: "A version", Section: "connectors", Data: struct {
		File
		Version
		Lines []diffLine
	}{file, version, diffLines(diff)}})
}

func (s *site) goBack(v *visit) error {
	_, version, err := v.version()
	if err != nil {
		return err
	}
	a := store.Act{What: "went back to a version of the configuration", Detail: version.Revision}
	refused := func(changed bool, problems []Problem) error {
		if changed {
			v.complain("Somebody else changed the file in this moment, so nothing was done. Try again.")
		} else {
			v.complain("Nothing was done, for that version is not valid any more: %s", brief(sentence(problems)))
		}
		return v.goTo("/console/history/" + version.ID)
	}
	return v.saved(a, "The version of "+stamp(version.At)+" is back", refused, func() (Saved, []Problem, error) {
		return s.Settings.GoBack(v.ctx, version.ID, v.operator)
	})
}
