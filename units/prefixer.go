package units

import (
	"bytes"
	"io"
	"sync"
)

// lineSize is where a long line is cut, in bytes.
const lineSize = 8 << 10

// Prefixer writes lines as "text-0-7 | line" to a writer that many may share:
// one Write a line, so that lines do not mix. A line longer than 8 KiB is cut
// into several.
type Prefixer struct {
	mu     sync.Mutex
	prefix string
	w      io.Writer
	line   []byte // the line that has not ended yet
}

// NewPrefixer prefixes with name. w must take concurrent writes if it is shared.
func NewPrefixer(name string, w io.Writer) *Prefixer {
	return &Prefixer{prefix: name + " | ", w: w}
}

// Write takes any part of the stream. It returns the first error of w, but
// takes everything, so that one lost line does not stop the others.
func (p *Prefixer) Write(b []byte) (int, error) {
	n := len(b)
	var first error
	for _, line := range p.split(b) {
		if _, err := p.w.Write(line); err != nil && first == nil {
			first = err
		}
	}
	return n, first
}

// Flush writes a last line that did not end. Call it after the last Write.
func (p *Prefixer) Flush() error {
	p.mu.Lock()
	rest := p.line
	p.line = nil
	p.mu.Unlock()
	if len(rest) == 0 {
		return nil
	}
	_, err := p.w.Write(p.dress(rest))
	return err
}

// split gives the lines that b completes, dressed; w is written to unlocked.
func (p *Prefixer) split(b []byte) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out [][]byte
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		if room := lineSize - len(p.line); len(line) > room {
			line, rest, ended = b[:room], b[room:], true
		}
		p.line = append(p.line, line...)
		b = rest
		if ended {
			out = append(out, p.dress(p.line))
			p.line = p.line[:0]
		}
	}
	return out
}

func (p *Prefixer) dress(line []byte) []byte {
	d := make([]byte, 0, len(p.prefix)+len(line)+1)
	d = append(d, p.prefix...)
	d = append(d, bytes.TrimSuffix(line, []byte{'\r'})...)
	return append(d, '\n')
}
