package manager

// guard narrows a rule; its name goes into the diagram.
type guard struct {
	name  string
	holds func(view) bool
}

// rule is one row of the state machine: in state from, on event on (when the
// guard holds), do the effects, set the timer and go to state to. The first row
// that fits decides.
type rule struct {
	from  State
	on    eventKind
	when  *guard
	to    State
	do    []effect
	timer timer
}

// table is the whole state machine of a slot.
//
// Invariants that the property tests hold it to: a slot is never starting before
// the former worker is released; never ready while unwanted; every process that
// was spawned is watched; nothing but released leads out of releasing.
func table() []rule {
	unwanted := &guard{"unwanted", func(v view) bool { return !v.wanted }}
	planned := &guard{"planned", func(v view) bool { return v.planned }}
	overBudget := &guard{"over budget", func(v view) bool { return v.verdict == giveUp }}
	atOnce := &guard{"at once", func(v view) bool { return v.verdict == respawnNow }}
	hasProcess := &guard{"process exists", func(v view) bool { return v.hasProcess }}

	return []rule{
		{from: Down, on: evWantUp, to: Starting, do: []effect{doLaunch}},

		{from: Starting, on: evSpawned, to: Starting, do: []effect{doWatch, doBoot}, timer: tStart},
		{from: Starting, on: evWithheld, to: Killing, do: []effect{doWatch, doKill}, timer: tKill},
		{from: Starting, on: evNoProcess, to: Releasing, do: []effect{doRelease}},
		{from: Starting, on: evReady, to: Ready, do: []effect{doPublish}, timer: tStable},
		{from: Starting, on: evNotReady, to: Killing, do: []effect{doKill}, timer: tKill},
		{from: Starting, on: evDeadline, to: Killing, do: []effect{doAbort, doKill}, timer: tKill},
		{from: Starting, on: evExited, to: Releasing, do: []effect{doRelease}},
		{from: Starting, on: evWantDown, when: hasProcess, to: Stopping, do: []effect{doAbort, doTerminate}, timer: tStop},
		{from: Starting, on: evRestart, when: hasProcess, to: Stopping, do: []effect{doAbort, doTerminate}, timer: tStop},
		{from: Starting, on: evRestartNow, when: hasProcess, to: Stopping, do: []effect{doAbort, doTerminate}, timer: tStop},
		{from: Starting, on: evWantDown, to: Stopping, do: []effect{doAbort}},
		// Not started yet: what launch is about to start is already new.
		{from: Starting, on: evRestart, to: Starting},
		{from: Starting, on: evRestartNow, to: Starting},

		{from: Ready, on: evDeadline, to: Ready, do: []effect{doSteady}},
		{from: Ready, on: evWantDown, to: Draining, do: []effect{doWithdraw}, timer: tDrain},
		{from: Ready, on: evRestart, to: Draining, do: []effect{doWithdraw}, timer: tDrain},
		{from: Ready, on: evRestartNow, to: Stopping, do: []effect{doWithdraw, doTerminate}, timer: tStop},
		{from: Ready, on: evUnhealthy, to: Stopping, do: []effect{doWithdraw, doTerminate}, timer: tStop},
		{from: Ready, on: evExited, to: Releasing, do: []effect{doWithdraw, doRelease}},

		{from: Draining, on: evDrained, to: Stopping, do: []effect{doTerminate}, timer: tStop},
		{from: Draining, on: evDeadline, to: Stopping, do: []effect{doTerminate}, timer: tStop},
		{from: Draining, on: evUnhealthy, to: Stopping, do: []effect{doTerminate}, timer: tStop},
		{from: Draining, on: evRestartNow, to: Stopping, do: []effect{doTerminate}, timer: tStop},
		{from: Draining, on: evExited, to: Releasing, do: []effect{doRelease}},

		{from: Stopping, on: evSpawned, to: Killing, do: []effect{doWatch, doKill}, timer: tKill},
		{from: Stopping, on: evWithheld, to: Killing, do: []effect{doWatch, doKill}, timer: tKill},
		{from: Stopping, on: evNoProcess, to: Releasing, do: []effect{doRelease}},
		{from: Stopping, on: evDeadline, to: Killing, do: []effect{doKill}, timer: tKill},
		{from: Stopping, on: evExited, to: Releasing, do: []effect{doRelease}},

		{from: Killing, on: evDeadline, to: Killing, do: []effect{doKill}, timer: tKill},
		{from: Killing, on: evExited, to: Releasing, do: []effect{doRelease}},

		{from: Releasing, on: evReleased, when: unwanted, to: Down},
		{from: Releasing, on: evReleased, when: planned, to: Starting, do: []effect{doLaunch}},
		{from: Releasing, on: evReleased, when: overBudget, to: Failed, timer: tCooldown},
		{from: Releasing, on: evReleased, when: atOnce, to: Starting, do: []effect{doLaunch}},
		{from: Releasing, on: evReleased, to: Backoff, timer: tBackoff},
		// Processes, port or record are still there: never proceed anyway.
		{from: Releasing, on: evNotRelease, to: Releasing, do: []effect{doRelease}},

		{from: Backoff, on: evDeadline, to: Starting, do: []effect{doLaunch}},
		{from: Backoff, on: evRestart, to: Starting, do: []effect{doLaunch}},
		{from: Backoff, on: evRestartNow, to: Starting, do: []effect{doLaunch}},
		{from: Backoff, on: evWantDown, to: Down},

		{from: Failed, on: evDeadline, to: Starting, do: []effect{doLaunch}},
		{from: Failed, on: evRestart, to: Starting, do: []effect{doLaunch}},
		{from: Failed, on: evRestartNow, to: Starting, do: []effect{doLaunch}},
		{from: Failed, on: evWantDown, to: Down},
	}
}

// tolerated says which events may reach a state without meaning anything there:
// late answers of effects that were under way when the state changed, and requests
// that the state already fulfils. Everything else is unexpected.
func tolerated(s State, on eventKind) bool {
	switch on {
	case evWantUp, evWantDown:
		return true // the goal is kept beside the state; released looks at it
	case evRestart, evRestartNow:
		return s == Draining || s == Stopping || s == Killing || s == Releasing || s == Down
	case evReady, evNotReady:
		return s == Stopping || s == Killing || s == Releasing
	case evBootEnded:
		return true
	case evUnhealthy, evDrained:
		return s == Draining || s == Stopping || s == Killing || s == Releasing
	default:
		return false
	}
}
