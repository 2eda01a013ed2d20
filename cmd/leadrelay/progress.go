package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressEvery is how often a line is printed where there is no terminal.
var progressEvery = 5 * time.Second

// progress shows how much of a long work is done: by a bar on a terminal, else by a line every few seconds.
type progress struct {
	out  io.Writer
	bar  *progressbar.ProgressBar // nil: there is no terminal
	size int64
	told time.Time
}

// newProgress begins to show how much of size is done, in bytes of a file or in leads; -1: nobody knows.
func newProgress(out io.Writer, size int64, bytes bool) *progress {
	p := &progress{out: out, size: size, told: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(out), progressbar.OptionShowBytes(bytes), progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
			progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionUseANSICodes(true))
	}
	return p
}

// tell shows that so much is done.
func (p *progress) tell(done int64, words string) {
	switch now := time.Now(); {
	case p.bar != nil:
		p.bar.Describe(words)
		p.bar.Set64(done)
	case now.Sub(p.told) >= progressEvery:
		p.told = now
		if p.size > 0 {
			words += fmt.Sprintf(", %d%%", 100*done/p.size)
		}
		fmt.Fprintln(p.out, words)
	}
}

// say prints a line beside.
func (p *progress) say(line string) {
	p.end()
	fmt.Fprintln(p.out, "leadrelay:", line)
}

// end makes room for what is printed next.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Clear()
	}
}
