package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"
)

// Credential is a user with its groups.
type Credential struct {
	Name     string
	UID, GID int
	Groups   []int // supplementary groups, GID included where the database has it
}

// lookupTimeout bounds getent, which may ask a directory server.
const lookupTimeout = 10 * time.Second

// lookupUser finds a user by name or number. "" and the daemon's own user need
// no change of ids: nil. Only root may use another.
func lookupUser(name string) (*Credential, error) {
	if name == "" {
		return nil, nil
	}
	c, err := findUser(name)
	if err != nil {
		return nil, err
	}
	switch own := os.Geteuid(); {
	case c.UID == own:
		return nil, nil
	case own != 0:
		return nil, fmt.Errorf("only root may run workers as another user: start snakepitd as root, or remove user = %q", name)
	}
	return c, nil
}

func findUser(name string) (*Credential, error) {
	find := user.Lookup
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		find = user.LookupId
	}
	if u, err := find(name); err == nil {
		return credential(u)
	}
	// A static binary reads only /etc/passwd; getent asks every source there is.
	entry, err := getent("passwd", name)
	fields := strings.Split(entry, ":")
	if err != nil || len(fields) < 6 {
		return nil, fmt.Errorf("the user %q does not exist: create it, for example with useradd --system %s", name, name)
	}
	c := &Credential{Name: fields[0]}
	var errUID, errGID error
	c.UID, errUID = strconv.Atoi(fields[2])
	c.GID, errGID = strconv.Atoi(fields[3])
	if err := errors.Join(errUID, errGID); err != nil {
		return nil, fmt.Errorf("cannot read the ids of user %q: %w", name, err)
	}
	if line, err := getent("initgroups", fields[0]); err == nil {
		for _, g := range strings.Fields(line)[1:] {
			if n, err := strconv.Atoi(g); err == nil {
				c.Groups = append(c.Groups, n)
			}
		}
	}
	return c, nil
}

func credential(u *user.User) (*Credential, error) {
	c := &Credential{Name: u.Username}
	var errUID, errGID error
	c.UID, errUID = strconv.Atoi(u.Uid)
	c.GID, errGID = strconv.Atoi(u.Gid)
	groups, errGroups := u.GroupIds()
	if err := errors.Join(errUID, errGID, errGroups); err != nil {
		return nil, fmt.Errorf("cannot read the ids of user %q: %w", u.Username, err)
	}
	for _, g := range groups {
		n, err := strconv.Atoi(g)
		if err != nil {
			return nil, fmt.Errorf("cannot read the groups of user %q: %w", u.Username, err)
		}
		c.Groups = append(c.Groups, n)
	}
	return c, nil
}

func getent(database, name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/getent", "--", database, name)
	cmd.Env = []string{"PATH=" + fixedPath, "LANG=C.UTF-8"}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot look up %q with getent: %w", name, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if strings.TrimSpace(line) == "" {
		return "", fmt.Errorf("cannot look up %q with getent: no answer", name)
	}
	return line, nil
}
