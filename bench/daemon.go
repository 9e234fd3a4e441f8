package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// daemon is a running snakepitd with a directory of its own.
type daemon struct {
	*daemontest.Daemon
	listen string
	dir    string
}

// textPool is the example pool, whose workers say themselves when they are ready.
func (b *bed) textPool(workers int, more string) string {
	return daemontest.TextPool(b.root, workers, "ready = \"notify\"\n"+more+"\n")
}

// echoPool is a pool of one worker in Go that echoes: ourselves.
func (b *bed) echoPool() string {
	return fmt.Sprintf(`
[pool.echo]
exec = [%q, "-role", "backend", "-listen", "127.0.0.1:{port}"]
working_directory = %q
concurrency = 64
services = ["bench.Echo"]
`, b.self, b.dir)
}

// start runs a daemon with these pools until end. It listens on TCP like the bare
// proxy, so that both are called the same way.
func (b *bed) start(ctx context.Context, pools string, env ...string) (*daemon, error) {
	dir, err := os.MkdirTemp(b.dir, "d")
	if err != nil {
		return nil, err
	}
	listen, err := b.freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	d := &daemon{&daemontest.Daemon{
		Dir: filepath.Join(dir, "run"), Config: filepath.Join(dir, "snakepitd.toml"), Log: &daemontest.Log{},
	}, listen, dir}
	conf := fmt.Sprintf("[daemon]\nruntime_dir = %q\nlisten = %q\nports = \"22000-22999\"\n%s", d.Dir, listen, pools)
	if err := os.WriteFile(d.Config, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	// Not bound to ctx: a daemon that is killed cannot stop its workers in order.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(b.bin, "snakepitd"), "--config", d.Config, "--log-level", "warn")
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := d.Run(ctx, cmd); err != nil {
		if cmd.Process != nil {
			d.end()
		}
		return nil, err
	}
	return d, nil
}

// ready waits until all workers of a pool are ready.
func (d *daemon) ready(ctx context.Context, pool string) (*snakepitv1.Pool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p, err := d.AwaitPool(ctx, pool, daemontest.AllReady)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, d.Log)
	}
	return p, nil
}

// end stops the daemon, also when everything else is over.
func (d *daemon) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.Stop(ctx); err != nil && !errors.Is(err, os.ErrProcessDone) {
		fmt.Fprintf(os.Stderr, "bench: snakepitd did not stop in order: %v\n%s", err, d.Log)
	}
	os.RemoveAll(d.dir)
}

// freeAddress is a loopback address that nobody listens on at the moment, another
// one each time. Its port is below those that the kernel gives to connections.
func (b *bed) freeAddress(ctx context.Context) (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 23000+b.port.Add(1)%1000)
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			return address, l.Close()
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	return "", errors.New("cannot find a free port within 23000-23999")
}
