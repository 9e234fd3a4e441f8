package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

// fuzzTime is how long each target is fuzzed.
func fuzzTime() string { return cmp.Or(os.Getenv("FUZZTIME"), "20s") }

// fuzzTarget is one fuzz function.
type fuzzTarget struct{ pkg, name string }

// fuzz runs every fuzz target. An input that fails is kept by go test below the
// package's testdata/fuzz, where the ordinary tests run it from then on.
func fuzz(ctx context.Context, out io.Writer, t *tally) {
	cmd := prepare(ctx, nil, append([]string{"go", "test", "-list", "^Fuzz"}, packages(ctx, inUnit)...)...)
	cmd.Stderr = out
	listed, err := cmd.Output()
	if err != nil {
		out.Write(listed)
		t.fail("cannot list the fuzz targets of every package: " + err.Error())
	}
	for _, f := range fuzzTargets(listed) {
		fmt.Fprintf(out, "%s.%s\n", short(f.pkg), f.name)
		log, err := f.run(ctx)
		if err != nil && onlyTimeOver(log) {
			log, err = f.run(ctx)
		}
		if err != nil {
			out.Write(log)
			t.fail(short(f.pkg) + "." + f.name)
			continue
		}
		t.passed++
	}
}

func (f fuzzTarget) run(ctx context.Context) (log []byte, err error) {
	var b bytes.Buffer
	err = execute(ctx, &b, nil, "go", "test", "-run=^$", "-fuzz=^"+f.name+"$", "-fuzztime="+fuzzTime(), f.pkg)
	return b.Bytes(), err
}

// onlyTimeOver says that go test failed because its time was over while a worker of its
// own was busy (golang.org/issue/48591), and not because of an input: it found none.
func onlyTimeOver(log []byte) bool {
	return bytes.Contains(log, []byte("context deadline exceeded")) && !bytes.Contains(log, []byte("Failing input written to"))
}

// fuzzTargets reads the answer of go test -list: names, then the package that they
// are in.
func fuzzTargets(listed []byte) []fuzzTarget {
	var found []fuzzTarget
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(listed)); lines.Scan(); {
		line := strings.Fields(lines.Text())
		switch {
		case len(line) == 1 && strings.HasPrefix(line[0], "Fuzz"):
			names = append(names, line[0])
		case len(line) > 1 && line[0] == "ok":
			for _, name := range names {
				found = append(found, fuzzTarget{line[1], name})
			}
			names = nil
		}
	}
	return found
}
