package main

import (
	"net"
	"path/filepath"
	"strings"
)

// address is a place to dial.
type address struct{ network, place string }

// String returns the address as the configuration writes it.
func (a address) String() string { return a.network + ":" + a.place }

// parseAddress reads unix:PATH, an absolute PATH, tcp:HOST:PORT or HOST:PORT.
func parseAddress(text, flag string) (address, error) {
	path, isUnix := strings.CutPrefix(text, "unix:")
	if !isUnix && strings.HasPrefix(text, "/") {
		path, isUnix = text, true
	}
	if isUnix {
		path = strings.TrimPrefix(path, "//") // unix:///PATH, as gRPC writes it
		if path == "" {
			return address{}, fail(exitUsage, "write unix:PATH", "cannot read %s %q: the path is missing", flag, text)
		}
		return address{"unix", filepath.Clean(path)}, nil
	}
	hostport := strings.TrimPrefix(text, "tcp:")
	if _, port, err := net.SplitHostPort(hostport); err != nil || port == "" {
		return address{}, fail(exitUsage, "write unix:PATH or HOST:PORT", "cannot read %s %q: it is no address", flag, text)
	}
	return address{"tcp", hostport}, nil
}

// controlAddress is where the daemon's control socket is: the flag, the
// environment, the default of this user.
func (a *app) controlAddress() (address, error) {
	if a.control != "" {
		return parseAddress(a.control, "--control")
	}
	if env := a.getenv("SNAKEPIT_CONTROL"); env != "" {
		return parseAddress(env, "SNAKEPIT_CONTROL")
	}
	if a.uid == 0 {
		return address{"unix", "/run/snakepit/control.sock"}, nil
	}
	dir := a.getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return address{}, fail(exitUsage, "name it with --control unix:PATH", "cannot tell where the control socket is: XDG_RUNTIME_DIR is not set")
	}
	return address{"unix", filepath.Join(dir, "snakepit", "control.sock")}, nil
}
