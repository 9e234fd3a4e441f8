package config

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// validate checks what single values and all of them together must hold.
func (c *Config) validate(here seat, r *report) {
	c.validateDaemon(r)
	if len(c.Pools) == 0 && len(r.problems) == 0 {
		r.key(nil, "no pool is defined: write at least\n    [pool.text]\n    exec = [\"{python}\", \"server.py\", \"--port\", \"{port}\"]")
	}
	for i := range c.Pools {
		c.Pools[i].validate(path{"pool", c.Pools[i].Name}, r)
	}
	c.validateServices(r)
	c.validatePorts(here, r)
	for _, p := range c.Pools {
		if here.uid == 0 && p.User == "" {
			c.Warnings = append(c.Warnings, fmt.Sprintf("the workers of pool %s run as root: write user = \"NAME\" in [pool.%s]", p.Name, p.Name))
		}
	}
}

func (c *Config) validateDaemon(r *report) {
	d := c.Daemon
	at := path{"daemon"}
	if d.Instance != "" && !isName(d.Instance) {
		r.value(at.with("instance"), "the instance %q is not a name: %s", d.Instance, nameRule(d.Instance))
	}
	if d.Listen != "" && d.Listen == d.Control {
		r.value(at.with("control"), "control is the same socket as listen (%s): write another path", d.Control)
	}
	var known []string
	for _, p := range c.Pools {
		if p.Name == d.DefaultPool {
			return
		}
		known = append(known, p.Name)
	}
	if key := at.with("default_pool"); r.src.written(key) && !r.has(key) || d.DefaultPool != "" {
		message := fmt.Sprintf("default_pool %q is not a pool here", d.DefaultPool)
		if s := suggest(d.DefaultPool, known); s != "" {
			message += fmt.Sprintf(": did you mean %q?", s)
		} else {
			message += ": name one of " + strings.Join(known, ", ")
		}
		r.value(key, "%s", message)
	}
}

// isName: [a-z][a-z0-9_]{0,30}.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 31
}

func nameRule(name string) string {
	rule := "names are [a-z][a-z0-9_]{0,30}"
	if strings.Contains(name, "-") {
		rule += ", because a dash would be hierarchy in the names of systemd slices"
	}
	if len(name) > 31 {
		return rule + fmt.Sprintf("; this one has %d characters", len(name))
	}
	better := strings.Map(func(c rune) rune {
		switch {
		case c == '-' || c == ' ' || c == '.':
			return '_'
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return c
	}, name)
	if better != name && isName(better) {
		rule += fmt.Sprintf("; write %q", better)
	}
	return rule
}

func (p Pool) validate(at path, r *report) {
	if !isName(p.Name) {
		r.key(at, "the pool name %q is not a name: %s", p.Name, nameRule(p.Name))
	}
	switch p.Kind {
	case "grpc":
	case "tools":
		r.value(at.with("kind"), "kind \"tools\" is not in this version, only \"grpc\": write exec with a program that serves gRPC")
	default:
		r.value(at.with("kind"), "kind %q does not exist: write \"grpc\" or remove the key", p.Kind)
	}
	switch p.Ready {
	case "listen", "notify", "health":
	default:
		r.value(at.with("ready"), "ready %q does not exist: write \"listen\" (it accepts connections), \"notify\" (it sends READY=1) or \"health\" (grpc.health.v1 says SERVING)", p.Ready)
	}
	p.validateNumbers(at, r)
	p.validateTexts(at, r)
	p.validateTemplates(at, r)
	if !r.has(path{"daemon", "runtime_dir"}) && isName(p.Name) && !p.UsesPort() && len(p.Exec) > 0 {
		longest := p.Socket(fmt.Sprintf("%s-%d-1000000", p.Name, max(p.Workers-1, 0)))
		if len(longest) > maxSocketPath {
			r.key(at, "the sockets of this pool's workers would have paths of up to %d bytes (%s), Linux allows %d: choose a shorter runtime_dir or pool name, or use {port}", len(longest), longest, maxSocketPath)
		}
	}
}

func (p Pool) validateNumbers(at path, r *report) {
	whole := func(name string, n, least, most int) {
		if k := at.with(name); !r.has(k) && (n < least || n > most) {
			r.value(k, "%s = %d is out of range: write %d to %d", name, n, least, most)
		}
	}
	whole("workers", p.Workers, 1, 1000)
	whole("concurrency", p.Concurrency, 1, 10000)
	whole("max_queue", p.MaxQueue, 0, 1000000)
	// gRPC libraries count message lengths in signed 32 bits.
	if k := at.with("max_message"); !r.has(k) && (p.MaxMessage < 1<<10 || p.MaxMessage > 1<<31-1) {
		r.value(k, "max_message = %s is out of range: write 1K to 2047M", p.MaxMessage)
	}
	v := reflect.ValueOf(p)
	for _, k := range keys(v.Type()) {
		d, ok := reflect.TypeAssert[time.Duration](v.Field(k.index))
		key := at.with(k.name)
		switch {
		case !ok || r.has(key) || d >= time.Millisecond:
		case k.name == "call_timeout" && d == 0: // no limit
		case d < 0:
			r.value(key, "%s is negative: write a duration, for example %s", k.name, k.example)
		default:
			r.value(key, "%s is shorter than 1ms: write a longer duration, for example %s", k.name, k.example)
		}
	}
}

func (p Pool) validateTexts(at path, r *report) {
	for _, name := range []string{"python", "user", "working_directory"} {
		if raw, ok := r.src.text(at.with(name)); ok && raw == "" && !r.has(at.with(name)) {
			r.value(at.with(name), "%s is empty: write a value or remove the key", name)
		}
	}
	for i, f := range p.EnvironmentFile {
		k := at.with("environment_file", strconv.Itoa(i))
		if len(p.EnvironmentFile) == 1 && !r.src.written(k) {
			k = at.with("environment_file")
		}
		if f == "" && !r.has(k) {
			r.value(k, "environment_file is empty: write the path of a file or remove it")
		}
	}
	for _, name := range sortedKeys(p.Environment) {
		k := at.with("environment", name)
		switch {
		case !isWord(name):
			r.key(k, "%q is not the name of a variable: use letters, digits and underscores, a digit not first", name)
		case isReserved(name):
			r.key(k, "%s", reservedRule(name))
		}
	}
	for i, name := range p.Services {
		k := at.with("services", strconv.Itoa(i))
		switch {
		case r.has(k):
		case isService(name) && name != "grpc.health.v1.Health":
		case isService(name):
			r.value(k, "%s is answered by snakepitd itself, for every pool: remove it", name)
		default:
			r.value(k, "%q is not the full name of a gRPC service: write package and service, for example \"text.v1.Analyzer\"", name)
		}
	}
}

// isService: words joined by dots, as protobuf names them.
func isService(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if !isWord(part) {
			return false
		}
	}
	return true
}

