// Package daemontest runs a real snakepitd with real Python workers for the demo,
// the end-to-end tests and the benchmarks. It touches only what it started.
package daemontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// Python is the interpreter that sees Debian's python3-grpcio.
const Python = "/usr/bin/python3"

// Daemon is a running snakepitd.
type Daemon struct {
	Dir     string // its runtime directory
	Config  string
	Log     *Log
	Cmd     *exec.Cmd
	Control snakepitv1.ControlClient

	control *grpc.ClientConn
	exited  chan struct{}
	exitErr error
}

// Log keeps what a daemon wrote.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
	to  io.Writer // may be nil
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(p)
	if l.to != nil {
		l.to.Write(p)
	}
	return len(p), nil
}

// String is all of it so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Start runs the daemon of bin with a configuration whose text is conf; `{dir}` in
// it is not replaced: write absolute paths. It returns once the control socket
// answers. tee, which may be nil, sees the log as it comes.
func Start(ctx context.Context, bin, dir, conf string, tee io.Writer) (*Daemon, error) {
	d := &Daemon{Dir: filepath.Join(dir, "run"), Config: filepath.Join(dir, "snakepitd.toml"), Log: &Log{to: tee}}
	text := fmt.Sprintf("[daemon]\nruntime_dir = %q\n%s", d.Dir, conf)
	if err := os.WriteFile(d.Config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return d, d.Run(ctx, exec.Command(filepath.Join(bin, "snakepitd"), "--config", d.Config))
}

// Run starts cmd as the daemon and waits until it answers. What it writes goes to the
// log, unless cmd says where.
func (d *Daemon) Run(ctx context.Context, cmd *exec.Cmd) error {
	d.Cmd, d.exited = cmd, make(chan struct{})
	if cmd.Stderr == nil {
		cmd.Stderr, cmd.Stdout = d.Log, d.Log
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		d.exitErr = cmd.Wait()
		close(d.exited)
	}()
	conn, err := grpc.NewClient("unix:"+filepath.Join(d.Dir, "control.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		return err
	}
	d.control, d.Control = conn, snakepitv1.NewControlClient(conn)
	return d.await(ctx)
}

// await asks until the daemon answers: nothing tells when a socket appears.
func (d *Daemon) await(ctx context.Context) error {
	var dialer net.Dialer
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := dialer.DialContext(ctx, "unix", filepath.Join(d.Dir, "control.sock"))
		if err == nil {
			c.Close()
			if _, err := d.Control.Status(ctx, &snakepitv1.StatusRequest{}); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-d.exited:
			return fmt.Errorf("snakepitd ended at once: %w\n%s", d.exitErr, d.Log)
		case <-ctx.Done():
			return fmt.Errorf("snakepitd does not answer: %w\n%s", ctx.Err(), d.Log)
		}
	}
}

// Dial connects to the front.
func (d *Daemon) Dial(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy()}, opts...)
	return grpc.NewClient("unix:"+filepath.Join(d.Dir, "snakepitd.sock"), opts...)
}

// Pool is the status of one pool.
func (d *Daemon) Pool(ctx context.Context, name string) (*snakepitv1.Pool, error) {
	st, err := d.Control.Status(ctx, &snakepitv1.StatusRequest{Target: name})
	if err != nil {
		return nil, err
	}
	return st.GetPools()[0], nil
}

// AwaitPool waits until the pool fits, looking again at every event.
func (d *Daemon) AwaitPool(ctx context.Context, name string, fits func(*snakepitv1.Pool) bool) (*snakepitv1.Pool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := d.Control.Events(ctx, &snakepitv1.EventsRequest{Follow: true})
	if err != nil {
		return nil, err
	}
	for {
		p, err := d.Pool(ctx, name)
		if err != nil {
			return nil, err
		}
		if fits(p) {
			return p, nil
		}
		if _, err := events.Recv(); err != nil {
			return p, fmt.Errorf("pool %s is %s (%s), %d of %d workers ready: %w", name, p.GetState(), p.GetReason(), p.GetReady(), p.GetWorkers(), err)
		}
	}
}

// AllReady fits when every worker of the pool is ready.
func AllReady(p *snakepitv1.Pool) bool { return p.GetReady() == p.GetWorkers() }

// Stop asks the daemon to stop and waits until it has ended.
func (d *Daemon) Stop(ctx context.Context) error {
	if d.control != nil {
		d.control.Close()
	}
	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return d.Wait(ctx)
}

// Wait waits until the daemon has ended; when ctx ends first it is killed.
func (d *Daemon) Wait(ctx context.Context) error {
	select {
	case <-d.exited:
		return d.exitErr
	case <-ctx.Done():
		d.Cmd.Process.Kill()
		<-d.exited
		return fmt.Errorf("snakepitd did not stop: %w\n%s", ctx.Err(), d.Log)
	}
}

// TextPool is the configuration of the example pool of a checkout.
func TextPool(root string, workers int, more string) string {
	sdk := filepath.Join(root, "python")
	return fmt.Sprintf(`
[pool.text]
exec = ["{python}", "server.py", "--port", "{port}"]
working_directory = %q
python = %q
workers = %d
services = ["textpool.v1.Text"]
environment = { PYTHONPATH = %q }
%s
`, filepath.Join(sdk, "examples", "text"), Python, workers, sdk, more)
}
