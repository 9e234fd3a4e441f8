package manager

import (
	"fmt"
	"strings"
)

// Diagram is docs/states.md: the state machine of a slot as a picture and as a
// table, made from the rules themselves. A test fails when the page is stale.
func Diagram() string {
	var b strings.Builder
	b.WriteString("# The states of a slot\n\nGenerated from the table in `manager/table.go` by `go test ./manager -run TestDiagram -update`; do not edit.\n" +
		"Why a slot supervises its worker: [ADR-001](architecture/adr-001-slot-supervises-worker.md).\n\n```mermaid\nstateDiagram-v2\n  [*] --> down\n")
	for _, r := range table() {
		label := string(r.on)
		if r.when != nil {
			label += " [" + r.when.name + "]"
		}
		fmt.Fprintf(&b, "  %s --> %s: %s\n", r.from, r.to, label)
	}
	b.WriteString("```\n\n| state | event | when | next state | effects | timer |\n|---|---|---|---|---|---|\n")
	for _, r := range table() {
		when := ""
		if r.when != nil {
			when = r.when.name
		}
		effects := make([]string, 0, len(r.do))
		for _, e := range r.do {
			effects = append(effects, string(e))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.from, r.on, when, r.to, strings.Join(effects, ", "), r.timer)
	}
	b.WriteString("\nThe first row that fits decides. These events mean nothing in these states and are let pass; any other one is a\nwarning and is counted:\n\n| state | let pass |\n|---|---|\n")
	for _, s := range states() {
		var pass []string
		for _, on := range eventKinds() {
			if !ruled(s, on) && tolerated(s, on) {
				pass = append(pass, string(on))
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", s, strings.Join(pass, ", "))
	}
	return b.String()
}

// ruled says whether the table has a rule for the event in the state.
func ruled(s State, on eventKind) bool {
	for _, r := range table() {
		if r.from == s && r.on == on {
			return true
		}
	}
	return false
}
