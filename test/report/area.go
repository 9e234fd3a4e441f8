package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// python is the interpreter that sees Debian's packages; the first python3 on PATH
// may be another one.
const python = "/usr/bin/python3"

// area is one kind of test.
type area struct {
	name, what string
	needs      []string // Debian packages
	limit      time.Duration
	run        func(ctx context.Context, out io.Writer, t *tally)
}

// shortAreas are those of `make test`: at most five minutes on two cores.
func shortAreas() []area {
	return []area{
		{"build", "the three programs", nil, 4 * time.Minute, command("scripts/build")},
		{"unit", "go test over what the race detector does not cover", nil, 4 * time.Minute, func(ctx context.Context, out io.Writer, t *tally) {
			goTest(ctx, out, t, packages(ctx, outsideRace), nil, "-timeout=3m")
		}},
		{"race", "the race detector over the core packages", compiler(), 4 * time.Minute, func(ctx context.Context, out io.Writer, t *tally) {
			goTest(ctx, out, t, packages(ctx, inCore), []string{"CGO_ENABLED=1"}, "-race", "-timeout=3m")
		}},
		{
			"python", "pytest over the SDK and the examples",
			[]string{"python3-pytest", "python3-grpcio", "python3-protobuf"},
			2 * time.Minute, pytest,
		},
		{
			"end to end", "the daemon with real Python workers",
			[]string{"python3-grpcio", "python3-protobuf"},
			4 * time.Minute,
			func(ctx context.Context, out io.Writer, t *tally) {
				goTest(ctx, out, t, packages(ctx, inEndToEnd), nil, "-count=1", "-timeout=3m")
			},
		},
		{"docs", "links, import floors, generated code", nil, time.Minute, func(ctx context.Context, out io.Writer, t *tally) {
			goTest(ctx, out, t, []string{"./test/docs/..."}, nil, "-count=1")
		}},
	}
}

// longAreas are those that `make test-all` adds.
func longAreas() []area {
	return []area{
		{
			"generated", "the generated code is fresh, with the pinned plugins",
			[]string{"protobuf-compiler", "libprotobuf-dev"},
			5 * time.Minute,
			func(ctx context.Context, out io.Writer, t *tally) {
				if err := execute(ctx, out, nil, "scripts/tools", "protoc-gen-go", "protoc-gen-go-grpc"); err != nil {
					t.fail(err.Error())
					return
				}
				goTest(ctx, out, t, []string{"./test/docs/..."}, nil, "-count=1", "-run=Generated")
			},
		},
		{"lint", "golangci-lint and shellcheck", nil, 15 * time.Minute, command("scripts/lint")},
		{
			"long", "end to end again with its long tests (SNAKEPIT_LONG=1)",
			[]string{"python3-grpcio", "python3-protobuf"},
			25 * time.Minute,
			func(ctx context.Context, out io.Writer, t *tally) {
				goTest(ctx, out, t, packages(ctx, inEndToEnd), []string{"SNAKEPIT_LONG=1"}, "-count=1", "-timeout=24m")
			},
		},
		{"fuzz", "every fuzz target for " + fuzzTime(), nil, 15 * time.Minute, fuzz},
		{
			"demo", "make demo",
			[]string{"python3-grpcio", "python3-protobuf"},
			3 * time.Minute, command("go", "run", "./test/demo"),
		},
		{
			"bench", "a short round of make bench",
			[]string{"python3-grpcio", "python3-protobuf"},
			5 * time.Minute, command("go", "run", "./bench", "-smoke"),
		},
	}
}

// named are the areas of a set, or the one area of that name.
func named(name string) []area {
	switch name {
	case "test":
		return shortAreas()
	case "test-all":
		return longAreas()
	}
	for _, a := range append(shortAreas(), longAreas()...) {
		if a.name == name {
			return []area{a}
		}
	}
	return nil
}

// command is an area that is one command: it passes or fails as a whole.
func command(argv ...string) func(context.Context, io.Writer, *tally) {
	return func(ctx context.Context, out io.Writer, t *tally) {
		if err := execute(ctx, out, nil, argv...); err != nil {
			t.fail(err.Error())
			return
		}
		t.passed++
	}
}

// pytest runs the Python tests and counts the cases of its JUnit report.
func pytest(ctx context.Context, out io.Writer, t *tally) {
	dir, err := os.MkdirTemp("", "snakepitd-report-")
	if err != nil {
		t.fail(err.Error())
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "junit.xml")
	ran := execute(ctx, out, []string{"PYTHONDONTWRITEBYTECODE=1"}, "/bin/sh", "-c",
		`cd python && exec "$0" -m pytest -q -p no:cacheprovider --junitxml="$1"`, python, file)
	if r, err := os.Open(file); err == nil {
		err = countJUnit(r, t)
		r.Close()
		if err != nil {
			t.fail(fmt.Sprintf("cannot read pytest's report: %v", err))
		}
	}
	if ran != nil && t.failed() == 0 {
		t.fail("pytest: " + ran.Error())
	}
}
