package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/snakepitd/snakepitd/units"
)

// fakeProcess is a process of fakeLauncher. While it listens, a gRPC server with
// a health service stands behind its address.
type fakeProcess struct {
	id     units.Identity
	spec   units.Spec
	exited chan struct{}
	obeyed chan struct{}

	mu       sync.Mutex
	script   script       // guarded by mu, as all below
	server   *grpc.Server // nil while it does not listen
	served   chan struct{}
	exit     units.Exit
	ended    bool
	released bool
	opened   bool
	terms    int
	kills    int
	releases int
	running  []string // calls that go on
	asked    []string // calls that the daemon asked about
}

// obey ends the script, and the process if it had survived a SIGKILL.
func (p *fakeProcess) obey() {
	p.mu.Lock()
	p.script = script{left: p.script.left}
	killed := p.kills > 0
	p.mu.Unlock()
	if killed {
		p.end(units.Exit{Code: -1, Signal: syscall.SIGKILL, At: time.Now()})
	}
}

// Open implements Process.
func (p *fakeProcess) Open() error {
	p.mu.Lock()
	s := p.script
	p.opened = true
	p.mu.Unlock()
	if s.output != "" {
		if _, err := io.WriteString(p.spec.Output, s.output); err != nil {
			return err
		}
	}
	switch {
	case s.openError != nil:
		p.end(units.Exit{Code: 126})
		return s.openError
	case s.ends != nil:
		p.end(*s.ends)
	case !s.silent:
		return p.listen()
	}
	return nil
}

// listen serves gRPC on the address that the process was given.
func (p *fakeProcess) listen() error {
	network, address := "tcp4", variable(p.spec, "SNAKEPIT_ADDRESS")
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return fmt.Errorf("cannot listen for %s: %w", p.spec.Name, err)
	}
	p.server = grpc.NewServer(grpc.UnaryInterceptor(p.tell))
	p.served = make(chan struct{})
	healthpb.RegisterHealthServer(p.server, health.NewServer())
	go func(server *grpc.Server, served chan struct{}) {
		defer close(served)
		_ = server.Serve(l)
	}(p.server, p.served)
	return nil
}

// tell answers whether a call still runs, as the SDK does.
func (p *fakeProcess) tell(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	p.mu.Lock()
	reports, running := p.script.reports, slices.Clone(p.running)
	p.asked = append(p.asked, md.Get("snakepit-call")...)
	p.mu.Unlock()
	if call := md.Get("snakepit-call"); reports && len(call) == 1 {
		answer := "0"
		if slices.Contains(running, call[0]) {
			answer = "1"
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("snakepit-running", answer)); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

func (p *fakeProcess) run(calls ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = calls
}

// askedAbout is how often the daemon asked about a call.
func (p *fakeProcess) askedAbout(call string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, asked := range p.asked {
		if asked == call {
			n++
		}
	}
	return n
}

// hangUp closes the listener and every connection; the process lives on.
func (p *fakeProcess) hangUp() {
	p.mu.Lock()
	server, served := p.server, p.served
	p.server = nil
	p.mu.Unlock()
	if server != nil {
		server.Stop()
		<-served
	}
}

// end is the end of the main process.
func (p *fakeProcess) end(exit units.Exit) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.ended, p.exit = true, exit
	p.mu.Unlock()
	p.hangUp()
	close(p.exited)
}

func (p *fakeProcess) crash() { p.end(units.Exit{Code: -1, Signal: syscall.SIGSEGV, At: time.Now()}) }

// Terminate implements Process.
func (p *fakeProcess) Terminate() error {
	p.mu.Lock()
	p.terms++
	deaf := p.script.deaf
	p.mu.Unlock()
	if !deaf {
		p.end(units.Exit{Code: -1, Signal: syscall.SIGTERM, At: time.Now()})
	}
	return nil
}

// Kill implements Process.
func (p *fakeProcess) Kill() error {
	p.mu.Lock()
	p.kills++
	immune := p.script.immune > 0
	p.script.immune--
	p.mu.Unlock()
	if !immune {
		p.end(units.Exit{Code: -1, Signal: syscall.SIGKILL, At: time.Now()})
	}
	return nil
}

// Release implements Process.
func (p *fakeProcess) Release(ctx context.Context) (left int, err error) {
	select {
	case <-p.exited:
	default:
		return 0, errors.New("cannot release a process that has not ended")
	}
	p.mu.Lock()
	p.releases++
	s := p.script
	p.script.stuck--
	p.mu.Unlock()
	if s.stuck > 0 {
		return 0, errors.New("1 process is left: 4711 in uninterruptible sleep")
	}
	if s.held != nil {
		select {
		case <-s.held:
		case <-p.obeyed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
	return s.left, nil
}

func (p *fakeProcess) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.released
}

// counts is how often the process was sent SIGTERM and SIGKILL.
func (p *fakeProcess) counts() (terms, kills int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.terms, p.kills
}

// ran says whether the gate was opened.
func (p *fakeProcess) ran() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

// Identity implements Process.
func (p *fakeProcess) Identity() units.Identity { return p.id }

// Exited implements Process.
func (p *fakeProcess) Exited() <-chan struct{} { return p.exited }

// Exit implements Process.
func (p *fakeProcess) Exit() units.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Owns implements Process.
func (p *fakeProcess) Owns(pid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pid == p.id.PID || p.script.forked != 0 && pid == p.script.forked
}

// OwnsConn implements Process.
func (p *fakeProcess) OwnsConn(net.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.script.stranger
}
