// Package manager keeps pools of workers alive. It joins what the packages
// below it own: config says what is wanted, registry remembers names, ports and
// records, units starts and ends processes, transport carries the calls.
//
// A pool is one event loop that owns the states of all its slots (ADR-003). A
// slot is a stable numbered place that supervises one worker at a time: it keeps
// the port, the history and the goal, and it answers a death, so that the rest of
// the pool only sees capacity come and go (ADR-001). What happens next is decided
// by the pure function next over the table in table.go; everything that blocks
// runs in an effect that answers with exactly one event. A slot starts again only
// after its former worker's processes, port and record are verifiably gone
// (ADR-004).
//
// Calls never wait for a loop: they take leases from a small table (leases.go)
// that only the loop adds workers to.
package manager
