package manager

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// handle takes one event through the state machine: drop what is stale, keep what
// the event brings, ask next, do what it says.
func (p *pool) handle(ev event) {
	s := p.slots[ev.slot]
	if ev.worker != nil && ev.worker != s.worker {
		return // of an earlier incarnation
	}
	if ev.kind == evDeadline && ev.timerSeq != s.timerSeq {
		return // of an earlier state
	}
	p.absorb(s, ev)
	out, known := next(s.view(), ev.kind)
	if !known {
		p.unexpected++
		p.event(slog.LevelWarn, "unexpected", s.worker, fmt.Sprintf("slot %d in state %s got %s: ignored", s.number, s.state, ev.kind))
		return
	}
	p.enter(s, out, ev)
}

// absorb keeps what an event brings, before the state machine looks at it.
func (p *pool) absorb(s *slot, ev event) {
	w := s.worker
	switch ev.kind {
	case evWantUp:
		s.wanted = true
	case evWantDown:
		s.wanted = false
	case evRestart, evRestartNow:
		if s.state == Releasing || (s.state != Killing && s.view().hasProcess) {
			s.planned = true
		}
		s.failures = 0 // a person says that the cause is mended
		if s.state == Backoff || s.state == Failed {
			p.policy.reset()
		}
	case evSpawned, evWithheld:
		w.process, w.started = ev.process, time.Now()
		w.note(ev.cause)
	case evReady:
		if s.state == Starting {
			w.ready = time.Now()
			w.member = p.newMember(s, w, ev.conn)
		} else {
			go ev.conn.Close() // it became ready too late to be wanted
		}
	case evNotReady, evBootEnded:
		w.note(ev.cause)
	case evNoProcess:
		w.note(ev.cause)
		p.ended(s, w, ev)
	case evUnhealthy:
		w.stopNote = ev.cause
	case evExited:
		w.ended = true
		p.ended(s, w, ev)
	case evReleased:
		p.released(s, w, ev)
	case evNotRelease:
		s.stuck, s.reason, p.cause = true, ev.cause, ev.cause
		p.event(slog.LevelError, "not-released", w, ev.cause)
	case evDeadline:
		if s.state == Starting {
			w.note(fmt.Sprintf("not ready within start_timeout (%s, ready = %q)", p.conf.StartTimeout, p.conf.Ready))
		}
	case evDrained:
	}
}

// enter moves the slot to the outcome's state and does its effects.
func (p *pool) enter(s *slot, out outcome, ev event) {
	from := s.state
	if from != out.to {
		s.state, s.since = out.to, time.Now()
	}
	if from != out.to || out.timer != noTimer {
		p.setTimer(s, out.timer)
	}
	p.explain(s, from, ev)
	for _, e := range out.do {
		p.perform(s, s.worker, e)
	}
	p.observe(s)
}

// explain keeps the reason of the new state and tells it.
func (p *pool) explain(s *slot, from State, ev event) {
	if from == s.state && ev.kind != evDeadline {
		return
	}
	w := s.worker
	switch s.state {
	case Starting:
		s.reason = "starting"
	case Ready:
		s.reason = ""
		if from != Ready {
			p.event(slog.LevelInfo, "ready", w, fmt.Sprintf("pid %d on %s after %s", w.process.Identity().PID, w.address, w.ready.Sub(w.started).Round(time.Millisecond)))
		}
	case Draining:
		s.reason = "finishes its calls (drain_timeout " + p.conf.DrainTimeout.String() + ")"
		p.event(slog.LevelInfo, "draining", w, "")
	case Stopping:
		s.reason = "was sent SIGTERM (stop_timeout " + p.conf.StopTimeout.String() + ")"
	case Killing:
		s.reason = "was sent SIGKILL"
		if w.bootNote != "" {
			s.reason += ": " + w.bootNote
		}
		p.event(slog.LevelWarn, "killing", w, s.reason)
	case Releasing:
		s.reason = "verifying that its processes, port and record are gone"
	case Backoff:
		s.reason = p.cause
		p.event(slog.LevelWarn, "backoff", nil, fmt.Sprintf("%s starts again in %s: %s", s.name(p.conf.Name), s.delay.Round(time.Millisecond), s.reason))
	case Failed:
		s.reason = p.cause
		p.event(slog.LevelError, "failed", nil, fmt.Sprintf("%s waits until %s: %s", s.name(p.conf.Name), s.next.Format(time.TimeOnly), s.reason))
	case Down:
		s.reason = ""
	}
}

