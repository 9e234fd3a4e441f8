// Command report runs the areas of `make test` or `make test-all` one after the
// other, all of them even when one fails, and ends in a table: what passed, failed
// and was skipped, and why. Its last line has the form
//
//	N passed, N failed, N skipped
//
// and it exits 1 when anything failed. What is counted: tests of Go without
// subtests of their own, cases of pytest, fuzz targets, and one for each area that
// is a single command.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// total bounds the whole run; every area has a tighter limit of its own.
const total = 50 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, total)
	code := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	stop()
	os.Exit(code)
}

// run runs the areas that the argument names and returns the exit status.
func run(ctx context.Context, args []string, out io.Writer) int {
	if len(args) != 1 || len(named(args[0])) == 0 {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/report test | test-all | AREA")
		return 2
	}
	var left []area
	if args[0] == "test" {
		left = longAreas()
	}
	var results []result
	for _, a := range named(args[0]) {
		results = append(results, runArea(ctx, a, out))
	}
	printTable(out, results, left)
	return exitStatus(results)
}

// runArea runs one area within its limit. An area in which nothing ran at all has
// failed: it would be green for ever.
func runArea(ctx context.Context, a area, out io.Writer) result {
	began := time.Now()
	fmt.Fprintf(out, "\n== %s: %s\n", a.name, a.what)
	ctx, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	var t tally
	if why := missing(ctx, a.needs); why != "" {
		t.skip("all", why)
	} else {
		a.run(ctx, out, &t)
	}
	if ctx.Err() != nil {
		t.fail(fmt.Sprintf("stopped after %s", time.Since(began).Round(time.Second)))
	}
	if t.passed+t.failed()+t.skipped() == 0 {
		t.fail("nothing ran")
	}
	return result{area: a.name, tally: t, took: time.Since(began)}
}
