package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// clock tells the moment at which all scripts run.
func clock() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"snakepitctl": func() {
		os.Exit(run(context.Background(), os.Args[1:], world{
			stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, uid: 1000,
			now: clock,
		}))
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "normalize": normalize, "contains": contains,
		},
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// setup starts, for one script, a control server on control.sock, and fronts on
// front.sock (reflection v1), alpha.sock (v1alpha only) and plain.sock (none).
func setup(env *testscript.Env) error {
	env.Setenv("TZ", "UTC")
	env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
	for _, name := range []string{"SNAKEPIT_CONTROL", "SNAKEPIT_LISTEN"} {
		env.Setenv(name, "")
	}
	front := "unix:" + filepath.Join(env.WorkDir, "front.sock")
	servers := map[string]*grpc.Server{"snakepit/control.sock": grpc.NewServer()}
	pb.RegisterControlServer(servers["snakepit/control.sock"], &fakeControl{listen: front})
	for name, with := range map[string]func(*grpc.Server, reflection.ServerOptions){
		"front.sock": reflectV1, "alpha.sock": reflectV1Alpha, "plain.sock": nil,
	} {
		servers[name] = newFront(with)
	}
	if err := os.MkdirAll(filepath.Join(env.WorkDir, "snakepit"), 0o700); err != nil {
		return err
	}
	for name, s := range servers {
		l, err := new(net.ListenConfig).Listen(context.Background(), "unix", filepath.Join(env.WorkDir, name))
		if err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		env.Defer(func() { s.Stop(); <-done })
	}
	return writeSets(env.WorkDir)
}

// writeSets writes echo.binpb, complete, and partial.binpb, without its imports.
func writeSets(dir string) error {
	file := protodesc.ToFileDescriptorProto(echoFile())
	other := protodesc.ToFileDescriptorProto(partFile())
	for name, files := range map[string][]*descriptorpb.FileDescriptorProto{"echo.binpb": {other, file}, "partial.binpb": {file}} {
		data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// exits runs a command and compares its exit code: exits CODE COMMAND...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// normalize writes stdout or stderr to a file, with the work directory replaced
// and without spaces at the ends of lines: normalize stdout FILE.
func normalize(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: normalize stdout|stderr FILE")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("WORK"), "WORK")
	text = regexp.MustCompile(`[ \t]+\n`).ReplaceAllString(text, "\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// contains looks for a text as it is: contains stdout|stderr TEXT.
func contains(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: contains stdout|stderr TEXT")
	}
	if got := ts.ReadFile(args[0]); strings.Contains(got, args[1]) == neg {
		ts.Fatalf("%s does (not) contain %q:\n%s", args[0], args[1], got)
	}
}
