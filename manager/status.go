package manager

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// status is a snapshot of the pool and the given slots. Loop only.
func (p *pool) status(slots []int) *pb.Pool {
	f := p.leases.figures()
	out := &pb.Pool{
		Name: p.conf.Name, Workers: int32(p.conf.Workers), Ready: int32(p.ready()),
		InFlight: int32(f.inFlight), Queued: int32(f.queued), MaxQueue: int32(p.conf.MaxQueue),
		Calls: f.calls, Rejected: f.rejected, Deaths: p.died, Orphans: p.orphans,
		Services: p.conf.Services, Exec: p.conf.Exec, WorkingDirectory: p.conf.WorkingDirectory,
		UnexpectedEvents: p.unexpected,
	}
	out.State, out.Reason = p.summary()
	for _, n := range slots {
		out.Slots = append(out.Slots, p.slotStatus(p.slots[n]))
	}
	for _, q := range p.shared.ports.Quarantined() {
		if p.owns(q.Slot) {
			out.Quarantined = append(out.Quarantined, &pb.Quarantine{Port: int32(q.Port), Slot: q.Slot, Since: timestamppb.New(q.Since)})
		}
	}
	return out
}

func (p *pool) owns(slotName string) bool {
	for _, s := range p.slots {
		if s.name(p.conf.Name) == slotName {
			return true
		}
	}
	return false
}

// summary is the state of the pool in one word, and why it is not `ready`.
func (p *pool) summary() (state, reason string) {
	ready, failed, coming := p.ready(), false, false
	for _, s := range p.slots {
		failed = failed || s.state == Failed
		coming = coming || s.coming(p.conf.QueueTimeout)
	}
	switch {
	case p.stopping && p.allDown():
		return "down", ""
	case p.stopping:
		return "stopping", ""
	case ready == len(p.slots):
		return "ready", ""
	case failed && ready == 0 && !coming:
		return "failed", p.cause
	case ready == 0 && p.died == 0:
		return "warming", "no worker is ready yet"
	default:
		return "degraded", p.cause
	}
}

func (p *pool) slotStatus(s *slot) *pb.Slot {
	out := &pb.Slot{
		Slot: int32(s.number), State: string(s.state), Since: timestamppb.New(s.since),
		Failures: int32(s.failures), Deaths: s.deaths, Reason: s.reason,
	}
	if (s.state == Backoff || s.state == Failed) && s.next.After(time.Now()) {
		out.NextAttempt = timestamppb.New(s.next)
	}
	w := s.worker
	if w == nil {
		return out
	}
	out.Worker = w.id.String()
	if w.process == nil {
		return out // launch still fills in the rest
	}
	out.Pid, out.Port, out.Address = int32(w.process.Identity().PID), int32(w.port), w.address
	if s.state == Ready {
		out.WorkerStatus = w.notices.said()
	}
	if w.member != nil {
		inFlight, calls := p.leases.load(w.member)
		out.InFlight, out.Calls = int32(inFlight), calls
	}
	return out
}
