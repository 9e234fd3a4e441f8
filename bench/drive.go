package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/snakepitd/snakepitd/test/textpool"
)

// measure is what a window of calls showed.
type measure struct {
	each     time.Duration // the window divided by its calls
	p50, p99 time.Duration
	cpu      time.Duration // of the server's process, per call
}

// payload is a message with so many bytes in it. The Python worker reads it as a nap
// of no time and echoes the bytes; the Go worker echoes whatever it gets.
func payload(size int) ([]byte, error) {
	return proto.Marshal(&textpool.NapRequest{Id: strings.Repeat("x", size)})
}

// drive makes unary calls from so many callers for warm-up and window. Where not one
// call ends within the window, it is doubled.
func drive(ctx context.Context, s *server, method string, callers, size int, window time.Duration) (measure, error) {
	for {
		m, err := driveFor(ctx, s, method, callers, size, window)
		if !errors.Is(err, errNone) || window > 10*time.Second {
			return m, err
		}
		window *= 2
	}
}

// errNone is a window without a call that ended in it.
var errNone = errors.New("no call ended within the window")

func driveFor(ctx context.Context, s *server, method string, callers, size int, window time.Duration) (measure, error) {
	var m measure
	message, err := payload(size)
	if err != nil {
		return m, err
	}
	conns := make([]*grpc.ClientConn, min(4, max(1, callers/4)))
	for i := range conns {
		c, err := dialRaw(s.address)
		if err != nil {
			return m, err
		}
		defer c.Close()
		conns[i] = c
	}
	warm := time.Now().Add(window / 4)
	end := warm.Add(window)
	ctx, cancel := context.WithDeadline(ctx, end.Add(time.Minute))
	defer cancel()
	took := make([][]time.Duration, callers)
	errs := make([]error, callers)
	var cpu time.Duration
	var group sync.WaitGroup
	group.Go(func() {
		wait(ctx, warm)
		before := s.cpu()
		wait(ctx, end)
		cpu = s.cpu() - before
	})
	for i := range callers {
		group.Go(func() {
			in := raw{mem.BufferSlice{mem.SliceBuffer(message)}}
			for began := time.Now(); began.Before(end); began = time.Now() {
				var out raw
				if err := conns[i%len(conns)].Invoke(ctx, method, &in, &out); err != nil {
					errs[i] = err
					return
				}
				n := out.data.Len()
				out.data.Free()
				if n < size {
					errs[i] = fmt.Errorf("%d bytes came back for %d", n, size)
					return
				}
				if ended := time.Now(); ended.After(warm) && ended.Before(end) {
					took[i] = append(took[i], ended.Sub(began))
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return m, fmt.Errorf("cannot call %s: %w", s.name, err)
		}
	}
	all := slices.Concat(took...)
	if len(all) == 0 {
		return m, errNone
	}
	slices.Sort(all)
	n := len(all)
	return measure{each: window / time.Duration(n), p50: all[n/2], p99: all[n*99/100], cpu: cpu / time.Duration(n)}, nil
}

// wait waits until a time, or until ctx ends.
func wait(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
