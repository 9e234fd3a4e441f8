// Command bench measures what snakepitd costs, with a real daemon and real workers
// on loopback: the hop of a call against a direct call to the same worker and
// against a bare grpc-go stream proxy before it, and the start and the respawn of
// workers against starting the same program by hand. What is compared runs
// interleaved, and results are ratios, medians over the rounds: absolute figures of
// a shared machine mean little. docs/performance.md says how to read them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// plan is how much a run measures.
type plan struct {
	rounds         int           // of every comparison
	window         time.Duration // of one measurement
	callers, sizes []int
	spawns         []int // workers that are started at once
	limit          float64
}

func main() {
	role := flag.String("role", "", "internal: play one server (backend, bare)")
	backend := flag.String("backend", "", "internal: where the bare proxy passes calls on to")
	listen := flag.String("listen", "", "internal: where the role listens")
	rounds := flag.Int("rounds", 5, "rounds of every comparison")
	window := flag.Duration("window", 600*time.Millisecond, "length of one measurement")
	callers := flag.String("callers", "1,8,64", "numbers of callers, 64 at most")
	sizes := flag.String("sizes", "100,65536,1048576", "bytes of the payload")
	limit := flag.Float64("limit", 1.25, "fail when the median of the CPU ratios to the bare proxy is above (0: never)")
	smoke := flag.Bool("smoke", false, "everything once and very short: shows that it runs, measures nothing")
	flag.Parse()
	if *role != "" {
		if err := serve(*role, *listen, *backend); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	p := plan{*rounds, *window, numbers(*callers), numbers(*sizes), []int{1, 4, 16}, *limit}
	if *smoke {
		p.rounds, p.window, p.limit = 1, 50*time.Millisecond, 0
	}
	// SIGPIPE too: who reads our output may leave early, and nothing may be left then.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := p.run(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func numbers(list string) (out []int) {
	for field := range strings.SplitSeq(list, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(field)); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	return out
}

// run measures everything. It leaves no process and no file, however it ends.
func (p plan) run(ctx context.Context) error {
	if p.rounds < 1 || len(p.callers) == 0 || len(p.sizes) == 0 {
		return fmt.Errorf("cannot measure nothing: give -rounds, -callers and -sizes above 0")
	}
	began := time.Now()
	dir, err := os.MkdirTemp("", "snakepit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBed(ctx, dir)
	if err != nil {
		return err
	}
	ratio, err := p.hops(ctx, b)
	if err != nil {
		return err
	}
	if err := p.spawn(ctx, b); err != nil {
		return err
	}
	if err := p.respawn(ctx, b); err != nil {
		return err
	}
	if err := p.collector(ctx, b); err != nil {
		return err
	}
	fmt.Printf("\n%.0f s in all\n", time.Since(began).Seconds())
	return p.verdict(ratio)
}

// verdict says whether the target is met.
func (p plan) verdict(ratio float64) error {
	if p.limit <= 0 {
		fmt.Println("no target is checked in this run")
		return nil
	}
	target := fmt.Sprintf("at most %.2fx the CPU of a bare grpc-go stream proxy", p.limit)
	if ratio > p.limit {
		return fmt.Errorf("target NOT MET: %s; it is %.2fx", target, ratio)
	}
	fmt.Printf("target MET: %s; it is %.2fx\n", target, ratio)
	return nil
}

// bed is what all parts stand on.
type bed struct {
	root string // of the checkout
	dir  string // of the run, gone at its end
	bin  string // the programs, built from the checkout as it is
	self string // this program
	port atomic.Int32
}

func newBed(ctx context.Context, dir string) (*bed, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "cmd", "snakepitd")); err != nil {
		return nil, fmt.Errorf("cannot find snakepitd: run it at the top of the checkout: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bed{root: root, dir: dir, bin: filepath.Join(dir, "bin"), self: self}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", b.bin+"/", "./cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	// Not SIGKILL: go has a temporary directory of its own to remove.
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	build.WaitDelay = 3 * time.Second
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("cannot build snakepitd: %w", err)
	}
	return b, nil
}
