package rig

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// safeguard is one of those that keep the promises, and how the rig is to see that it is gone. Each has a patch in
// testdata that takes it out.
type safeguard struct {
	name    string
	symptom *regexp.Regexp
	plan    func(p *plan) // chosen trouble, so that a short run will do
}

var safeguards = []safeguard{
	{"fence", regexp.MustCompile(`undead|stale|doubled|came after|does not drain`), func(p *plan) {
		p.patience = 20 * time.Second // workers that undo each other's pushes never end
		p.faults = map[fault]int{slow: 700}
		p.disturb = map[string]int{"kill worker": 1}
		p.mix = mix{leads: 40, pause: 30 * time.Millisecond, address: 50, remove: 25}
	}},
	{"look-up", regexp.MustCompile(`doubled|undead`), func(p *plan) {
		p.faults = map[fault]int{cutAfter: 200, errorAfter: 200, slow: 200}
		p.disturb = map[string]int{"kill worker": 1}
		p.mix = mix{leads: 40, pause: 30 * time.Millisecond, address: 95, remove: 10}
	}},
	{"sweeper", regexp.MustCompile(`does not drain`), func(p *plan) {
		p.patience = 15 * time.Second
	}},
	{"compare-and-set", regexp.MustCompile(`stale|lost|undead|is left|is no member`), func(p *plan) {
		p.faults = map[fault]int{slow: 500}
		p.disturb = map[string]int{"kill worker": 1}
		p.mix = mix{leads: 40, pause: 30 * time.Millisecond, address: 50, remove: 20}
	}},
	{"redaction", regexp.MustCompile(`holds personal data`), func(*plan) {}},
	{"atomic-accept", regexp.MustCompile(`lost`), func(p *plan) {
		p.clients = 24
		p.disturb = map[string]int{"kill redis": 2, "kill ingest": 2, "pause redis": 1}
		p.mix = mix{leads: 1000, remove: 2}
	}},
}

func (s safeguard) file() string { return filepath.Join("testdata", "without-"+s.name+".patch") }

func (s safeguard) patch(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.file())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// overlay applies a safeguard's patch to copies of the files that it names and returns go build's -overlay file.
func (s safeguard) overlay(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("git is not installed: apt-get install git")
		}
		t.Skip("needs git to apply a patch: apt-get install git")
	}
	text := s.patch(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	copies, replace := t.TempDir(), map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\+\+\+ b/(\S+)`).FindAllStringSubmatch(text, -1) {
		from, to := filepath.Join(root, m[1]), filepath.Join(copies, m[1])
		replace[from] = to
		original, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o700)
		}
		if err == nil {
			err = os.WriteFile(to, original, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	apply := exec.Command("git", "apply")
	apply.Dir, apply.Stdin = copies, strings.NewReader(text)
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(copies))
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%s does not apply any more; make it anew so that it takes the same safeguard out: %s", s.file(), out)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copies, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEachSafeguardCanBeTakenOut(t *testing.T) {
	patches, err := filepath.Glob("testdata/without-*.patch")
	if err != nil || len(patches) != len(safeguards) {
		t.Fatalf("%d patches for %d safeguards: %v", len(patches), len(safeguards), err)
	}
	for _, s := range safeguards {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			overlay := s.overlay(t)
			if !strings.Contains(s.patch(t), ".go\n") {
				return // a script; Redis compiles it
			}
			out, err := exec.Command("go", "build", "-overlay", overlay, module+"/internal/store", module+"/worker", module+"/connectors").CombinedOutput()
			if err != nil {
				t.Errorf("without it the program does not build: %s", out)
			}
		})
	}
}

// TestTheRigNoticesAMissingSafeguard runs the rig on the program without each of its safeguards in turn, and on the
// program as it is under the same trouble: only the first may fail, and by the right symptom.
func TestTheRigNoticesAMissingSafeguard(t *testing.T) {
	redistest.Need(t)
	if !*notices {
		t.Log("not run: it takes minutes; -rig.notices runs it")
		return
	}
	for _, s := range safeguards {
		p := usualPlan(t, newSeed())
		p.load = loadTime(20 * time.Second)
		s.plan(&p)
		t.Run("with the "+s.name, func(t *testing.T) {
			p := p
			p.patience = 90 * time.Second
			check(t, p, p.run(t))
		})
		t.Run("without the "+s.name, func(t *testing.T) {
			p := p
			p.program = build(t, s.overlay(t))
			for range 3 {
				problems := p.run(t)
				for _, problem := range problems[:min(len(problems), 5)] {
					t.Logf("noticed: %.300s", problem)
				}
				if s.symptom.MatchString(strings.Join(problems, "\n")) {
					return
				}
				p.seed++
			}
			t.Error("the rig did not notice")
		})
	}
}
