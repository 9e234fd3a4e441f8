package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/snakepitd/snakepitd/manager"
	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/units"
)

// daemon is everything that one run of snakepitd holds, in the order in which it
// was made; stop undoes it backwards.
type daemon struct {
	log      *slog.Logger
	registry *registry.Registry
	launcher *units.Direct
	notify   *units.NotifySocket
	front    *transport.Front
	control  *transport.Control
	manager  *manager.Manager
	calls    net.Listener
	ops      net.Listener
	failed   chan error
	conf     *config.Config
	runID    string
}

func newDaemon(conf *config.Config, pools []config.Resolved, log *slog.Logger, output io.Writer) (d *daemon, err error) {
	d = &daemon{log: log, conf: conf, runID: registry.NewRunID(), failed: make(chan error, 3)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	dir := conf.Daemon.RuntimeDir
	// The lock comes first: a second daemon on the same directory must touch nothing.
	if d.registry, err = registry.Open(dir, d.runID, log); err != nil {
		return d, err
	}
	for _, p := range pools {
		if err := manager.MakeDirectories(p); err != nil {
			return d, err
		}
	}
	gate, err := gatePath()
	if err != nil {
		return d, err
	}
	d.launcher, err = units.NewDirect(units.DirectOptions{Gate: gate, Instance: conf.Daemon.Instance, RunID: d.runID, Log: log, CGroup: "auto"})
	if err != nil {
		return d, err
	}
	notifyPath := filepath.Join(dir, "notify.sock")
	if d.notify, err = units.ListenNotify(notifyPath, log); err != nil {
		return d, err
	}
	if d.calls, err = transport.Listen(conf.Daemon.Listen); err != nil {
		return d, err
	}
	if d.ops, err = transport.Listen(conf.Daemon.Control); err != nil {
		return d, err
	}
	health := transport.NewHealth(poolNames(pools))
	d.manager = manager.New(manager.Options{
		Version: version, RunID: d.runID, Config: conf, Pools: pools,
		Registry: d.registry, Launcher: manager.Direct{Direct: d.launcher}, Health: health,
		Output: func(worker string) manager.Flusher { return units.NewPrefixer(worker, output) }, Log: log, NotifyPath: notifyPath,
	})
	d.front = transport.NewFront(transport.FrontOptions{Router: d.manager, Health: health, Log: log, MaxMessage: longestMessage(pools)})
	d.control = transport.NewControl(manager.Operator{Manager: d.manager}, log)
	return d, nil
}

func poolNames(pools []config.Resolved) []string {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Pool.Name
	}
	return names
}

// longestMessage is the largest max_message of all pools, in bytes: beyond it the
// front need not read on to know that a message is too long.
func longestMessage(pools []config.Resolved) (longest int) {
	for _, p := range pools {
		longest = max(longest, int(p.Pool.MaxMessage))
	}
	return longest
}

// gatePath finds snakepit-gate beside our own binary, which is how it is built and
// installed.
func gatePath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find snakepit-gate: %w", err)
	}
	return filepath.Join(filepath.Dir(self), "snakepit-gate"), nil
}

// start opens the doors and starts the pools.
func (d *daemon) start() {
	go d.run("the notify socket", func() error { return d.notify.Serve(d.manager.Notified) })
	go d.run("the front", func() error { return d.front.Serve(d.calls) })
	go d.run("the control socket", func() error { return d.control.Serve(d.ops) })
	d.log.Info("snakepitd is running", "version", version, "pid", os.Getpid(), "run_id", d.runID,
		"config", d.conf.Path, "listen", d.conf.Daemon.Listen, "control", d.conf.Daemon.Control)
	for _, what := range d.launcher.NotGuaranteed() {
		d.log.Warn("not guaranteed without systemd: " + what)
	}
	d.manager.Start()
}

func (d *daemon) run(what string, serve func() error) {
	if err := serve(); err != nil {
		d.failed <- fmt.Errorf("cannot serve %s: %w", what, err)
	}
}

// await returns when a signal asks the daemon to stop, or with the error of a door
// that closed by itself.
func (d *daemon) await(signals <-chan os.Signal) error {
	select {
	case s := <-signals:
		d.log.Info("stopping: calls in flight are finished first", "signal", s.String())
		return nil
	case err := <-d.failed:
		d.log.Error("stopping", "error", err)
		return err
	}
}

// stop ends the pools (calls in flight finish, unless now is closed), then the
// doors, then gives back what the daemon holds.
func (d *daemon) stop(ctx context.Context, now <-chan struct{}) error {
	orphans, err := d.manager.Stop(ctx, now)
	farewell, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	d.front.Drain(farewell)
	d.control.Stop(farewell)
	d.log.Info("stopped", "orphans", orphans, "records", len(d.registry.Records()))
	return errors.Join(err, d.close())
}

// farewellTimeout is how long answers that are ready may take to be read.
const farewellTimeout = 2 * time.Second

func (d *daemon) close() error {
	var errs []error
	if d.notify != nil {
		errs = append(errs, d.notify.Close())
	}
	for _, l := range []net.Listener{d.calls, d.ops} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if d.launcher != nil {
		errs = append(errs, d.launcher.Close())
	}
	if d.registry != nil {
		errs = append(errs, d.registry.Close())
	}
	return errors.Join(errs...)
}
