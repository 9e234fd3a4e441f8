// Command snakepitctl shows and operates a running snakepitd, checks a
// configuration and calls a method through the front.
//
// One file a verb. It speaks the control API (snakepit.v1.Control) and gRPC; it
// never links the manager.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], world{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, uid: os.Geteuid(), now: time.Now,
	})
	stop()
	os.Exit(code)
}
