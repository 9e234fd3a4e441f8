package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/snakepitd/snakepitd/manager/config"
)

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a configuration without a daemon",
		Long:  "Check a configuration without a daemon, and show what it means on this machine: programs, interpreters, directories, files, names of variables. All problems are shown at once.",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			conf, err := config.Load(args[0])
			var pools []config.Resolved
			if err == nil {
				pools, err = conf.Resolve()
			}
			if a.json {
				if err := a.writeJSON(verdictOf(args[0], conf, pools, err)); err != nil {
					return err
				}
			}
			var problems config.Problems
			switch {
			case errors.As(err, &problems):
				return fail(exitConfig, "docs/configuration.md describes every key", "cannot accept the configuration:\n%w", err)
			case err != nil:
				return fail(exitConfig, "", "cannot verify %s: %w", args[0], err)
			}
			if a.json {
				return nil
			}
			if err := conf.Describe(a.stdout, pools); err != nil {
				return fail(exitFailed, "", "%w", err)
			}
			return nil
		},
	}
}

// verdict is what verify --json writes. Values of variables are never in it.
type verdict struct {
	File     string        `json:"file"`
	Valid    bool          `json:"valid"`
	Problems []flaw        `json:"problems,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Listen   string        `json:"listen,omitempty"`
	Control  string        `json:"control,omitempty"`
	Runtime  string        `json:"runtime_dir,omitempty"`
	Pools    []verdictPool `json:"pools,omitempty"`
}

// flaw is one problem; line and column are 0 where it has no place.
type flaw struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

type verdictPool struct {
	Name             string   `json:"name"`
	Kind             string   `json:"kind"`
	Workers          int      `json:"workers"`
	Concurrency      int      `json:"concurrency"`
	Program          string   `json:"program"`
	Exec             []string `json:"exec"`
	WorkingDirectory string   `json:"working_directory"`
	Python           string   `json:"python,omitempty"`
	Services         []string `json:"services,omitempty"`
}

func verdictOf(file string, c *config.Config, pools []config.Resolved, err error) verdict {
	v := verdict{File: file, Valid: err == nil}
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			v.Problems = append(v.Problems, flaw{Line: p.Line, Column: p.Column, Message: p.Message})
		}
	case err != nil:
		v.Problems = []flaw{{Message: err.Error()}}
	}
	if c == nil {
		return v
	}
	v.Warnings, v.Listen, v.Control, v.Runtime = c.Warnings, c.Daemon.Listen, c.Daemon.Control, c.Daemon.RuntimeDir
	if err != nil {
		return v // half-resolved pools would look as if they were right
	}
	for _, r := range pools {
		p := r.Pool
		v.Pools = append(v.Pools, verdictPool{
			Name: p.Name, Kind: p.Kind, Workers: p.Workers, Concurrency: p.Concurrency, Program: r.Program, Exec: p.Exec,
			WorkingDirectory: r.WorkingDirectory, Python: r.Python, Services: p.Services,
		})
	}
	return v
}
