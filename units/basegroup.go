package units

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the name of every group that a launcher makes.
const groupPrefix = "snakepit-"

// baseName is the group below the daemon's own that holds its workers' groups.
func baseName(instance, runID string) string {
	if instance == "" {
		return groupPrefix + runID
	}
	return groupPrefix + instance + "-" + runID
}

// workerGroup checks that dir is a worker's group as a launcher makes them,
// so that a damaged record can never make us empty somebody else's group.
func workerGroup(dir string) (cgroup, error) {
	base := filepath.Base(filepath.Dir(dir))
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || !nameForm.MatchString(filepath.Base(dir)) ||
		!strings.HasPrefix(base, groupPrefix) || !nameForm.MatchString(base) {
		return cgroup{}, fmt.Errorf("%q is not the cgroup of a worker", dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil && st.Type != unix.CGROUP2_SUPER_MAGIC {
		return cgroup{}, fmt.Errorf("%q is not on a cgroup2 file system", dir)
	}
	return cgroup{dir: dir}, nil
}
