package manager

// State is where a slot stands. See docs/states.md, which is generated from the
// table.
type State string

// The states of a slot.
const (
	Down      State = "down"      // no process, none wanted
	Starting  State = "starting"  // a worker is being started
	Ready     State = "ready"     // its worker takes calls
	Draining  State = "draining"  // its worker finishes its calls and takes no new ones
	Stopping  State = "stopping"  // SIGTERM was sent
	Killing   State = "killing"   // SIGKILL was sent
	Releasing State = "releasing" // the process has ended; what it held is being verified gone
	Backoff   State = "backoff"   // waits before the next start
	Failed    State = "failed"    // gave up until the cool-down ends or a person resets it
)

// states in the order in which a worker usually passes them.
func states() []State {
	return []State{Down, Starting, Ready, Draining, Stopping, Killing, Releasing, Backoff, Failed}
}

// eventKind is what can happen to a slot.
type eventKind string

const (
	evWantUp     eventKind = "want-up"     // the goal became up
	evWantDown   eventKind = "want-down"   // the goal became down
	evRestart    eventKind = "restart"     // a person asks for a new worker; calls finish first
	evRestartNow eventKind = "restart-now" // the same, without waiting for calls
	evSpawned    eventKind = "spawned"     // the process exists and is held at the gate
	evWithheld   eventKind = "withheld"    // the process exists and must not leave the gate
	evNoProcess  eventKind = "no-process"  // the start ended before a process existed
	evReady      eventKind = "ready"       // the worker answers on its address
	evNotReady   eventKind = "not-ready"   // the worker cannot become ready
	evBootEnded  eventKind = "boot-ended"  // the wait for readiness ended because the process did
	evUnhealthy  eventKind = "unhealthy"   // the worker lives but cannot be reached
	evDrained    eventKind = "drained"     // its last call is over
	evExited     eventKind = "exited"      // the main process was reaped
	evReleased   eventKind = "released"    // processes, port and record are gone
	evNotRelease eventKind = "not-released"
	evDeadline   eventKind = "deadline" // the timer of the current state ran out
)

func eventKinds() []eventKind {
	return []eventKind{
		evWantUp, evWantDown, evRestart, evRestartNow, evSpawned, evWithheld, evNoProcess, evReady, evNotReady,
		evBootEnded, evUnhealthy, evDrained, evExited, evReleased, evNotRelease, evDeadline,
	}
}

// effect is work that a transition asks for. The loop performs it; what blocks
// runs in a goroutine and answers with one event.
type effect string

const (
	doLaunch    effect = "launch"    // lease a port, write the record, make the held process -> spawned | withheld | no-process
	doBoot      effect = "boot"      // open the gate, await readiness -> ready | not-ready | boot-ended
	doWatch     effect = "watch"     // -> exited
	doAbort     effect = "abort"     // tell launch and boot to answer soon
	doPublish   effect = "publish"   // give the worker to the lease table
	doWithdraw  effect = "withdraw"  // take it back; -> drained when its last call is over
	doTerminate effect = "terminate" // SIGTERM
	doKill      effect = "kill"      // SIGKILL to everything of the worker
	doRelease   effect = "release"   // verify that all is gone -> released | not-released
	doSteady    effect = "steady"    // the worker has proved itself: forget failures
)

// timer names the duration that a state is given before evDeadline.
type timer string

const (
	noTimer   timer = ""
	tStart    timer = "start_timeout"
	tStable   timer = "stable"
	tDrain    timer = "drain_timeout"
	tStop     timer = "stop_timeout"
	tKill     timer = "kill"
	tBackoff  timer = "backoff"
	tCooldown timer = "cool-down"
)

// verdict is the respawn policy's answer for the worker that just ended.
type verdict int

const (
	respawnNow verdict = iota
	respawnLater
	giveUp
)

// view is all that next may look at.
type view struct {
	state      State
	wanted     bool    // the goal is up
	planned    bool    // the end was asked for by a person, not a failure
	hasProcess bool    // spawned was seen and exited was not
	verdict    verdict // valid for evReleased
}

// outcome is what next decides.
type outcome struct {
	to    State
	do    []effect
	timer timer
}

// next decides what a slot does on an event. It is pure. known is false for an
// event that the table neither answers nor expects in this state: the loop counts
// and logs it.
func next(v view, on eventKind) (out outcome, known bool) {
	for _, r := range table() {
		if r.from != v.state || r.on != on || (r.when != nil && !r.when.holds(v)) {
			continue
		}
		return outcome{to: r.to, do: r.do, timer: r.timer}, true
	}
	return outcome{to: v.state}, tolerated(v.state, on)
}
