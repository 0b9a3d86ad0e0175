package statuspage

import (
	"fmt"
	"strconv"
	"time"
)

// Ago formats the time since an event for readers.
func Ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return Since(t) + " ago"
}

// Since formats how long a state has lasted.
func Since(t time.Time) string { return Lasting(time.Since(t)) }

// Lasting formats a duration with its one or two largest units.
func Lasting(d time.Duration) string {
	switch {
	case d < time.Second:
		return "a moment"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// Quick formats a short duration with its significant digits.
func Quick(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// Size formats a number of bytes in its usual unit.
func Size(bytes int64) string {
	const kib = 1 << 10
	value, unit := float64(bytes), "B"
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if value < kib {
			break
		}
		value, unit = value/kib, larger
	}
	if unit == "B" || value == float64(int64(value)) {
		return strconv.FormatInt(int64(value), 10) + " " + unit
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + unit
}
