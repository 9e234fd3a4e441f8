package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// tally counts one area.
type tally struct {
	passed   int
	failures []string
	skips    []skip
}

// skip is a test that did not run, and why.
type skip struct{ name, why string }

func (t *tally) fail(name string)      { t.failures = append(t.failures, name) }
func (t *tally) skip(name, why string) { t.skips = append(t.skips, skip{name, why}) }
func (t *tally) failed() int           { return len(t.failures) }
func (t *tally) skipped() int          { return len(t.skips) }

// result is an area that was run.
type result struct {
	area  string
	tally tally
	took  time.Duration
}

// exitStatus is 1 when anything failed.
func exitStatus(results []result) int {
	for _, r := range results {
		if r.tally.failed() > 0 {
			return 1
		}
	}
	return 0
}

// printTable prints the counts by area, what failed, what was skipped and why, the
// areas that are left to another command, and the sums as the very last line.
func printTable(out io.Writer, results []result, left []area) {
	var passed, failed, skipped int
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "AREA\tPASSED\tFAILED\tSKIPPED\tTIME\t")
	for _, r := range results {
		t := r.tally
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f s\t\n", r.area, t.passed, t.failed(), t.skipped(), r.took.Seconds())
		passed, failed, skipped = passed+t.passed, failed+t.failed(), skipped+t.skipped()
	}
	w.Flush()
	if failed > 0 {
		fmt.Fprintln(out, "\nfailed:")
	}
	for _, r := range results {
		for _, name := range r.tally.failures {
			fmt.Fprintf(out, "  %s: %s\n", r.area, name)
		}
	}
	if skipped > 0 {
		fmt.Fprintln(out, "\nskipped:")
	}
	for _, r := range results {
		for _, line := range skipLines(r.tally.skips) {
			fmt.Fprintf(out, "  %s: %s\n", r.area, line)
		}
	}
	if len(left) > 0 {
		fmt.Fprintln(out, "\nmake test-all adds:")
	}
	for _, a := range left {
		fmt.Fprintf(out, "  %-10s %s\n", a.name, a.what)
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}

// skipLines puts the skips with the same reason into one line.
func skipLines(skips []skip) []string {
	names := map[string][]string{}
	var order []string
	for _, s := range skips {
		if names[s.why] == nil {
			order = append(order, s.why)
		}
		names[s.why] = append(names[s.why], s.name)
	}
	var lines []string
	for _, why := range order {
		n := names[why]
		shown := strings.Join(n[:min(3, len(n))], ", ")
		if len(n) > 3 {
			shown += fmt.Sprintf(" and %d more", len(n)-3)
		}
		lines = append(lines, shown+": "+why)
	}
	return lines
}
