package manager

import (
	"context"
	"net"

	"github.com/snakepitd/snakepitd/units"
)

// Launcher starts workers and knows what else of ours is running. Direct children
// are one; systemd scopes will be another.
type Launcher interface {
	// Start makes a process that is held at the gate: it has run nothing yet.
	Start(ctx context.Context, spec units.Spec) (Process, error)
	// Reap ends what a former daemon left under an identity; nothing there is success.
	Reap(ctx context.Context, id units.Identity) error
	// Orphans ends and returns every process of ours that no worker owns.
	Orphans(ctx context.Context) ([]units.Orphan, error)
	// NotGuaranteed says what this launcher cannot promise here.
	NotGuaranteed() []string
}

// Process is one started worker.
type Process interface {
	Lifecycle
	Observed
	Owner
}

// Lifecycle takes a process from the gate to its release. No context that ends
// ever ends a worker: a ctx here only bounds how long the caller waits.
type Lifecycle interface {
	Open() error
	Terminate() error
	Kill() error
	Release(ctx context.Context) (left int, err error)
}

// Observed tells who the process is and how it ended.
type Observed interface {
	Identity() units.Identity
	Exited() <-chan struct{}
	Exit() units.Exit
}

// Owner tells what belongs to the worker.
type Owner interface {
	Owns(pid int) bool
	OwnsConn(conn net.Conn) error
}

// Direct is the launcher of direct children.
type Direct struct{ *units.Direct }

// Start implements Launcher.
func (d Direct) Start(ctx context.Context, spec units.Spec) (Process, error) {
	p, err := d.Direct.Start(ctx, spec)
	if err != nil {
		return nil, err // not a nil *units.Process in an interface
	}
	return p, nil
}
