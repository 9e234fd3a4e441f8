package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// String returns the size as the configuration writes it, exactly.
func (s Size) String() string {
	for _, u := range []struct {
		name  string
		bytes Size
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads a size as systemd writes it: "64M", "1G"; K, M and G have the
// base 1024 and a plain number is bytes.
func ParseSize(text string) (Size, error) {
	bad := fmt.Errorf("cannot read %q as a size: write a number of bytes or a number with K, M or G, for example \"64M\"", text)
	number, unit := splitNumber(strings.TrimSpace(text))
	var factor float64
	switch strings.TrimSpace(unit) {
	case "", "B":
		factor = 1
	case "K":
		factor = 1 << 10
	case "M":
		factor = 1 << 20
	case "G":
		factor = 1 << 30
	default:
		return 0, bad
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n*factor > 1<<52 || n*factor != math.Trunc(n*factor) {
		return 0, bad
	}
	return Size(n * factor), nil
}

// maxDuration keeps sums of durations far from overflow.
const maxDuration = 10 * 365 * 24 * time.Hour

// ParseDuration reads a duration as systemd writes it: "30s", "5min",
// "1h 30min", "500ms"; a plain number is seconds.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("cannot read %q as a duration: write for example \"500ms\", \"30s\", \"5min\" or \"1h 30min\"; a plain number is seconds", text)
	rest := strings.TrimSpace(text)
	if rest == "" {
		return 0, bad
	}
	var sum float64
	for rest != "" {
		var number string
		number, rest = splitNumber(rest)
		end := strings.IndexFunc(strings.TrimLeft(rest, " "), func(r rune) bool { return !isLetter(r) })
		rest = strings.TrimLeft(rest, " ")
		if end < 0 {
			end = len(rest)
		}
		n, err := strconv.ParseFloat(number, 64)
		unit, ok := durationUnit(rest[:end])
		if err != nil || !ok {
			return 0, bad
		}
		sum += n * float64(unit)
		rest = strings.TrimLeft(rest[end:], " ")
	}
	if sum > float64(maxDuration) {
		return 0, fmt.Errorf("the duration %q is longer than ten years: write less", text)
	}
	return time.Duration(math.Round(sum)), nil
}

func durationUnit(name string) (time.Duration, bool) {
	switch name {
	case "us", "usec":
		return time.Microsecond, true
	case "ms", "msec":
		return time.Millisecond, true
	case "", "s", "sec", "second", "seconds":
		return time.Second, true
	case "m", "min", "minute", "minutes":
		return time.Minute, true
	case "h", "hr", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return 24 * time.Hour, true
	case "w", "week", "weeks":
		return 7 * 24 * time.Hour, true
	}
	return 0, false
}

// FormatDuration writes a duration as the configuration does: "1h 30min".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	var parts []string
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}} {
		if n := d / u.unit; n > 0 {
			parts = append(parts, strconv.FormatInt(int64(n), 10)+u.name)
			d -= n * u.unit
		}
	}
	return strings.Join(parts, " ")
}

// splitNumber cuts the decimal number at the start of the text.
func splitNumber(text string) (number, rest string) {
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
