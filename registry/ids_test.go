package registry

import (
	"regexp"
	"strings"
	"testing"
)

func TestParseWorkerID(t *testing.T) {
	good := map[string]WorkerID{
		"text-0-7":                             {"text", 0, 7},
		"a_b9-12-28214567":                     {"a_b9", 12, 28214567},
		"p" + strings.Repeat("x", 30) + "-0-1": {"p" + strings.Repeat("x", 30), 0, 1},
	}
	for s, want := range good {
		if got, err := ParseWorkerID(s); err != nil || got != want || got.String() != s {
			t.Errorf("ParseWorkerID(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	if got := (WorkerID{"text", 3, 7}).SlotName(); got != "text-3" {
		t.Errorf("SlotName() = %q", got)
	}
	for _, s := range []string{
		"", "text", "text-0", "text-0-0", "text-00-1", "text-0-01", "text-+0-1", "text--1-1", "text-0-7-", "-0-7", "Text-0-7",
		"te-xt-0-7", "0a-0-7", "_a-0-7", "text-0-7\n", "text-0-99999999999999999999", "text-0-2147483648", "text-٣-1",
		"p" + strings.Repeat("x", 31) + "-0-1", strings.Repeat("-", 1000),
	} {
		if got, err := ParseWorkerID(s); err == nil {
			t.Errorf("ParseWorkerID(%q) = %v; want an error", s, got)
		} else if len(err.Error()) > 500 {
			t.Errorf("the error repeats %d bytes of bad input", len(err.Error()))
		}
	}
}

func FuzzParseWorkerID(f *testing.F) {
	for _, s := range []string{"text-0-7", "a-0-1", "text-0", "text-00-1", "te-xt-0-7", "a_9-2147483647-2147483647", "a-2147483648-1", "\x00-0-1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseWorkerID(s)
		if err == nil && (id.String() != s || id.check() != nil) {
			t.Errorf("%q was read as %q (%v)", s, id, id.check())
		}
	})
}

func TestNewNames(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		run := NewRunID()
		if !regexp.MustCompile(`^[a-z2-7]{8}$`).MatchString(run) {
			t.Fatalf("run id %q", run)
		}
		if seen[run] {
			t.Fatalf("%q came twice", run)
		}
		seen[run] = true
	}
}
