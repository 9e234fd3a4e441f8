// Command demo shows snakepitd at work: it starts the daemon with the example pool
// in a temporary directory of its own, sends every licence text of this machine
// through it, kills a worker in the middle of a call, stops the daemon, and says of
// every claim whether it held. It exits 1 when one did not.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/snakepitd/snakepitd/test/daemontest"
)

// workers and callers of the demo.
const (
	workers = 4
	callers = 8
)

func main() {
	verbose := flag.Bool("v", false, "show the daemon's log as it comes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := &show{verbose: *verbose}
	err := s.run(ctx)
	stop()
	if err != nil {
		fmt.Printf("\nDEMO FAILED: %v\n", err)
		os.Exit(1)
	}
	if s.failed > 0 {
		fmt.Printf("\nDEMO FAILED: %d of %d claims did not hold (marked NO above)\n", s.failed, s.claims)
		os.Exit(1)
	}
	fmt.Printf("\nDEMO OK: all %d claims held\n", s.claims)
	fmt.Print(`
Next: make test                                   the tests
      bin/snakepitctl verify python/examples/text/pool.toml   a configuration, checked
      docs/guide.md                               a pool of your own, step by step
`)
}

// show is one run of the demo.
type show struct {
	verbose        bool
	claims, failed int
	daemon         *daemontest.Daemon
}

// claim prints one line and remembers whether it held.
func (s *show) claim(holds bool, format string, args ...any) {
	s.claims++
	mark := "ok"
	if !holds {
		mark = "NO"
		s.failed++
	}
	fmt.Printf("  %s  %s\n", mark, fmt.Sprintf(format, args...))
}

func (s *show) run(ctx context.Context) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "snakepitd-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := s.tools(ctx); err != nil {
		return err
	}
	began := time.Now()
	build := exec.CommandContext(ctx, "make", "-s", "build")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("cannot build: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // after the build, which may have to fetch modules
	defer cancel()
	fmt.Printf("\nbuilt bin/snakepitd, bin/snakepitctl, bin/snakepit-gate in %.1f s\n", time.Since(began).Seconds())

	var tee io.Writer
	if s.verbose {
		tee = os.Stderr
	}
	conf := daemontest.TextPool(root, workers, "ready = \"notify\"\n")
	began = time.Now()
	s.daemon, err = daemontest.Start(ctx, filepath.Join(root, "bin"), dir, conf, tee)
	if err != nil {
		return err
	}
	err = s.scenes(ctx, began)
	if err != nil {
		err = fmt.Errorf("%w\n--- the daemon's log ---\n%s", err, s.daemon.Log)
		s.daemon.Stop(context.WithoutCancel(ctx))
	}
	return err
}

func (s *show) scenes(ctx context.Context, began time.Time) error {
	if err := s.ready(ctx, began); err != nil {
		return err
	}
	conn, err := s.daemon.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.licences(ctx, conn); err != nil {
		return err
	}
	if err := s.kill(ctx, conn); err != nil {
		return err
	}
	return s.stop(ctx)
}

// tools prints what the demo runs on.
func (s *show) tools(ctx context.Context) error {
	fmt.Println("tools")
	fmt.Printf("  go       %s %s/%s\n", strings.TrimPrefix(runtime.Version(), "go"), runtime.GOOS, runtime.GOARCH)
	out, err := exec.CommandContext(ctx, daemontest.Python, "-c",
		"import sys, grpc, google.protobuf as p; print(sys.version.split()[0], grpc.__version__, p.__version__)").CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot use %s with grpc and protobuf: type `sudo apt-get install python3-grpcio python3-protobuf`\n%s", daemontest.Python, out)
	}
	f := strings.Fields(string(out))
	fmt.Printf("  python   %s (%s), grpcio %s, protobuf %s\n", f[0], daemontest.Python, f[1], f[2])
	return nil
}