func (p Pool) validateTemplates(at path, r *report) {
	exec := at.with("exec")
	switch {
	case r.has(exec):
	case len(p.Exec) == 0 && r.has(at.with("app")): // one message about it is enough
	case len(p.Exec) == 0 && !r.src.written(exec):
		r.key(at, "pool %s has no exec: write the program and its arguments, for example exec = [\"{python}\", \"server.py\", \"--port\", \"{port}\"]", p.Name)
	case len(p.Exec) == 0:
		r.value(exec, "exec is empty: write the program and its arguments, for example exec = [\"{python}\", \"server.py\", \"--port\", \"{port}\"]")
	case p.Exec[0] == "" && !r.has(exec.with("0")):
		r.value(exec.with("0"), "the first element of exec is empty: it is the program")
	}
	template := func(k path, text string) {
		eachPlaceholder(text, func(word string) string {
			message := ""
			switch {
			case !contains(placeholders(), word):
				message = fmt.Sprintf("unknown placeholder {%s}: the known ones are {%s}; write {{%s} for the text itself", word, strings.Join(placeholders(), "} {"), word)
			case k[len(k)-1] == "0" && k[len(k)-2] == "exec" && (word != "python" || text != "{python}"):
				message = fmt.Sprintf("the program itself cannot have {%s}: it is {python}, a path or a name", word)
			case word == "socket" && p.UsesPort():
				message = "{socket} is used, but the worker listens on {port}: use one of them"
			case word == "host" && !p.UsesPort():
				message = "{host} is used without {port}: workers of this pool listen on a Unix socket, {socket} or {address}"
			}
			if message != "" && !r.has(k) {
				r.value(k, "%s", message)
			}
			return ""
		})
	}
	for i, text := range p.Exec {
		template(exec.with(strconv.Itoa(i)), text)
	}
	for _, name := range sortedKeys(p.Environment) {
		template(at.with("environment", name), p.Environment[name])
	}
}

func contains(list []string, word string) bool {
	return slices.Contains(list, word)
}

// validateServices: a service leads to one pool.
func (c *Config) validateServices(r *report) {
	owner := map[string]string{}
	for _, p := range c.Pools {
		for i, s := range p.Services {
			k := path{"pool", p.Name, "services", strconv.Itoa(i)}
			switch first, taken := owner[s]; {
			case !taken:
				owner[s] = p.Name
			case r.has(k):
			case first == p.Name:
				r.value(k, "the service %s is listed twice: remove one", s)
			default:
				r.value(k, "the service %s belongs to pool %s already, so calls to it could not be routed: list it in one pool", s, first)
			}
		}
	}
}

// validatePorts: every slot that needs a port gets one.
func (c *Config) validatePorts(here seat, r *report) {
	ports, at := c.Daemon.Ports, path{"daemon", "ports"}
	if r.has(at) {
		return
	}
	if ports.First > ports.Last || ports.First < 1024 {
		r.value(at, "the port range %s is not possible: write FIRST-LAST between 1024 and 65535, for example \"21000-21999\"", ports)
		return
	}
	need, users := 0, []string{}
	for _, p := range c.Pools {
		if p.UsesPort() && !r.has(path{"pool", p.Name, "workers"}) {
			need += p.Workers
			users = append(users, fmt.Sprintf("%s %d", p.Name, p.Workers))
		}
	}
	if need > ports.Count() {
		r.value(at, "ports %s has %d ports, but the pools with {port} have %d workers (%s): write a larger range", ports, ports.Count(), need, strings.Join(users, ", "))
	}
	if network, address := c.Daemon.ListenAddress(); network == "tcp" && need > 0 {
		_, port, _ := net.SplitHostPort(address)
		if n, err := strconv.Atoi(port); err == nil && ports.Contains(n) {
			r.value(path{"daemon", "listen"}, "listen has port %d, which is in ports (%s) and would be given to a worker: use a port outside of it", n, ports)
		}
	}
	if e := here.ephemeral; need > 0 && ports.First <= e.Last && e.First <= ports.Last {
		c.Warnings = append(c.Warnings, fmt.Sprintf("ports %s overlaps %s, from which the kernel gives ports to clients (net.ipv4.ip_local_port_range): a worker's port may be taken", ports, e))
	}
}

func isPoolKey(name string) bool {
	return name == "app" || contains(names(keys(reflect.TypeFor[Pool]())), name)
}

func isDaemonKey(name string) bool { return contains(names(keys(reflect.TypeFor[Daemon]())), name) }
