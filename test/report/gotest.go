package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// goTest runs go test over packages and counts what it reports.
func goTest(ctx context.Context, out io.Writer, t *tally, pkgs, env []string, flags ...string) {
	if len(pkgs) == 0 {
		t.fail("no packages found (go list)")
		return
	}
	argv := append([]string{"go", "test", "-json"}, flags...)
	cmd := prepare(ctx, env, append(argv, pkgs...)...)
	cmd.Stderr = out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.fail(err.Error())
		return
	}
	if err := cmd.Start(); err != nil {
		t.fail(err.Error())
		return
	}
	c := newGoCount(out, t)
	readErr := c.read(stdout)
	if err := cmd.Wait(); err != nil && t.failed() == 0 {
		t.fail("go test: " + err.Error())
	}
	if readErr != nil && t.failed() == 0 {
		t.fail("cannot read go test's report: " + readErr.Error())
	}
}

// goEvent is one line of go test -json (see go doc test2json).
type goEvent struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64
}

// goCount turns the events into counts, and into one line a package and the whole
// output of what failed.
type goCount struct {
	out   io.Writer
	tally *tally
	tests map[testName]*goTestState
	texts map[string][]string // output of packages and of builds
}

type testName struct{ pkg, test string }

type goTestState struct {
	output              []string
	hasSubtests, ended  bool
	failed, failedBelow bool
}

func newGoCount(out io.Writer, t *tally) *goCount {
	return &goCount{out: out, tally: t, tests: map[testName]*goTestState{}, texts: map[string][]string{}}
}

// read takes events until EOF. A line that is not one goes to the output.
func (c *goCount) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e goEvent
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) == nil && e.Action != "":
			c.event(e)
		default:
			c.out.Write(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *goCount) event(e goEvent) {
	switch {
	case e.Action == "build-output":
		c.texts[e.ImportPath] = append(c.texts[e.ImportPath], e.Output)
	case e.Action == "output" && e.Test == "":
		c.texts[e.Package] = append(c.texts[e.Package], e.Output)
	case e.Action == "output":
		s := c.state(e)
		s.output = append(s.output, e.Output)
	case e.Action == "run":
		c.state(e)
		if parent, ok := c.parent(e); ok {
			parent.hasSubtests = true
		}
	case e.Test != "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		c.testEnded(e)
	case e.Action == "pass" || e.Action == "fail":
		c.packageEnded(e)
	}
}

func (c *goCount) state(e goEvent) *goTestState {
	name := testName{e.Package, e.Test}
	if c.tests[name] == nil {
		c.tests[name] = &goTestState{}
	}
	return c.tests[name]
}

func (c *goCount) parent(e goEvent) (*goTestState, bool) {
	i := strings.LastIndex(e.Test, "/")
	if i < 0 {
		return nil, false
	}
	return c.state(goEvent{Package: e.Package, Test: e.Test[:i]}), true
}

// testEnded counts a test without subtests; one with subtests only when it failed
// by itself.
func (c *goCount) testEnded(e goEvent) {
	s := c.state(e)
	s.ended = true
	label := short(e.Package) + "." + e.Test
	switch e.Action {
	case "fail":
		s.failed = true
		if parent, ok := c.parent(e); ok {
			parent.failedBelow = true
		}
		if !s.failedBelow {
			c.tally.fail(label)
		}
		return // keep its output until the package ends
	case "skip":
		if !s.hasSubtests {
			c.tally.skip(label, skipReason(s.output))
		}
	case "pass":
		if !s.hasSubtests {
			c.tally.passed++
		}
	}
	s.output = nil
}

// packageEnded prints the package's line. A package that failed without a failed
// test (build, panic, timeout, TestMain) counts as one failure.
func (c *goCount) packageEnded(e goEvent) {
	ran, failed := 0, 0
	for name, s := range c.tests {
		if name.pkg != e.Package {
			continue
		}
		ran++
		if s.failed || !s.ended {
			failed++
			fmt.Fprint(c.out, strings.Join(s.output, ""))
		}
		delete(c.tests, name)
	}
	if e.Action == "pass" {
		if ran > 0 {
			fmt.Fprintf(c.out, "ok    %-28s %6.1f s\n", short(e.Package), e.Elapsed)
		}
	} else {
		fmt.Fprint(c.out, strings.Join(c.texts[e.FailedBuild], ""), strings.Join(c.texts[e.Package], ""))
		fmt.Fprintf(c.out, "FAIL  %-28s %6.1f s\n", short(e.Package), e.Elapsed)
		if failed == 0 {
			why := "failed as a whole"
			if e.FailedBuild != "" {
				why = "does not build"
			}
			c.tally.fail(short(e.Package) + " " + why)
		}
	}
	delete(c.texts, e.Package)
}

// skipReason takes the last text that the test logged.
func skipReason(output []string) string {
	logged := regexp.MustCompile(`^\s+\S+\.go:\d+: (.+)`)
	why := "no reason given"
	for _, line := range output {
		if m := logged.FindStringSubmatch(line); m != nil {
			why = strings.TrimSpace(m[1])
		}
	}
	return why
}

func short(pkg string) string { return strings.TrimPrefix(pkg, module+"/") }
