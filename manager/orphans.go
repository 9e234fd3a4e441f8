package manager

import (
	"context"
	"fmt"
	"log/slog"
)

// sweep is the emergency clean-up at the end of a stop. Every worker was released
// with all it had started, so it should find nothing; what it finds nevertheless is
// killed, counted and logged, because it means that something got away. What the
// workers had left behind on their way counts too.
func (m *Manager) sweep(ctx context.Context) (int, error) {
	found, err := m.shared.launcher.Orphans(ctx)
	count := len(found)
	for _, o := range found {
		m.shared.log.Warn("orphan found and killed", "pid", o.PID, "command", o.Command, "worker", o.Worker)
	}
	for _, p := range m.byName {
		count += int(p.orphans) // its loop has ended: nobody else looks
	}
	level := slog.LevelInfo
	if count > 0 {
		level = slog.LevelWarn
	}
	m.shared.events.add(level, "orphans", "", "", fmt.Sprintf("%d orphans were found and killed", count))
	if err != nil {
		return count, fmt.Errorf("cannot look for orphans: %w", err)
	}
	return count, nil
}
