package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// steady is how long a worker must have been ready for the daemon to start its
// successor without back-off.
const steady = 1100 * time.Millisecond

// respawn measures what the death of a worker costs: the time until its successor is
// ready, and until the caller of a running call has its error.
func (p plan) respawn(ctx context.Context, b *bed) error {
	d, err := b.start(ctx, b.textPool(1, ""))
	if err != nil {
		return err
	}
	defer d.end()
	if _, err := d.ready(ctx, "text"); err != nil {
		return err
	}
	events, err := d.Control.Events(ctx, &snakepitv1.EventsRequest{Pool: "text", Follow: true})
	if err != nil {
		return err
	}
	g := &gravedigger{daemon: d, events: events}
	var start, exited, released, ready, direct, front []time.Duration
	for range p.rounds {
		w, err := b.byHand(ctx)
		if err != nil {
			return err
		}
		start = append(start, w.took)
		took, err := killDuringCall(ctx, w.address, w.cmd.Process.Pid)
		w.end()
		if err != nil {
			return err
		}
		direct = append(direct, took)

		old, err := g.steady(ctx)
		if err != nil {
			return err
		}
		killed := time.Now()
		if err := syscall.Kill(int(old.GetPid()), syscall.SIGKILL); err != nil {
			return err
		}
		at, err := g.succession(old, killed)
		if err != nil {
			return err
		}
		exited, released, ready = append(exited, at["exited"]), append(released, at["released"]), append(ready, at["ready"])

		if old, err = g.steady(ctx); err != nil {
			return err
		}
		killed = time.Now()
		if took, err = killDuringCall(ctx, d.listen, int(old.GetPid())); err != nil {
			return err
		}
		front = append(front, took)
		if _, err := g.succession(old, killed); err != nil {
			return err
		}
	}
	fmt.Printf("\n# Death of a worker by SIGKILL: %d rounds, medians\n\n", p.rounds)
	fmt.Println("| what | without snakepitd ms | snakepitd ms | ratio |")
	fmt.Println("|---|---|---|---|")
	fmt.Printf("| an idle worker: the daemon knows | | %.1f | |\n", millis(middle(exited)))
	fmt.Printf("| its process, port and record are verified gone | | %.1f | |\n", millis(middle(released)))
	fmt.Printf("| its successor is ready (without: one start by hand) | %.0f | %.0f | %.2f |\n", millis(middle(start)), millis(middle(ready)), ratio(ready, start))
	fmt.Printf("| the caller of a running call has its error (without: a direct call) | %.1f | %.1f | %.2f |\n", millis(middle(direct)), millis(middle(front)), ratio(front, direct))
	return nil
}

// gravedigger follows the deaths of the one worker of a daemon.
type gravedigger struct {
	daemon *daemon
	events grpc.ServerStreamingClient[snakepitv1.Event]
}

// steady waits until the worker has been ready for long enough and returns its slot.
func (g *gravedigger) steady(ctx context.Context) (*snakepitv1.Slot, error) {
	p, err := g.daemon.ready(ctx, "text")
	if err != nil {
		return nil, err
	}
	s := p.GetSlots()[0]
	wait(ctx, s.GetSince().AsTime().Add(steady))
	return s, ctx.Err()
}

// succession reads the events until the successor of a killed worker is ready and
// says when after the kill each thing happened.
func (g *gravedigger) succession(old *snakepitv1.Slot, killed time.Time) (map[string]time.Duration, error) {
	at := map[string]time.Duration{}
	for {
		ev, err := g.events.Recv()
		if err != nil {
			return nil, fmt.Errorf("no event tells of a successor of %s: %w", old.GetWorker(), err)
		}
		switch kind := ev.GetKind(); {
		case !ev.GetAt().AsTime().After(killed):
		case kind == "backoff" || kind == "failed":
			return nil, fmt.Errorf("cannot measure the respawn of %s: %s", old.GetWorker(), ev.GetMessage())
		case kind == "ready" && ev.GetWorker() != old.GetWorker(), ev.GetWorker() == old.GetWorker():
			at[kind] = ev.GetAt().AsTime().Sub(killed)
			if kind == "ready" {
				return at, nil
			}
		}
	}
}

// killDuringCall kills a worker while it runs a call and says how long the caller
// waited for the error.
func killDuringCall(ctx context.Context, address string, pid int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/textpool.v1.Text/Nap")
	if err != nil {
		return 0, err
	}
	if err := stream.SendMsg(&textpool.NapRequest{Seconds: 25}); err != nil {
		return 0, err
	}
	if err := stream.CloseSend(); err != nil {
		return 0, err
	}
	// The worker sends its header before it naps: the call runs.
	if _, err := stream.Header(); err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, err
	}
	if err := stream.RecvMsg(&textpool.NapReply{}); err == nil || ctx.Err() != nil {
		return 0, errors.New("a call outlived its worker")
	}
	return time.Since(killed), nil
}
