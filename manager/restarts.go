package manager

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// The figures of the respawn policy (DESIGN: figures to build with).
const (
	readyEnough     = time.Second            // a worker ready for so long is respawned at once
	firstBackoff    = 200 * time.Millisecond // then doubling
	longestBackoff  = 30 * time.Second
	backoffJitter   = 0.2 // +-20 %
	budgetWindow    = 10 * time.Second
	startsInARow    = 5                // failed starts of a pool with none ready
	coolDown        = 30 * time.Second // how long failed lasts
	stableAfter     = 10 * time.Second // ready for so long: the slot's failures are forgotten
	firstKillAgain  = 2 * time.Second  // then doubling
	longestKillWait = time.Minute
)

// restarts is the respawn policy of one pool: feed it every death, ask it what
// to do. It has no clock and no goroutine of its own; the pool's loop owns it. The
// budget is the pool's alone: a crash loop here never disturbs another pool.
type restarts struct {
	workers     int
	deaths      []time.Time // unplanned deaths within budgetWindow, oldest first
	startsInRow int         // failed starts since a worker of the pool was last ready
	until       time.Time   // the pool is failed until then
	cause       string      // why it is, or was last, failed; "" after readied
}

// budget is how many unplanned deaths within budgetWindow a pool may have.
func (r *restarts) budget() int { return max(10, 3*r.workers) }

// readied tells that a worker became ready.
func (r *restarts) readied() {
	r.startsInRow = 0
	if r.until.IsZero() {
		r.cause = ""
	}
}

// died tells that a worker ended without having been asked to. failedStart is
// true for one that never was ready; otherReady is true while another worker of
// the pool is.
func (r *restarts) died(now time.Time, failedStart, otherReady bool) {
	if !r.until.IsZero() && !now.Before(r.until) {
		r.reset() // the cool-down is over: the budget starts anew
	}
	kept := r.deaths[:0]
	for _, t := range r.deaths {
		if now.Sub(t) < budgetWindow {
			kept = append(kept, t)
		}
	}
	r.deaths = append(kept, now)
	if failedStart {
		r.startsInRow++
	}
	switch {
	case len(r.deaths) > r.budget():
		r.fail(now, fmt.Sprintf("crash loop: %d workers died within %s, the budget is %d", len(r.deaths), budgetWindow, r.budget()))
	case r.startsInRow >= startsInARow && !otherReady:
		r.fail(now, fmt.Sprintf("%d starts in a row failed", r.startsInRow))
	}
}

func (r *restarts) fail(now time.Time, cause string) {
	r.until, r.cause = now.Add(coolDown), cause
}

// failed says whether the pool is in cool-down, and until when.
func (r *restarts) failed(now time.Time) (until time.Time, yes bool) {
	return r.until, now.Before(r.until)
}

// reset forgets everything: a person asked, or the cool-down is over.
func (r *restarts) reset() { *r = restarts{workers: r.workers} }

// backoff is the wait before a slot starts again after so many failures in a row,
// where the end of a worker that had been ready for readyEnough is none.
func backoff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := longestBackoff
	if failures < 16 {
		d = min(longestBackoff, firstBackoff<<(failures-1))
	}
	return time.Duration(float64(d) * (1 + backoffJitter*(2*rand.Float64()-1)))
}
