package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Resolved is a pool together with what its configuration means on this
// machine now.
type Resolved struct {
	Pool             Pool
	Program          string // absolute path of exec[0]
	Python           string // absolute path of the interpreter behind {python}
	VenvBin          string // bin directory of the interpreter's venv, "" if it is in none
	WorkingDirectory string
	EnvironmentFiles []string    // they existed; read them with ReadEnvironment
	Credential       *Credential // whose rights the workers get; nil = the daemon's own
}

// Resolve looks up program, interpreter, directory, files and user. All that is
// wrong comes back as Problems without positions; Config.Resolve adds them.
func (p Pool) Resolve() (Resolved, error) {
	r := newReport(&source{})
	resolved := p.resolve(r)
	for i := range r.problems {
		r.problems[i].Message = "pool " + p.Name + ": " + r.problems[i].Message
	}
	return resolved, r.problems.orNil()
}

// Resolve resolves all pools; what is wrong comes back as Problems.
func (c *Config) Resolve() ([]Resolved, error) {
	r := newReport(c.src)
	all := make([]Resolved, 0, len(c.Pools))
	for _, p := range c.Pools {
		all = append(all, p.resolve(r))
	}
	r.problems.sort()
	return all, r.problems.orNil()
}

func (p Pool) resolve(r *report) Resolved {
	at := path{"pool", p.Name}
	out := Resolved{Pool: p, WorkingDirectory: p.WorkingDirectory}
	if err := isDirectory(p.WorkingDirectory); err != nil {
		r.value(at.with("working_directory"), "working_directory: %s", err)
	}
	var err error
	if out.Credential, err = lookupUser(p.User); err != nil {
		r.value(at.with("user"), "user: %s", err)
	}
	for i, file := range p.EnvironmentFile {
		if err := isFile(file); err != nil {
			k := at.with("environment_file", strconv.Itoa(i))
			if !r.src.written(k) {
				k = at.with("environment_file")
			}
			r.value(k, "environment_file: %s", err)
		}
	}
	out.EnvironmentFiles = append(out.EnvironmentFiles, p.EnvironmentFile...)
	if out.Python, err = p.interpreter(); err != nil {
		if p.Python != "" || p.uses("python") { // else nobody asked for one
			r.value(at.with("python"), "python: %s", err)
		}
		out.Python = ""
	} else if bin := filepath.Dir(out.Python); isFile(filepath.Join(bin, "..", "pyvenv.cfg")) == nil {
		out.VenvBin = bin
	}
	if r.has(at.with("working_directory")) || r.has(at.with("python")) {
		return out // what else is wrong would only follow from that
	}
	if out.Program, err = p.program(out); err != nil {
		r.value(at.with("exec", "0"), "exec: %s", err)
	}
	return out
}

// interpreter is not resolved through symbolic links: a venv is known by the
// path that its python was started with.
func (p Pool) interpreter() (string, error) {
	switch {
	case p.Python == "":
		venv := filepath.Join(p.WorkingDirectory, ".venv", "bin", "python")
		if _, err := os.Lstat(venv); err == nil {
			if err := isExecutable(venv); err != nil {
				return "", fmt.Errorf("%w; repair the venv, or write python = \"/usr/bin/python3\"", err)
			}
			return venv, nil
		}
		if err := isExecutable("/usr/bin/python3"); err != nil {
			return "", fmt.Errorf("%w, and there is no %s: install Python or write python = \"PATH\"", err, venv)
		}
		return "/usr/bin/python3", nil
	case strings.Contains(p.Python, "/"):
		return p.Python, isExecutable(p.Python)
	}
	return lookup(p.Python, fixedPath)
}

func (p Pool) program(out Resolved) (string, error) {
	name := p.Exec[0]
	if name == "{python}" {
		return out.Python, nil
	}
	name = Values{}.expand(name, "") // only "{{" can be in it
	here := filepath.Join(p.WorkingDirectory, name)
	if strings.Contains(name, "/") {
		file := within(p.WorkingDirectory, name)
		err := isExecutable(file)
		if err != nil && strings.HasSuffix(name, ".py") && isFile(file) == nil {
			return "", fmt.Errorf("cannot run %s: it is a Python file without the right to execute; write exec = [\"{python}\", %q, ...]", file, name)
		}
		return file, err
	}
	file, err := lookup(name, out.searchPath())
	switch {
	case err == nil:
		return file, nil
	case isFile(here) == nil && strings.HasSuffix(name, ".py"):
		return "", fmt.Errorf("%w; to run the file in working_directory write exec = [\"{python}\", %q, ...]", err, name)
	case isFile(here) == nil:
		return "", fmt.Errorf("%w; to run the file in working_directory write %q", err, "./"+name)
	}
	return "", fmt.Errorf("%w; install it, or write its absolute path", err)
}

// lookup finds a program by name in a list of directories.
func lookup(name, list string) (string, error) {
	for dir := range strings.SplitSeq(list, ":") {
		if file := filepath.Join(dir, name); isExecutable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("cannot find %q in %s", name, list)
}

func isExecutable(file string) error {
	if err := isFile(file); err != nil {
		return fmt.Errorf("cannot run it: %w", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("cannot run it: %w", err)
	}
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("cannot run %s: nobody has the right to execute it; type chmod +x", file)
	}
	return nil
}

func isFile(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist", file)
	case err != nil:
		return fmt.Errorf("cannot look at the file: %w", err)
	case info.IsDir():
		return fmt.Errorf("%s is a directory, not a file", file)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", file)
	}
	return nil
}

func isDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: create it, or write another directory", dir)
	case err != nil:
		return fmt.Errorf("cannot look at the directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}
