package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// span is a range of bytes of the document.
type span struct{ start, end int }

// place is where a key and its value stand; a table has no value.
type place struct{ key, value span }

// source is a document and where everything in it stands.
type source struct {
	name   string
	data   []byte
	places map[string]place
	twice  Problems // tables and keys that are written twice
}

// parse reads the document as TOML: its values, or the one problem that keeps
// it from being read (or all the keys that are written twice).
func parse(name string, data []byte) (map[string]any, *source, error) {
	src := &source{name: name, data: data, places: map[string]place{}}
	values := map[string]any{}
	err := toml.Unmarshal(data, &values)
	var at *toml.DecodeError
	syntax := src.scan() // also after an error: it says what is written twice
	switch {
	case err == nil && syntax == nil:
		return values, src, nil
	case len(src.twice) > 0:
		return nil, src, src.twice
	case errors.As(err, &at):
		row, column := at.Position()
		return nil, src, Problems{src.syntax(row, column, at.Error())}
	case err == nil:
		err = syntax
	}
	return nil, src, Problems{{File: name, Message: "cannot read the TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}}
}

// scan walks over the document and notes all places.
func (s *source) scan() error {
	var p unstable.Parser
	p.Reset(s.data)
	w := walk{src: s, parser: &p, headers: map[string]span{}}
	for p.NextExpression() {
		w.expression(p.Expression())
	}
	if err := p.Error(); err != nil {
		return fmt.Errorf("cannot read the TOML: %w", err)
	}
	return nil
}

// maxDepth is where places end; our deepest key is pool.NAME.environment.KEY. A
// document that nests thousands of levels would cost their square.
const maxDepth = 8

type walk struct {
	src     *source
	parser  *unstable.Parser
	table   path            // the table that the next keys belong to
	headers map[string]span // [tables] and keys seen so far
	arrays  int
	again   bool // the table is written twice, so its keys are not worth a word
}

func (w *walk) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table:
		keys, at := w.keys(nil, n.Key())
		w.table, w.again = keys, false
		w.once(keys, at, "table")
	case unstable.ArrayTable:
		keys, _ := w.keys(nil, n.Key())
		w.arrays++
		w.table, w.again = keys.with("#"+strconv.Itoa(w.arrays)), false
	case unstable.KeyValue:
		w.keyValue(w.table, n)
	default:
	}
}

func (w *walk) keyValue(table path, n *unstable.Node) {
	keys, at := w.keys(table, n.Key())
	w.once(keys, at, "key")
	w.value(keys, n.Value())
}

// keys notes every part of a dotted key, so that a table that is only implied
// has a place too.
func (w *walk) keys(table path, it unstable.Iterator) (path, span) {
	full, whole := table.with(), span{start: -1}
	for it.Next() {
		n := it.Node()
		full = append(full, string(n.Data)) // full is a copy of our own
		at := w.span(n)
		if whole.start < 0 {
			whole.start = at.start
		}
		whole.end = at.end
		if len(full) > maxDepth {
			continue
		}
		if _, seen := w.src.places[full.id()]; !seen {
			w.src.places[full.id()] = place{key: at, value: at}
		}
	}
	whole.start = max(whole.start, 0)
	return full, whole
}

func (w *walk) once(p path, at span, what string) {
	first, seen := w.headers[p.id()]
	if !seen {
		w.headers[p.id()] = at
		w.src.places[p.id()] = place{key: at, value: at}
		return
	}
	if w.again || len(w.src.twice) >= maxProblems {
		return
	}
	w.again = what == "table"
	line, _, _ := position(w.src.data, first.start)
	message := fmt.Sprintf("the %s %s is written twice, first on line %d: keep one", what, p, line)
	if what == "table" && len(p) == 2 && p[0] == "pool" {
		message = fmt.Sprintf("the pool %q is defined twice, first on line %d: rename one, or write all its keys below one [pool.%s]", p[1], line, p[1])
	}
	w.src.twice = append(w.src.twice, w.src.at(at, p, message))
}

func (w *walk) value(p path, n *unstable.Node) {
	if len(p) > maxDepth {
		return
	}
	pl := w.src.places[p.id()]
	if at := w.span(n); at.end > at.start {
		pl.value = at
	}
	w.src.places[p.id()] = pl
	switch n.Kind {
	case unstable.Array:
		i := 0
		for it := n.Children(); it.Next(); i++ {
			item := p.with(strconv.Itoa(i))
			w.src.places[item.id()] = place{key: pl.key, value: pl.value}
			w.value(item, it.Node())
		}
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			w.keyValue(p, it.Node())
		}
	default:
	}
}

// span of a node; arrays and inline tables may have none.
func (w *walk) span(n *unstable.Node) span {
	at := span{start: int(n.Raw.Offset), end: int(n.Raw.Offset) + int(n.Raw.Length)}
	if at.end > len(w.src.data) {
		return span{}
	}
	return at
}

// problem at the path, or at the nearest part of it that is written.
func (s *source) problem(p path, value bool, message string) Problem {
	for n := len(p); n > 0; n-- {
		pl, ok := s.places[p[:n].id()]
		if !ok {
			continue
		}
		if value && n == len(p) {
			return s.at(pl.value, p, message)
		}
		return s.at(pl.key, p, message)
	}
	return Problem{File: s.name, Key: p.String(), Message: message}
}

func (s *source) at(at span, p path, message string) Problem {
	line, column, text := position(s.data, at.start)
	return Problem{
		File: s.name, Line: line, Column: column, Key: p.String(), Message: message,
		Source: text, Width: utf8.RuneCount(s.data[at.start:at.end]),
	}
}

// syntax makes a problem of a position that go-toml gives in bytes.
func (s *source) syntax(row, column int, message string) Problem {
	offset := 0
	for range row - 1 {
		i := bytes.IndexByte(s.data[offset:], '\n')
		if i < 0 {
			break
		}
		offset += i + 1
	}
	offset = min(offset+column-1, len(s.data))
	message = strings.TrimPrefix(message, "toml: ")
	if strings.HasPrefix(message, "expected keyword") {
		message = "this is not a value; put text in quotes"
	}
	return s.at(span{start: offset, end: offset}, nil, "cannot read the TOML: "+message)
}

// text is the value as it is written, without quotes.
func (s *source) text(p path) (string, bool) {
	pl, ok := s.places[p.id()]
	if !ok {
		return "", false
	}
	return strings.Trim(string(s.data[pl.value.start:pl.value.end]), `"'`), true
}
