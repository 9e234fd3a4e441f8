package main

import (
	"slices"
	"time"
)

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

// middle is the median of durations.
func middle(list []time.Duration) time.Duration {
	all := make([]float64, len(list))
	for i, d := range list {
		all[i] = float64(d)
	}
	return time.Duration(median(all))
}

// ratio is the median of the ratios within each round, over the ratio of medians:
// a slow moment of the machine hits both sides of a round.
func ratio(a, b []time.Duration) float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = float64(a[i]) / float64(b[i])
	}
	return median(all)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func pick(list []measure, of func(measure) time.Duration) []time.Duration {
	all := make([]time.Duration, len(list))
	for i, m := range list {
		all[i] = of(m)
	}
	return all
}

func mid(list []measure, of func(measure) time.Duration) time.Duration {
	return middle(pick(list, of)).Round(time.Microsecond)
}

// added is the median of the differences within each round.
func added(a, b []measure, of func(measure) time.Duration) time.Duration {
	all := make([]time.Duration, len(a))
	for i := range a {
		all[i] = of(a[i]) - of(b[i])
	}
	return middle(all).Round(time.Microsecond)
}

func over(a, b []measure, of func(measure) time.Duration) float64 {
	return ratio(pick(a, of), pick(b, of))
}

func p50(m measure) time.Duration   { return m.p50 }
func p99(m measure) time.Duration   { return m.p99 }
func cpuOf(m measure) time.Duration { return m.cpu }

// each is the wall-clock time per call over all callers: one over the throughput.
func each(m measure) time.Duration { return m.each }
