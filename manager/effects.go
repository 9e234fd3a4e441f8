package manager

import (
	"errors"
	"fmt"
	"time"

	"github.com/snakepitd/snakepitd/transport"
)

// perform does one effect for a slot. What blocks runs in a goroutine that has no
// state of its own and answers with one event.
func (p *pool) perform(s *slot, w *worker, e effect) {
	switch e {
	case doLaunch:
		s.planned, s.delay, s.kills = false, 0, 0
		w = p.newWorker(s)
		s.worker = w
		go p.launch(s.number, w)
	case doWatch:
		go p.watch(s.number, w)
	case doBoot:
		w.booted = make(chan struct{})
		go p.boot(s.number, w)
	case doAbort:
		w.abort()
	case doPublish:
		s.badStart = false
		p.policy.readied()
		p.leases.publish(w.member)
	case doWithdraw:
		p.leases.withdraw(w.member)
	case doTerminate:
		p.signal(w, "SIGTERM", w.process.Terminate)
	case doKill:
		s.kills++
		go p.signal(w, "SIGKILL", w.process.Kill)
	case doRelease:
		go p.release(s.number, w)
	case doSteady:
		s.failures = 0
	}
}

func (p *pool) signal(w *worker, name string, send func() error) {
	if err := send(); err != nil {
		p.shared.log.Error("cannot send "+name, "pool", p.conf.Name, "worker", w.id.String(), "error", err)
	}
}

// watch answers when the main process has been reaped.
func (p *pool) watch(slot int, w *worker) {
	<-w.process.Exited()
	p.shared.forget(w)
	p.inbox.put(event{kind: evExited, slot: slot, worker: w, exit: w.process.Exit()})
}

// newMember is the worker's entry in the lease table.
func (p *pool) newMember(s *slot, w *worker, conn *transport.Worker) *member {
	m := &member{
		worker: conn, name: w.id.String(), capacity: p.conf.Concurrency, reports: w.notices.reportsCalls,
		dead: make(chan struct{}), running: conn.Running, abandoned: map[string]bool{},
	}
	slot := s.number
	m.drained = func() { p.inbox.put(event{kind: evDrained, slot: slot, worker: w}) }
	m.broken = func() { go p.recheck(slot, w, m) }
	m.overran = func(call string) {
		p.inbox.put(event{kind: evUnhealthy, slot: slot, worker: w, cause: fmt.Sprintf(
			"it still ran call %s %s after the caller had left (overrun_timeout)", call, p.conf.OverrunTimeout)})
	}
	return m
}

// recheck finds out whether a worker whose connection broke still answers. When it
// died, watch tells; when it lives and cannot be reached again, it is unhealthy.
func (p *pool) recheck(slot int, w *worker, m *member) {
	ctx, cancel := w.while(reconnectTimeout)
	defer cancel()
	err := reach(ctx, w, m.worker.Connect)
	if err == nil {
		p.leases.trust(m)
		return
	}
	select {
	case <-w.process.Exited():
	default:
		p.inbox.put(event{kind: evUnhealthy, slot: slot, worker: w, cause: fmt.Sprintf("its connection broke and it cannot be reached again within %s: %v", reconnectTimeout, err)})
	}
}

// reconnectTimeout bounds how long a live worker may be unreachable.
const reconnectTimeout = 5 * time.Second

// errAborted ends launch and boot when the worker is not wanted any more.
var errAborted = errors.New("not wanted any more")
