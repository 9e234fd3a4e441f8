package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// module is the path of ours.
const module = "github.com/snakepitd/snakepitd"

// execute runs a command with both its outputs on out. When ctx ends, the command
// gets SIGTERM as a process group, and five seconds later SIGKILL.
func execute(ctx context.Context, out io.Writer, env []string, argv ...string) error {
	cmd := prepare(ctx, env, argv...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// prepare makes the command of execute.
func prepare(ctx context.Context, env []string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		pid := cmd.Process.Pid
		time.AfterFunc(4*time.Second, func() { syscall.Kill(-pid, syscall.SIGKILL) })
		return syscall.Kill(-pid, syscall.SIGTERM)
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// missing makes sure of Debian packages and says what keeps it from that; "" when
// all are there.
func missing(ctx context.Context, names []string) string {
	if len(names) == 0 {
		return ""
	}
	cmd := prepare(ctx, nil, append([]string{"scripts/need"}, names...)...)
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err == nil {
		return ""
	}
	if line := strings.TrimSpace(string(said)); line != "" {
		return line
	}
	return err.Error()
}

// compiler names the packages of a C compiler, which the race detector needs, where
// there is none.
func compiler() []string {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	if _, err := exec.LookPath(cc); err == nil {
		return nil
	}
	return []string{"gcc", "libc6-dev"}
}

// packages lists the packages of the module whose path, relative to it, is wanted.
func packages(ctx context.Context, wanted func(string) bool) []string {
	cmd := prepare(ctx, nil, "go", "list", "-e", "./...")
	cmd.Stderr = os.Stderr
	listed, _ := cmd.Output() // an empty list fails the area
	var found []string
	for path := range strings.FieldsSeq(string(listed)) {
		rel := strings.TrimPrefix(path, module+"/")
		if wanted(rel) {
			found = append(found, "./"+rel)
		}
	}
	return found
}

func inUnit(path string) bool { return !inEndToEnd(path) && path != "test/docs" }

// outsideRace leaves the core packages to the race area, whose tests are the same,
// unless there is no C compiler for it here.
func outsideRace(path string) bool {
	raced := len(compiler()) == 0 || os.Geteuid() == 0 // root installs one
	return inUnit(path) && (!raced || !inCore(path))
}

func inCore(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return top == "manager" || top == "registry" || top == "transport" || top == "units"
}

func inEndToEnd(path string) bool {
	return strings.HasPrefix(path, "test/") && path != "test/docs" && path != "test/report"
}
