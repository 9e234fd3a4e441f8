package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
)

// ReadEnvironment reads all environment files of the pool, later ones win. It
// is called when a worker starts, so that a changed secret needs no reload.
func (r Resolved) ReadEnvironment() (map[string]string, error) {
	all := map[string]string{}
	for _, file := range r.EnvironmentFiles {
		one, err := ReadEnvironmentFile(file)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, one)
	}
	return all, nil
}

// ReadEnvironmentFile reads the common part of systemd's EnvironmentFile=
// syntax: KEY=VALUE a line, blank lines, comments with # or ;, a value in '...'
// (as it is) or "..." (\" \\ \$ \` stand for the character). Errors name file
// and line and never show a value.
func ReadEnvironmentFile(name string) (vars map[string]string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the environment file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the environment file: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("cannot read the environment file: %s is longer than %s", name, Size(maxFile))
	}
	return parseEnvironment(name, string(data))
}

func parseEnvironment(name, text string) (map[string]string, error) {
	vars := map[string]string{}
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, err := parseVariable(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		vars[key] = value
	}
	return vars, nil
}

func parseVariable(line string) (key, value string, err error) {
	key, value, found := strings.Cut(line, "=")
	key = strings.TrimSpace(key)
	switch {
	case !found:
		return "", "", errors.New("there is no '=': write KEY=VALUE")
	case strings.HasPrefix(key, "export "):
		return "", "", errors.New("\"export\" is for shells: write KEY=VALUE alone")
	case !isWord(key):
		return "", "", errors.New("what stands before '=' is not the name of a variable: use letters, digits and underscores, a digit not first")
	case isReserved(key):
		return "", "", errors.New(reservedRule(key))
	}
	value, err = unquote(strings.TrimSpace(value))
	if err == nil && strings.ContainsRune(value, 0) {
		err = errors.New("the value has a NUL character: remove it")
	}
	return key, value, err
}

// unquote takes off one pair of quotes around the whole value.
func unquote(value string) (string, error) {
	if value == "" || value[0] != '\'' && value[0] != '"' {
		if strings.HasSuffix(value, `\`) {
			return "", errors.New("a value over several lines is not possible: write it on one")
		}
		return value, nil
	}
	quote := value[0]
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		c := value[i]
		switch {
		case c == quote && i == len(value)-1:
			return b.String(), nil
		case c == quote:
			return "", errors.New("there is text after the closing quote: put the whole value in one pair of quotes")
		case c == '\\' && quote == '"' && i+1 < len(value) && strings.IndexByte("\"\\$`", value[i+1]) >= 0:
			i++
			b.WriteByte(value[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("the quote is not closed on this line: close it; a value over several lines is not possible")
}
