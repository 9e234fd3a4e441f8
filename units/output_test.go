package units

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func testLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestTail(t *testing.T) {
	var tail Tail
	_, _ = tail.Write([]byte("one\ntw"))
	_, _ = tail.Write([]byte("o\nthree"))
	if got := tail.String(); got != "one\ntwo\nthree" {
		t.Errorf("%q", got)
	}
	for i := range 3000 {
		_, _ = fmt.Fprintf(&tail, "line %d\n", i)
	}
	got := tail.String()
	if len(got) > tailSize || !strings.HasPrefix(got, "line ") || !strings.HasSuffix(got, "line 2999\n") {
		t.Errorf("%d bytes, %q ... %q", len(got), got[:20], got[len(got)-20:])
	}
	_, _ = tail.Write([]byte(strings.Repeat("x", 3*tailSize)))
	if got := tail.String(); len(got) != tailSize {
		t.Errorf("%d bytes", len(got))
	}
}

type writes struct{ all []string }

func (w *writes) Write(b []byte) (int, error) {
	w.all = append(w.all, string(b))
	return len(b), nil
}

func TestPrefixer(t *testing.T) {
	var w writes
	p := NewPrefixer("text-0-7", &w)
	_, _ = p.Write([]byte("a\r\nb"))
	_, _ = p.Write([]byte("c\n\nrest"))
	if err := errors.Join(p.Flush(), p.Flush()); err != nil {
		t.Error(err)
	}
	want := []string{"text-0-7 | a\n", "text-0-7 | bc\n", "text-0-7 | \n", "text-0-7 | rest\n"}
	if diff := cmp.Diff(want, w.all); diff != "" {
		t.Error(diff)
	}
}

// However the stream is cut into writes, the lines are the same.
func TestPrefixerAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([a-z]{0,5}\n){0,20}`).Draw(t, "text") + strings.Repeat("y", rapid.IntRange(0, 3*lineSize).Draw(t, "long"))
		var whole, parts writes
		a, b := NewPrefixer("w", &whole), NewPrefixer("w", &parts)
		_, _ = a.Write([]byte(text))
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			_, _ = b.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		_, _ = a.Flush(), b.Flush()
		if diff := cmp.Diff(whole.all, parts.all); diff != "" {
			t.Fatal(diff)
		}
		for _, l := range whole.all {
			if len(l) > lineSize+len("w | \n") {
				t.Fatalf("a line of %d bytes", len(l))
			}
		}
	})
}
