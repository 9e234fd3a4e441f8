package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Describe writes what the configuration means here, as Resolve found it. Values
// of environment and of environment files are never shown.
func (c *Config) Describe(w io.Writer, pools []Resolved) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	d := c.Daemon
	rows(t, "daemon", [][2]string{
		{"configuration", c.Path},
		{"listen", d.Listen},
		{"control", d.Control},
		{"runtime_dir", d.RuntimeDir},
		{"instance", d.Instance},
		{"ports", fmt.Sprintf("%s (%d)", d.Ports, d.Ports.Count())},
		{"default_pool", d.DefaultPool},
	})
	for _, p := range pools {
		p.describe(t)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(t, "warning: %s\n", warning)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("cannot describe the configuration: %w", err)
	}
	return nil
}

// Describe writes what the pool means here; no values of variables.
func (r Resolved) Describe(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	r.describe(t)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("cannot describe pool %s: %w", r.Pool.Name, err)
	}
	return nil
}

func (r Resolved) describe(t *tabwriter.Writer) {
	p := r.Pool
	address := "a Unix socket each, in " + p.Directory
	if p.UsesPort() {
		address = "127.0.0.1, a port each"
	}
	who := "the daemon's"
	if c := r.Credential; c != nil {
		who = fmt.Sprintf("%s (uid %d, gid %d)", c.Name, c.UID, c.GID)
	}
	call := FormatDuration(p.CallTimeout)
	if p.CallTimeout == 0 {
		call = "none"
	}
	quoted := make([]string, 0, len(p.Exec))
	for _, a := range p.Exec[1:] {
		quoted = append(quoted, quote(a))
	}
	rows(t, "pool "+p.Name, [][2]string{
		{"workers", fmt.Sprintf("%d, %d call(s) at a time each", p.Workers, p.Concurrency)},
		{"program", r.Program},
		{"arguments", strings.Join(quoted, " ")},
		{"working_directory", r.WorkingDirectory},
		{"python", r.Python},
		{"user", who},
		{"umask", p.Umask.String()},
		{"environment", strings.Join(sortedKeys(p.Environment), " ")},
		{"environment_file", strings.Join(r.EnvironmentFiles, " ")},
		{"search path", r.searchPath()},
		{"address", address},
		{"ready", fmt.Sprintf("%s, within %s", p.Ready, FormatDuration(p.StartTimeout))},
		{"services", strings.Join(p.Services, " ")},
		{"queue", fmt.Sprintf("%d calls, %s", p.MaxQueue, FormatDuration(p.QueueTimeout))},
		{"max_message", p.MaxMessage.String()},
		{"call_timeout", call},
		{"overrun_timeout", FormatDuration(p.OverrunTimeout)},
		{"drain_timeout", FormatDuration(p.DrainTimeout)},
		{"stop_timeout", FormatDuration(p.StopTimeout)},
		{"release_timeout", FormatDuration(p.ReleaseTimeout)},
	})
}

// rows writes a heading and the rows that have something to say.
func rows(t *tabwriter.Writer, heading string, list [][2]string) {
	fmt.Fprintf(t, "%s\n", heading)
	for _, row := range list {
		if row[1] != "" {
			fmt.Fprintf(t, "  %s\t%s\n", row[0], row[1])
		}
	}
}

// quote makes an argument readable: quotes only where there are blanks or
// characters that a terminal should not get.
func quote(arg string) string {
	plain := arg != ""
	for _, c := range arg {
		plain = plain && c > ' ' && c < 0x7f && c != '"'
	}
	if plain {
		return arg
	}
	return fmt.Sprintf("%q", arg)
}
