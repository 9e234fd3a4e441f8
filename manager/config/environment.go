package config

import (
	"maps"
	"path/filepath"
	"strconv"
	"strings"
)

// fixedPath is where programs are looked up; the daemon's own PATH never counts,
// so that the same configuration means the same program everywhere.
const fixedPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Home is the workers' HOME; the daemon makes it, Cache and Temp, for the pool's user.
func (p Pool) Home() string { return filepath.Join(p.Directory, "home") }

// Cache is the workers' XDG_CACHE_HOME.
func (p Pool) Cache() string { return filepath.Join(p.Directory, "cache") }

// Temp is the workers' TMPDIR.
func (p Pool) Temp() string { return filepath.Join(p.Directory, "tmp") }

// Environment is the whole environment of one worker, "KEY=VALUE" sorted by key;
// nothing of the daemon's own gets in. From the weakest to the strongest: our
// defaults, the pool's environment, files (what ReadEnvironment gave), contract
// (SNAKEPIT_* and NOTIFY_SOCKET, with their names).
func (r Resolved) Environment(v Values, files, contract map[string]string) []string {
	threads := strconv.Itoa(r.Pool.Concurrency)
	all := map[string]string{
		"PATH":                   r.searchPath(),
		"HOME":                   r.Pool.Home(),
		"XDG_CACHE_HOME":         r.Pool.Cache(),
		"TMPDIR":                 r.Pool.Temp(),
		"LANG":                   "C.UTF-8",
		"PYTHONUNBUFFERED":       "1",
		"OMP_NUM_THREADS":        threads,
		"OPENBLAS_NUM_THREADS":   threads,
		"MKL_NUM_THREADS":        threads,
		"NUMEXPR_NUM_THREADS":    threads,
		"VECLIB_MAXIMUM_THREADS": threads,
	}
	for name, template := range r.Pool.Environment {
		all[name] = v.expand(template, r.Python)
	}
	maps.Copy(all, files)
	maps.Copy(all, contract)
	list := make([]string, 0, len(all))
	for _, name := range sortedKeys(all) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// Argv is the command line of one worker; its program is r.Program.
func (r Resolved) Argv(v Values) []string {
	argv := make([]string, 0, len(r.Pool.Exec))
	for i, template := range r.Pool.Exec {
		if i == 0 {
			argv = append(argv, r.Program)
			continue
		}
		argv = append(argv, v.expand(template, r.Python))
	}
	return argv
}

func (r Resolved) searchPath() string {
	if r.VenvBin != "" {
		return r.VenvBin + ":" + fixedPath
	}
	return fixedPath
}

// isReserved says whether the variable belongs to the worker contract.
func isReserved(name string) bool {
	switch name {
	case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID":
		return true
	}
	return strings.HasPrefix(name, "SNAKEPIT_")
}

func reservedRule(name string) string {
	return name + " is set by snakepitd for every worker (SNAKEPIT_*, NOTIFY_SOCKET and WATCHDOG_* are): use another name"
}
