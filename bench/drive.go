package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// measure is what a window of calls showed.
type measure struct {
	rate     float64 // calls per second
	p50, p99 time.Duration
	cpu      time.Duration // of the server, per call
}

// drive makes unary calls from so many callers for warm-up and window.
func drive(s *server, method string, callers int, payload []byte, window time.Duration) (measure, error) {
	var m measure
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
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(time.Minute))
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
			in := raw{mem.BufferSlice{mem.SliceBuffer(payload)}}
			for {
				began := time.Now()
				if began.After(end) {
					return
				}
				var out raw
				if err := conns[i%len(conns)].Invoke(ctx, method, &in, &out); err != nil {
					errs[i] = err
					return
				}
				out.data.Free()
				if began.After(warm) {
					took[i] = append(took[i], time.Since(began))
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
		return m, fmt.Errorf("no call of %s ended in %s", s.name, window)
	}
	slices.Sort(all)
	n := len(all)
	return measure{
		rate: float64(n) / window.Seconds(), p50: all[n/2], p99: all[n*99/100],
		cpu: cpu / time.Duration(n),
	}, nil
}

func wait(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
