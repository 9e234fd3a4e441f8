package transport

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// row is how docs/errors.md describes a reason.
func row(m Meaning) string {
	safe := "no"
	if m.Safe {
		safe = "yes"
	}
	code := strings.ToUpper(m.Code.String())
	words := map[string]string{
		"NOTFOUND": "NOT_FOUND", "RESOURCEEXHAUSTED": "RESOURCE_EXHAUSTED", "INVALIDARGUMENT": "INVALID_ARGUMENT",
		"DEADLINEEXCEEDED": "DEADLINE_EXCEEDED", "FAILEDPRECONDITION": "FAILED_PRECONDITION",
	}
	if w := words[code]; w != "" {
		code = w
	}
	return fmt.Sprintf("| `%s` | `%s` | %s | %s |", m.Reason, code, safe, m.Sentence)
}

func TestErrorsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range Reasons() {
		want = append(want, row(m))
	}
	for line := range strings.Lines(string(page)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `") && strings.Count(line, "|") == 5 {
			got = append(got, line)
		}
	}
	if w, g := strings.Join(want, "\n"), strings.Join(got, "\n"); w != g {
		t.Errorf("docs/errors.md and the table differ; it has\n%s\nwant\n%s", g, w)
	}
	for _, key := range []string{keyPool, keyIdempotent, keyCall} {
		if !strings.Contains(string(page), "`"+key+"`") {
			t.Errorf("docs/errors.md does not name %s", key)
		}
	}
}

func TestRefusalStatus(t *testing.T) {
	for _, m := range Reasons() {
		r := &Refusal{Reason: m.Reason, Pool: "text", Worker: "text-0-1", Detail: "bad \xff bytes", RetryAfter: 1}
		s, ok := status.FromError(fmt.Errorf("around it: %w", r))
		if !ok || s.Code() != m.Code || len(s.Details()) != 2 {
			t.Errorf("%s: %v", m.Reason, s)
			continue
		}
		i, ok := s.Details()[0].(*errdetails.ErrorInfo)
		if !ok || i.GetReason() != string(m.Reason) || i.GetDomain() != Domain || i.GetMetadata()["pool"] != "text" {
			t.Errorf("%s: %v", m.Reason, s.Details()[0])
		}
	}
}
