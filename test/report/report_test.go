package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGoEventsAreCounted(t *testing.T) {
	tests := []struct {
		name   string
		events string
		want   tally
		shows  []string
	}{
		{
			name: "a test with subtests is not counted itself",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"run","Package":"p","Test":"TestA/y"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA/y"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":0.1}`,
			want:  tally{passed: 2},
			shows: []string{"ok    p"},
		},
		{
			name: "a failed subtest is one failure, with its output",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"output","Package":"p","Test":"TestA/x","Output":"    a_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Elapsed":0.1}`,
			want:  tally{failures: []string{"p.TestA/x"}},
			shows: []string{"a_test.go:3: wrong", "FAIL  p"},
		},
		{
			name: "a test that fails beside its subtests counts",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			want: tally{passed: 1, failures: []string{"p.TestA"}},
		},
		{
			name: "a skip keeps its reason",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: no writable cgroup here\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}`,
			want: tally{skips: []skip{{"p.TestA", "no writable cgroup here"}}},
		},
		{
			name: "a package that does not build is one failure",
			events: `{"ImportPath":"p [p.test]","Action":"build-output","Output":"a.go:1:1: expected package\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			want:  tally{failures: []string{"p does not build"}},
			shows: []string{"a.go:1:1: expected package"},
		},
		{
			name: "a panic outside a test is one failure",
			events: `{"Action":"output","Package":"p","Output":"panic: in TestMain\n"}
{"Action":"fail","Package":"p"}`,
			want:  tally{failures: []string{"p failed as a whole"}},
			shows: []string{"panic: in TestMain"},
		},
		{
			name:   "what is not an event is shown",
			events: "go: downloading\n",
			shows:  []string{"go: downloading"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			var got tally
			if err := newGoCount(&out, &got).read(strings.NewReader(test.events)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(tally{}, skip{})); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			for _, text := range test.shows {
				if !strings.Contains(out.String(), text) {
					t.Errorf("%q is not shown:\n%s", text, &out)
				}
			}
		})
	}
}

func TestJUnitIsCounted(t *testing.T) {
	const report = `<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="t.a" name="one"/>
<testcase classname="t.a" name="two"><failure message="no">trace</failure></testcase>
<testcase classname="t.a" name="three"><error message="no">trace</error></testcase>
<testcase classname="t.a" name="four"><skipped type="pytest.skip" message="not here">x</skipped></testcase>
</testsuite></testsuites>`
	var got tally
	if err := countJUnit(strings.NewReader(report), &got); err != nil {
		t.Fatal(err)
	}
	want := tally{passed: 1, failures: []string{"t.a.two", "t.a.three"}, skips: []skip{{"t.a.four", "not here"}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(tally{}, skip{})); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestFuzzTargetsAreFound(t *testing.T) {
	got := fuzzTargets([]byte("FuzzA\nFuzzB\nok  \tm/p\t0.01s\nok  \tm/q\t0.01s\nFuzzC\nok  \tm/r\t0.01s\n"))
	want := []fuzzTarget{{"m/p", "FuzzA"}, {"m/p", "FuzzB"}, {"m/r", "FuzzC"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(fuzzTarget{})); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

func TestTableEndsInTheSums(t *testing.T) {
	results := []result{
		{area: "unit", took: time.Second, tally: tally{
			passed: 3, failures: []string{"p.TestA"},
			skips: []skip{{"p.B", "no cgroup"}, {"p.C", "no cgroup"}, {"p.D", "no cgroup"}, {"p.E", "no cgroup"}},
		}},
		{area: "docs", tally: tally{passed: 2}},
	}
	var out bytes.Buffer
	printTable(&out, results, []area{{name: "lint", what: "golangci-lint"}})
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if got, want := lines[len(lines)-1], "5 passed, 1 failed, 4 skipped"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
	for _, text := range []string{"unit: p.TestA", "p.B, p.C, p.D and 1 more: no cgroup", "golangci-lint"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("%q is not shown:\n%s", text, &out)
		}
	}
	if exitStatus(results) != 1 {
		t.Error("a failure exits 0")
	}
}

func TestAreas(t *testing.T) {
	tests := []struct {
		name string
		run  func(context.Context, io.Writer, *tally)
		want int
	}{
		{"a command that passes", command("true"), 0},
		{"a command that fails", command("false"), 1},
		{"nothing ran", func(context.Context, io.Writer, *tally) {}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := runArea(t.Context(), area{name: "x", limit: time.Minute, run: test.run}, io.Discard)
			if got := r.tally.failed(); got != test.want {
				t.Errorf("%d failures, want %d: %v", got, test.want, r.tally.failures)
			}
		})
	}
}

func TestTimeOverIsNoFinding(t *testing.T) {
	over := "--- FAIL: FuzzX (20.07s)\n    context deadline exceeded\nFAIL\n"
	found := "--- FAIL: FuzzX (2.07s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n"
	if !onlyTimeOver([]byte(over)) || onlyTimeOver([]byte(found)) || onlyTimeOver([]byte("panic: x")) {
		t.Error("the end of the time is taken for a finding, or a finding for the end of the time")
	}
}
