package manager

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/snakepitd/snakepitd/registry"
)

// restartResult is how the restart of one slot ended: err is nil when a new worker
// is ready in it.
type restartResult struct {
	worker string
	err    error
}

// observe answers those who wait for a restarted slot once its new worker is
// ready, or is known not to come soon.
func (p *pool) observe(s *slot) {
	if len(s.observers) == 0 || s.planned {
		return
	}
	var r restartResult
	switch s.state {
	case Ready:
		r.worker = s.worker.id.String()
	case Backoff, Failed:
		r.err = errors.New(p.cause)
	case Down:
		r.err = errors.New("the pool is stopping")
	case Starting, Draining, Stopping, Killing, Releasing:
		return
	}
	for _, o := range s.observers {
		o <- r
	}
	s.observers = nil
}

// restartSlot asks one slot for a new worker and waits for it. A slot in back-off
// or failed starts at once.
func (p *pool) restartSlot(ctx context.Context, number int, now bool) (string, error) {
	result := make(chan restartResult, 1)
	kind := evRestart
	if now {
		kind = evRestartNow
	}
	ran := p.call(ctx, func() {
		s := p.slots[number]
		p.handle(event{kind: kind, slot: number})
		s.observers = append(s.observers, result)
		p.observe(s)
	})
	if !ran {
		return "", errors.New("the pool is stopping")
	}
	select {
	case r := <-result:
		return r.worker, r.err
	case <-p.done:
		return "", errors.New("the pool is stopping")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Restart replaces the workers of a pool, or the one of a slot, because a person
// asked: one after the other, each new worker ready before the next ends; with now
// all at once and without waiting for their calls. A restarted slot keeps its port.
// progress hears every new worker's name.
func (m *Manager) Restart(ctx context.Context, target string, now bool, progress func(old int, worker string)) error {
	p, slots, err := m.resolve(target)
	if err != nil {
		return err
	}
	if now {
		return p.restartAll(ctx, slots, progress)
	}
	for _, n := range slots {
		name, err := p.restartSlot(ctx, n, false)
		if err != nil {
			return fmt.Errorf("%s-%d: %w", p.conf.Name, n, err)
		}
		progress(n, name)
	}
	return nil
}

func (p *pool) restartAll(ctx context.Context, slots []int, progress func(int, string)) error {
	type answer struct {
		slot int
		name string
		err  error
	}
	answers := make(chan answer, len(slots))
	for _, n := range slots {
		go func() {
			name, err := p.restartSlot(ctx, n, true)
			answers <- answer{n, name, err}
		}()
	}
	var failed []error
	for range slots {
		a := <-answers
		if a.err != nil {
			failed = append(failed, fmt.Errorf("%s-%d: %w", p.conf.Name, a.slot, a.err))
			continue
		}
		progress(a.slot, a.name)
	}
	return errors.Join(failed...)
}

// resolve finds what a target names: a pool, a slot (`text-0`) or the worker that
// is in a slot now (`text-0-7`).
func (m *Manager) resolve(target string) (*pool, []int, error) {
	if p := m.pools[target]; p != nil {
		all := make([]int, len(p.slots))
		for i := range all {
			all[i] = i
		}
		return p, all, nil
	}
	name, rest, isSlot := strings.Cut(target, "-")
	p := m.pools[name]
	if p == nil {
		return nil, nil, fmt.Errorf("pool %q: %w", name, ErrNotFound)
	}
	if n, err := strconv.Atoi(rest); isSlot && err == nil && n >= 0 && n < len(p.slots) {
		return p, []int{n}, nil
	}
	id, err := registry.ParseWorkerID(target)
	if err != nil || id.Slot >= len(p.slots) {
		return nil, nil, fmt.Errorf("slot or worker %q: %w", target, ErrNotFound)
	}
	is := ""
	ended := !p.call(context.Background(), func() {
		if w := p.slots[id.Slot].worker; w != nil {
			is = w.id.String()
		}
	})
	if ended || is != target {
		return nil, nil, fmt.Errorf("worker %q: %w: its slot now holds %q", target, ErrNotFound, is)
	}
	return p, []int{id.Slot}, nil
}
