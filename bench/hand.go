package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/snakepitd/snakepitd/test/daemontest"
)

// worker is the example worker, started by hand: no gate, no record, no port lease,
// no cgroup, nobody who watches it.
type worker struct {
	cmd     *exec.Cmd
	address string
	took    time.Duration // from the fork to READY=1
	notify  *net.UnixConn
}

// byHand starts the program as the daemon does, with the same environment, and
// returns when it has said READY=1.
func (b *bed) byHand(ctx context.Context) (*worker, error) {
	address, err := b.freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(b.dir, "n"+port)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer os.Remove(path) // nobody else needs its name after READY=1
	w := &worker{address: address, notify: conn}
	w.cmd = exec.CommandContext(context.WithoutCancel(ctx), daemontest.Python, "server.py", "--port", port)
	w.cmd.Dir = filepath.Join(b.root, "python", "examples", "text")
	w.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "OMP_NUM_THREADS=1",
		"PYTHONPATH=" + filepath.Join(b.root, "python"), "SNAKEPIT_ADDRESS=" + address, "SNAKEPIT_CONCURRENCY=1", "NOTIFY_SOCKET=" + path,
	}
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := w.cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	if err := w.awaitReady(ctx); err != nil {
		w.end()
		return nil, fmt.Errorf("cannot start a worker by hand: %w", err)
	}
	w.took = time.Since(began)
	return w, nil
}

func (w *worker) awaitReady(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { w.notify.Close() })()
	if err := w.notify.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	datagram := make([]byte, 4096)
	for {
		n, err := w.notify.Read(datagram)
		if err != nil {
			return err
		}
		if strings.Contains(string(datagram[:n]), "READY=1") {
			return nil
		}
	}
}

// end kills the worker and waits until it is gone.
func (w *worker) end() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	w.notify.Close()
}

// handful starts n workers by hand, as many at a time as the daemon does (its
// `newBoots`: one for each core, two at least), and says how long it took.
func (b *bed) handful(ctx context.Context, n int) (time.Duration, error) {
	places := make(chan struct{}, max(2, runtime.NumCPU()))
	workers, errs := make([]*worker, n), make([]error, n)
	var group sync.WaitGroup
	began := time.Now()
	for i := range n {
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			workers[i], errs[i] = b.byHand(ctx)
		})
	}
	group.Wait()
	took := time.Since(began)
	for _, w := range workers {
		if w != nil {
			w.end()
		}
	}
	return took, errors.Join(errs...)
}
