package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// world is what the command uses of the process it runs in.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	uid            int
	now            func() time.Time
}

// app is one run of the command: the world and the global flags.
type app struct {
	world
	control string // --control
	json    bool   // --json
}

const longHelp = `Show and operate a running snakepitd, check a configuration, call a method.

Exit codes:
  0  done
  1  the operation failed
  2  usage: an unknown verb or flag, a wrong argument
  3  no daemon: its socket cannot be reached
  4  not found: no such pool, slot, worker, service or method
  5  the configuration is not valid`

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, w world) int {
	out := &sink{to: w.stdout}
	w.stdout = out
	a := &app{world: w}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = fail(exitFailed, "", "cannot write the output: %w", out.err)
	}
	if err == nil {
		return exitOK
	}
	var f *failure
	if !errors.As(err, &f) {
		// What does not come from a verb comes from cobra: the line was wrong.
		f = &failure{exit: exitUsage, err: err, hint: "see snakepitctl --help"}
	}
	a.report(f)
	return f.exit
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "snakepitctl",
		Short:         "Show and operate a running snakepitd",
		Long:          longHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.control, "control", "",
		"control socket of the daemon, unix:`PATH` (default $SNAKEPIT_CONTROL, else unix:/run/snakepit/control.sock as root, unix:$XDG_RUNTIME_DIR/snakepit/control.sock as another user)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "write JSON; errors too, on stderr")
	root.AddCommand(a.statusCommand(), a.whyCommand(), a.restartCommand(), a.eventsCommand(), a.verifyCommand(), a.callCommand(), a.versionCommand())
	return root
}

// sink keeps the first error of the output, so that a full disk is not a success.
type sink struct {
	to  io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// printf writes to stdout; the sink keeps its errors.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// age is how long ago t was, in its two largest units, as the configuration
// writes durations.
func (a *app) age(t time.Time) string { return span(a.now().Sub(t)) }

// span is a duration in its two largest units: "2min 14s".
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	units := []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.unit {
			continue
		}
		out := fmt.Sprintf("%d%s", d/u.unit, u.name)
		if i+1 < len(units) {
			if rest := d % u.unit / units[i+1].unit; rest > 0 {
				out += fmt.Sprintf(" %d%s", rest, units[i+1].name)
			}
		}
		return out
	}
	return "0s"
}

// stamp is a moment in the zone of the reader.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// orDash keeps columns countable.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return clean(s)
}

// clean makes one line of text harmless for a terminal: workers and servers
// write what they like, control sequences included.
func clean(s string) string {
	var b strings.Builder
	for i, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case r == '\n' && i == len(s)-1:
		case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