// setTimer replaces the slot's one timer. The loop drops the deadline of an older
// one by its number.
func (p *pool) setTimer(s *slot, t timer) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.timerSeq++
	d := p.duration(s, t)
	if d <= 0 {
		return
	}
	ev := event{kind: evDeadline, slot: s.number, timerSeq: s.timerSeq}
	s.timer = time.AfterFunc(d, func() { p.inbox.put(ev) })
}

func (p *pool) duration(s *slot, t timer) time.Duration {
	switch t {
	case tStart:
		return p.conf.StartTimeout
	case tStable:
		return stableAfter
	case tDrain:
		return p.conf.DrainTimeout
	case tStop:
		return p.conf.StopTimeout
	case tKill:
		return min(longestKillWait, firstKillAgain<<min(s.kills, 8))
	case tBackoff, tCooldown:
		return max(time.Until(s.next), time.Millisecond)
	case noTimer:
	}
	return 0
}

// ended records the death of a worker and asks the policy what follows.
func (p *pool) ended(s *slot, w *worker, ev event) {
	d := w.death(p.conf.Name, ev.exit, s.planned, s.wanted)
	if w.member != nil {
		_, d.Calls = p.leases.load(w.member)
		p.leases.died(w.member, d.Reason)
	}
	p.deaths = append(p.deaths, d)
	if len(p.deaths) > keptDeaths {
		p.deaths = p.deaths[1:]
	}
	if !s.wanted || s.planned {
		p.event(slog.LevelInfo, "exited", w, d.Reason)
		return
	}
	p.event(slog.LevelWarn, "exited", w, d.Reason)
	now := time.Now()
	s.deaths++
	p.died++
	s.badStart = w.ready.IsZero()
	s.failures++
	if !s.badStart && now.Sub(w.ready) >= readyEnough {
		s.failures = 0 // it had served: respawned at once, and no step on the way to a long wait
	}
	s.delay = backoff(s.failures)
	p.cause = w.id.String() + ": " + d.Reason
	p.policy.died(now, s.badStart, p.otherReady(s))
}

func (p *pool) otherReady(s *slot) bool {
	for _, o := range p.slots {
		if o != s && o.state == Ready {
			return true
		}
	}
	return false
}

// released takes the former worker out of its slot and sets the verdict on what
// comes next.
func (p *pool) released(s *slot, w *worker, ev event) {
	if d := p.deathOf(w); d != nil {
		d.finish(w, ev.left)
		p.cause = d.Worker + " " + d.Cause + ": " + d.Reason
		if d.Cause == CauseStartFailed {
			p.cause = d.Worker + " failed to start: " + d.Reason
		}
		if failure := p.policy.cause; failure != "" {
			p.cause = failure + "; last: " + p.cause
		}
	}
	message := "processes, port and record are gone"
	if ev.left > 0 {
		p.orphans += uint64(ev.left)
		message = fmt.Sprintf("%s; %d processes that it had left behind were killed", message, ev.left)
	}
	p.event(slog.LevelInfo, "released", w, message)
	if ev.moved != 0 {
		p.event(slog.LevelError, "quarantined", w, fmt.Sprintf("port %d stays busy after release_timeout (%s): somebody else holds it; the slot gets another port", ev.moved, p.conf.ReleaseTimeout))
	}
	s.worker, s.kills, s.stuck = nil, 0, false
	now := time.Now()
	s.verdict, s.next = respawnNow, now
	if until, failed := p.policy.failed(now); failed && !s.planned {
		s.verdict, s.next = giveUp, until
	} else if s.delay > 0 && !s.planned {
		s.verdict, s.next = respawnLater, now.Add(s.delay)
	}
}

func (p *pool) deathOf(w *worker) *Death {
	name := w.id.String()
	for _, v := range slices.Backward(p.deaths) {
		if v.Worker == name {
			return v
		}
	}
	return nil
}
