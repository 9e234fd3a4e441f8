package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/transport/transporttest"
)

// serve plays one server of the comparison in a process of its own: it prints its
// address and ends when standard input does.
func serve(role, backend string) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var run func(net.Listener) error
	switch role {
	case "backend":
		run = rawServer(echo).Serve
	case "bare":
		s, err := bareProxy(backend)
		if err != nil {
			return err
		}
		run = s.Serve
	case "front":
		w, err := transport.NewWorker(transport.WorkerOptions{
			Pool: "bench", Name: "bench-0-1", Address: backend, MaxMessage: 64 << 20,
			Verify: func(net.Conn) error { return nil },
		})
		if err != nil {
			return err
		}
		pool := transporttest.NewPool("bench", w)
		pool.Max, pool.Timeout = 64<<20, 5*time.Minute
		run = transport.NewFront(transport.FrontOptions{Router: pool, MaxMessage: 64 << 20}).Serve
	default:
		return fmt.Errorf("no such role: %s", role)
	}
	fmt.Println(l.Addr())
	failed := make(chan error, 1)
	go func() { failed <- run(l) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	return <-failed
}

// server is a server in a process of its own.
type server struct {
	name, address string
	pid           int // 0: not ours, no CPU is counted
	end           func()
}

// spawn starts ourselves in a role.
func spawn(role, backend string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), self, "-role", role, "-backend", backend)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end := func() { _ = in.Close(); _ = cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return nil, fmt.Errorf("cannot start %s: %w", role, err)
	}
	return &server{name: role, address: strings.TrimSpace(line), pid: cmd.Process.Pid, end: end}, nil
}

// cpu is the CPU time of the process so far, from its threads' schedstat: /proc's
// ticks of 10 ms are too coarse.
func (s *server) cpu() time.Duration {
	if s.pid == 0 {
		return 0
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(b), " ")
		if ns, err := strconv.ParseInt(first, 10, 64); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}
