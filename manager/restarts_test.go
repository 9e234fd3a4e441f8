package manager

import (
	"testing"
	"time"
)

func TestBudgetOfAPool(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name       string
		workers    int
		deaths     int
		every      time.Duration
		failedWhen int // the death that makes the pool failed, 0 = none
		starts     bool
		others     bool
	}{
		{name: "one death a second is within the budget of four workers", workers: 4, deaths: 60, every: time.Second},
		{name: "ten a second is not", workers: 4, deaths: 20, every: 100 * time.Millisecond, failedWhen: 13},
		{name: "a small pool may die ten times in ten seconds", workers: 1, deaths: 11, every: 100 * time.Millisecond, failedWhen: 11},
		{name: "the budget grows with the pool", workers: 20, deaths: 60, every: time.Millisecond},
		{name: "five failed starts in a row with none ready", workers: 4, deaths: 5, every: 3 * time.Second, failedWhen: 5, starts: true},
		{name: "failed starts beside ready workers only back off", workers: 4, deaths: 20, every: 3 * time.Second, starts: true, others: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := restarts{workers: c.workers}
			failedAt := 0
			now := start
			for i := 1; i <= c.deaths; i++ {
				now = now.Add(c.every)
				r.died(now, c.starts, c.others)
				if _, yes := r.failed(now); yes && failedAt == 0 {
					failedAt = i
				}
			}
			if failedAt != c.failedWhen {
				t.Errorf("failed at death %d, want %d", failedAt, c.failedWhen)
			}
		})
	}
}

func TestBudgetAfterCoolDownIsNew(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := restarts{workers: 1}
	for range 11 {
		r.died(now, false, false)
	}
	until, yes := r.failed(now)
	if cause := r.cause; !yes || cause == "" || until.Sub(now) != coolDown {
		t.Fatalf("failed = %v until %v because of %q", yes, until, r.cause)
	}
	r.died(until, false, false)
	if _, yes := r.failed(until); yes {
		t.Error("one death after the cool-down made the pool failed again")
	}
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		failures int
		want     time.Duration
	}{
		{failures: 0, want: 0},
		{failures: 1, want: 200 * time.Millisecond},
		{failures: 2, want: 400 * time.Millisecond},
		{failures: 5, want: 3200 * time.Millisecond},
		{failures: 9, want: 30 * time.Second},
		{failures: 1000, want: 30 * time.Second},
	} {
		got := backoff(c.failures)
		low, high := time.Duration(float64(c.want)*0.8), time.Duration(float64(c.want)*1.2)
		if got < low || got > high {
			t.Errorf("backoff(%d) = %s, want %s +-20 %%", c.failures, got, c.want)
		}
	}
}
