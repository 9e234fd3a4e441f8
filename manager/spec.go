package manager

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/units"
)

// Output makes the writer that a worker's output goes to, beside its tail.
type Output func(worker string) Flusher

// Flusher is a writer that may hold back an unfinished line until Flush.
type Flusher interface {
	io.Writer
	Flush() error
}

// spec is what a worker runs: its pool's command and environment with the
// placeholders filled in, and the worker contract.
func (p *pool) spec(w *worker) (units.Spec, error) {
	values := config.Values{Port: w.port, Socket: w.socket, Slot: w.id.Slot, Worker: w.id.String()}
	files, err := p.found.ReadEnvironment() // at every start: never kept, never shown
	if err != nil {
		return units.Spec{}, err
	}
	w.output = p.shared.output(w.id.String())
	spec := units.Spec{
		Name: w.id.String(), Path: p.found.Program, Argv: p.found.Argv(values),
		Env: p.found.Environment(values, files, p.contract(w)), Dir: p.found.WorkingDirectory, Umask: int(p.conf.Umask),
		Output: io.MultiWriter(w.tail, w.output),
	}
	if c := p.found.Credential; c != nil {
		spec.Credential = &units.Credential{UID: uint32(c.UID), GID: uint32(c.GID)}
		for _, g := range c.Groups {
			spec.Credential.Groups = append(spec.Credential.Groups, uint32(g))
		}
	}
	return spec, nil
}

// contract is what every worker finds in its environment, in any language.
func (p *pool) contract(w *worker) map[string]string {
	return map[string]string{
		"SNAKEPIT_ADDRESS":     w.address,
		"SNAKEPIT_WORKER":      w.id.String(),
		"SNAKEPIT_POOL":        p.conf.Name,
		"SNAKEPIT_SLOT":        strconv.Itoa(w.id.Slot),
		"SNAKEPIT_RUN_ID":      p.shared.runID,
		"SNAKEPIT_CONCURRENCY": strconv.Itoa(p.conf.Concurrency),
		"SNAKEPIT_MAX_MESSAGE": strconv.FormatInt(int64(p.conf.MaxMessage), 10),
		// Longer than ours: what ends a call that does not end is the daemon's SIGKILL,
		// for then its caller gets our typed answer.
		"SNAKEPIT_STOP_TIMEOUT": strconv.FormatFloat((p.conf.StopTimeout + stopGrace).Seconds(), 'f', -1, 64),
		"NOTIFY_SOCKET":         p.shared.notifyPath,
	}
}

// MakeDirectories makes a pool's own directories: HOME, cache and TMPDIR of its
// workers, and the place of their sockets.
func MakeDirectories(found config.Resolved) error {
	conf := found.Pool
	parent := filepath.Dir(conf.Directory)
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return fmt.Errorf("cannot make the directory of the pools: %w", err)
	}
	// Every pool's user must get through it to its own, whatever our umask is.
	if err := os.Chmod(parent, 0o711); err != nil {
		return fmt.Errorf("cannot open the directory of the pools: %w", err)
	}
	for _, dir := range []string{conf.Directory, conf.Home(), conf.Cache(), conf.Temp()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make a directory of pool %s: %w", conf.Name, err)
		}
		if c := found.Credential; c != nil {
			if err := os.Chown(dir, c.UID, c.GID); err != nil {
				return fmt.Errorf("cannot give a directory of pool %s to %s: %w", conf.Name, c.Name, err)
			}
		}
	}
	return nil
}

// stopGrace is how much longer than stop_timeout a worker may believe it has.
const stopGrace = 5 * time.Second
