package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// maxFile is the longest configuration that is read; a real one has a few KiB.
const maxFile = 1 << 20

// seat is what the daemon's place in the system adds to the configuration.
type seat struct {
	uid        int
	runtimeDir string    // $XDG_RUNTIME_DIR
	ephemeral  PortRange // net.ipv4.ip_local_port_range, zero if unknown
}

// Load reads and validates the configuration. What is wrong with its text comes
// back as Problems, all that could be found.
func Load(path string) (*Config, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	here := seat{uid: os.Geteuid(), runtimeDir: os.Getenv("XDG_RUNTIME_DIR"), ephemeral: ephemeralPorts()}
	return load(path, absolute, data, here)
}

func read(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %s", path, Size(maxFile))
	}
	return data, err
}

// load turns text into a configuration; name is what problems call the file.
func load(name, absolute string, data []byte, here seat) (*Config, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark, which some editors write
	values, src, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	report := newReport(src)
	c := &Config{Path: absolute, src: src}
	decode(report, values, c)
	c.complete(here, report)
	c.validate(here, report)
	if err := report.problems.orNil(); err != nil {
		report.problems.sort()
		return nil, err
	}
	return c, nil
}

// decode fills the configuration with what is written and the fixed defaults.
func decode(r *report, values map[string]any, c *Config) {
	d := decoder{report: r}
	if _, ok := values["daemon"]; !ok {
		values["daemon"] = map[string]any{}
	}
	for _, name := range sortedKeys(values) {
		switch name {
		case "daemon":
			d.table(path{name}, values[name], &c.Daemon)
		case "pool":
			pools, ok := values[name].(map[string]any)
			if !ok {
				r.key(path{name}, "pool must be a table, not %s: write [pool.NAME] and the keys of that pool below", article(tomlType(values[name])))
				continue
			}
			for _, pool := range sortedKeys(pools) {
				p := Pool{Name: pool}
				if _, isTable := pools[pool].(map[string]any); !isTable && isPoolKey(pool) {
					r.key(path{name, pool}, "%s stands in [pool], but every pool has a name: write [pool.NAME] above it", pool)
					continue
				}
				if d.table(path{name, pool}, pools[pool], &p) {
					c.Pools = append(c.Pools, p)
				}
			}
		default:
			r.key(path{name}, "%s", unknownTable(name))
		}
	}
}

func unknownTable(name string) string {
	if s := suggest(name, []string{"daemon", "pool"}); s != "" {
		return fmt.Sprintf("unknown key %q: did you mean %q?", name, s)
	}
	if isPoolKey(name) {
		return fmt.Sprintf("%s stands outside of any table: write [pool.NAME] above it", name)
	}
	if isDaemonKey(name) {
		return fmt.Sprintf("%s stands outside of any table: write [daemon] above it", name)
	}
	return fmt.Sprintf("unknown key %q: there are [daemon] and [pool.NAME]", name)
}

// sort puts the problems in the order of the file.
func (ps Problems) sort() {
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].Line != ps[j].Line {
			return ps[i].Line < ps[j].Line
		}
		return ps[i].Column < ps[j].Column
	})
}

// complete computes the defaults that depend on something and makes paths absolute.
func (c *Config) complete(here seat, r *report) {
	d := &c.Daemon
	at := path{"daemon", "runtime_dir"}
	switch {
	case r.has(at):
	case d.RuntimeDir == "" && r.src.written(at):
		r.value(at, "runtime_dir is empty: write an absolute path or remove the key")
	case d.RuntimeDir == "" && here.uid == 0:
		d.RuntimeDir = "/run/snakepit"
	case d.RuntimeDir == "" && filepath.IsAbs(here.runtimeDir):
		d.RuntimeDir = filepath.Join(here.runtimeDir, "snakepit")
	case d.RuntimeDir == "":
		r.key(at, "runtime_dir has no default here, because XDG_RUNTIME_DIR is not set: write runtime_dir = \"/an/absolute/path\" in [daemon]")
	case !filepath.IsAbs(d.RuntimeDir):
		r.value(at, "runtime_dir %q is not absolute: write the whole path", d.RuntimeDir)
	default:
		d.RuntimeDir = filepath.Clean(d.RuntimeDir)
	}
	if n := len(d.RuntimeDir + "/snakepitd.sock"); n > maxSocketPath && !r.has(at) {
		r.value(at, "runtime_dir is too long: the sockets in it would have paths of %d bytes and more, Linux allows %d; choose a shorter one", n, maxSocketPath)
	}
	ready := !r.has(at)
	c.address(r, ready, "listen", &d.Listen, "snakepitd.sock", normalizeListen)
	c.address(r, ready, "control", &d.Control, "control.sock", normalizeControl)
	if d.DefaultPool == "" && len(c.Pools) == 1 && !r.src.written(path{"daemon", "default_pool"}) {
		d.DefaultPool = c.Pools[0].Name
	}
	base := filepath.Dir(c.Path)
	for i := range c.Pools {
		p := &c.Pools[i]
		p.Directory = filepath.Join(d.RuntimeDir, "pools", p.Name)
		p.WorkingDirectory = within(base, p.WorkingDirectory)
		if strings.Contains(p.Python, "/") {
			p.Python = within(p.WorkingDirectory, p.Python)
		}
		for j, f := range p.EnvironmentFile {
			if f != "" {
				p.EnvironmentFile[j] = within(p.WorkingDirectory, f)
			}
		}
	}
}

func (c *Config) address(r *report, ready bool, name string, target *string, file string, normalize func(string) (string, error)) {
	at := path{"daemon", name}
	if r.has(at) {
		return
	}
	if *target == "" && !r.src.written(at) {
		if !ready {
			return
		}
		*target = "unix:" + filepath.Join(c.Daemon.RuntimeDir, file)
	}
	normal, err := normalize(*target)
	if err != nil {
		r.value(at, "%s: %s", name, err)
		return
	}
	*target = normal
}

func within(base, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(base, name)
}

// written says whether the key is in the file.
func (s *source) written(p path) bool {
	_, ok := s.places[p.id()]
	return ok
}

// ephemeralPorts is the range from which the kernel gives ports to clients.
func ephemeralPorts() PortRange {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	fields := strings.Fields(string(data))
	if err != nil || len(fields) != 2 {
		return PortRange{}
	}
	first, errFirst := strconv.Atoi(fields[0])
	last, errLast := strconv.Atoi(fields[1])
	if errFirst != nil || errLast != nil {
		return PortRange{}
	}
	return PortRange{First: first, Last: last}
}
