package sim

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// property is TrueNAS's form of a ZFS property.
type property struct {
	Parsed     any     `json:"parsed"`
	RawValue   *string `json:"rawvalue"`
	Value      *string `json:"value"`
	Source     *string `json:"source"`
	SourceInfo any     `json:"source_info"`
}

func shown(parsed any, raw, value, source string, info any) property {
	return property{parsed, &raw, &value, &source, info}
}

// sizeProperty shows a number of bytes: up to 25.04 in ZFS's format, from 25.10 on in TrueNAS's.
func sizeProperty(n int64, source string, r release) property {
	text := humanSize(n)
	if r >= v25_10 {
		text = longSize(n)
	}
	return shown(n, strconv.FormatInt(n, 10), text, source, nil)
}

// limitProperty shows a limit in bytes. Zero means no limit, which TrueNAS shows as null.
func limitProperty(n int64, set bool, r release) property {
	source := "DEFAULT"
	if set || n != 0 {
		source = "LOCAL"
	}
	if n == 0 {
		raw := "0"
		return property{nil, &raw, nil, &source, nil}
	}
	return sizeProperty(n, source, r)
}

// blockProperty shows a block size, such as "16K".
func blockProperty(n int64, source string) property {
	return shown(n, strconv.FormatInt(n, 10), blockText(n), source, nil)
}

func blockText(n int64) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatInt(n>>20, 10) + "M"
	case n >= 1<<10:
		return strconv.FormatInt(n>>10, 10) + "K"
	}
	return strconv.FormatInt(n, 10)
}

// blockBytes returns the bytes of a text such as "128K".
func blockBytes(text string) int64 {
	n, unit := int64(0), ""
	if _, err := fmt.Sscanf(text, "%d%s", &n, &unit); err != nil && n == 0 {
		return 0
	}
	switch {
	case strings.HasPrefix(unit, "K"):
		return n << 10
	case strings.HasPrefix(unit, "M"):
		return n << 20
	}
	return n
}

// longSize formats bytes as TrueNAS does: "1.5 GiB".
func longSize(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	text := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
	return text + " " + units[u]
}

// humanSize formats bytes as zfs does: "1.5G".
func humanSize(n int64) string {
	const units = "BKMGTPE"
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if f != float64(int64(f)) {
		text = strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
	}
	return text + units[u:u+1]
}

// userKeys returns sorted keys, for results that are the same every time.
func userKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
