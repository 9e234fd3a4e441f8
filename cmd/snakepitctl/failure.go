package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes; docs/snakepitctl.md and --help list them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNoDaemon = 3
	exitNotFound = 4
	exitConfig   = 5
)

// failure is an error with what a person can do about it.
type failure struct {
	exit int
	err  error  // "cannot X: ..."
	hint string // empty if there is none
	more *refused
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail makes a failure; format begins with "cannot".
func fail(exit int, hint, format string, args ...any) *failure {
	return &failure{exit: exit, hint: hint, err: fmt.Errorf(format, args...)}
}

// report writes a failure to stderr.
func (a *app) report(f *failure) {
	if a.json {
		out := struct {
			Error string `json:"error"`
			Hint  string `json:"hint,omitempty"`
			Exit  int    `json:"exit"`
			*refused
		}{f.err.Error(), f.hint, f.exit, f.more}
		line, err := json.Marshal(out)
		if err == nil {
			fmt.Fprintf(a.stderr, "%s\n", line)
			return
		}
	}
	lines := strings.Split(strings.TrimRight(f.err.Error(), "\n"), "\n")
	for i, l := range lines {
		lines[i] = cleanKeepTabs(l)
	}
	fmt.Fprintf(a.stderr, "snakepitctl: %s\n", strings.Join(lines, "\n"))
	if f.more != nil {
		f.more.write(a.stderr)
	}
	if f.hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", clean(f.hint))
	}
}

// cleanKeepTabs is clean for lines whose columns matter, as a caret's below a line.
func cleanKeepTabs(s string) string {
	parts := strings.Split(s, "\t")
	for i, p := range parts {
		parts[i] = clean(p)
	}
	return strings.Join(parts, "\t")
}

// unreachable is the failure when a socket cannot be connected to. name is the
// flag that chooses it.
func unreachable(what, address, flag string, err error) *failure {
	hint := "is snakepitd running? start it with snakepitd --config FILE, or name its socket with " + flag
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EACCES) {
		hint = "your user may not use this socket: join the group that owns it (ls -l shows it), or run this as root"
	}
	return fail(exitNoDaemon, hint, "cannot reach %s at %s: %w", what, address, cause(err))
}

// cause is the innermost part of a dial error: the address is already named.
func cause(err error) error {
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		return no
	}
	return err
}

// errorInfo is the ErrorInfo in a status of ours, nil if it has none.
func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == "snakepitd" {
			return info
		}
	}
	return nil
}

// codeName is the canonical name of a code: DEADLINE_EXCEEDED.
func codeName(c codes.Code) string {
	if name, ok := code.Code_name[int32(c)]; ok {
		return name
	}
	return fmt.Sprintf("CODE_%d", uint32(c))
}
