package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one thing wrong in a configuration.
type Problem struct {
	File         string // as it was given to Load
	Line, Column int    // 1-based, column in characters; 0 = the file as a whole
	Key          string // dotted, for example pool.text.workers; "" = none
	Message      string // the rule that is broken and what to do
	Source       string // the line itself, "" if there is none
	Width        int    // characters of Source that are meant
}

// maxSource is how many characters of a line are shown.
const maxSource = 160

// String returns the position, the message, the line and a caret under the place.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
		if p.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
		}
		b.WriteByte(' ')
	}
	b.WriteString(p.Message)
	if p.Line == 0 || p.Source == "" {
		return b.String()
	}
	line := []rune(strings.ToValidUTF8(p.Source, "?"))
	start := min(p.Column-1, len(line))
	cut := ""
	if start > maxSource/2 { // a very long line: show the part that matters
		line, start, cut = line[start-maxSource/2:], maxSource/2, "..."
	}
	width := max(1, min(p.Width, len(line)-start, maxSource-start))
	tail := ""
	if len(line) > maxSource {
		line, tail = line[:maxSource], "..."
	}
	pad := make([]rune, 0, start)
	for i, r := range line {
		switch {
		case r == '\t':
		case !unicode.IsPrint(r):
			line[i] = '?' // never a control sequence on the reader's terminal
			r = ' '
		default:
			r = ' '
		}
		if i < start {
			pad = append(pad, r) // tabs stay tabs, so that the caret stands below
		}
	}
	number := fmt.Sprintf("%5d", p.Line)
	fmt.Fprintf(&b, "\n%s | %s%s%s", number, cut, string(line), tail)
	fmt.Fprintf(&b, "\n%s | %s%s^%s", strings.Repeat(" ", len(number)), strings.Repeat(" ", len(cut)), string(pad), strings.Repeat("~", width-1))
	return b.String()
}

// Problems is every problem that was found; as an error it is never empty.
type Problems []Problem

// maxProblems is how many problems are looked for at all; each costs a look at
// the whole file.
const maxProblems = 200

// maxShown is how many problems the error text has.
const maxShown = 20

// Error returns all problems, one below the other.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i == maxShown {
			fmt.Fprintf(&b, "\nand %d more", len(ps)-maxShown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

func (ps Problems) orNil() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// path is a key as TOML nests it: pool, text, exec, 0.
type path []string

// with never shares the parent's array.
func (p path) with(more ...string) path {
	return append(append(make(path, 0, len(p)+len(more)), p...), more...)
}

func (p path) String() string { return strings.Join(p, ".") }

func (p path) id() string { return strings.Join(p, "\x00") }

// report collects problems and gives each its place in the source.
type report struct {
	src      *source
	problems Problems
	bad      map[string]bool // paths that have a problem: no second one about a value that was not read
}

func newReport(src *source) *report { return &report{src: src, bad: map[string]bool{}} }

// key reports a problem with a key, value one with its value.
func (r *report) key(p path, format string, args ...any) {
	r.add(p, false, fmt.Sprintf(format, args...))
}

func (r *report) value(p path, format string, args ...any) {
	r.add(p, true, fmt.Sprintf(format, args...))
}

func (r *report) add(p path, value bool, message string) {
	r.bad[p.id()] = true
	if len(r.problems) >= maxProblems {
		return
	}
	r.problems = append(r.problems, r.src.problem(p, value, message))
}

func (r *report) has(p path) bool { return r.bad[p.id()] }

// position counts what is before the offset.
func position(data []byte, offset int) (line, column int, text string) {
	offset = min(offset, len(data))
	start := bytes.LastIndexByte(data[:offset], '\n') + 1
	end := len(data)
	if i := bytes.IndexByte(data[offset:], '\n'); i >= 0 {
		end = offset + i
	}
	line = bytes.Count(data[:start], []byte{'\n'}) + 1
	column = utf8.RuneCount(data[start:offset]) + 1
	return line, column, strings.TrimSuffix(string(data[start:end]), "\r")
}
