package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// serve plays one server of the comparison in a process of its own, on an address
// or on one that it prints; then it ends when standard input does.
func serve(role, address, backend string) error {
	var s *grpc.Server
	var err error
	switch role {
	case "backend":
		s = rawServer(echo)
	case "bare":
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(400) // as snakepitd does
		}
		s, err = bareProxy(backend)
	default:
		err = fmt.Errorf("no such role: %s", role)
	}
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	if address != "" {
		return s.Serve(l)
	}
	fmt.Println(l.Addr())
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	return <-failed
}

// server is a server in a process of its own.
type server struct {
	name, address string
	pid           int // 0: no CPU is counted
	end           func()
}

// spawn starts ourselves in a role.
func (b *bed) spawn(role, backend string) (*server, error) {
	cmd := exec.CommandContext(context.Background(), b.self, "-role", role, "-backend", backend)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
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
