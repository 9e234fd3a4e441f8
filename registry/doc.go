// Package registry remembers what must not be forgotten or given out twice: the
// names of workers, the records of those that may have a process, and the ports
// they were leased.
//
// A record is written before its process exists and removed after the release is
// verified (ADR-004), so that whatever ends the daemon, the next one on the same
// directory knows where to look. Records live in one snapshot, run-state.json,
// which is replaced whole; a snapshot that cannot be trusted is set aside and
// never stops a start.
package registry
