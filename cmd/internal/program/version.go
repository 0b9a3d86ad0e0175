package program

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
)

// Build is the build information of a binary.
type Build struct {
	Program string
	Version string // a tag, or "devel"
	Commit  string // "unknown" if the build does not record it
	Go      string // "go1.26.4"
}

// BuildOf completes the values that the linker set with the build information that Go writes into every binary. Either may
// be empty.
func BuildOf(program, version, commit string) Build {
	b := Build{Program: program, Version: version, Commit: commit}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.complete(info)
	}
	b.Version, b.Commit = cmp.Or(b.Version, "devel"), cmp.Or(b.Commit, "unknown")
	return b
}

func (b *Build) complete(info *debug.BuildInfo) {
	b.Go = info.GoVersion
	b.Version = cmp.Or(b.Version, strings.Trim(info.Main.Version, "()"))
	if b.Commit != "" {
		return
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true" && b.Commit != "":
			b.Commit += "-dirty"
		}
	}
}

// String returns the output of --version.
func (b Build) String() string {
	return fmt.Sprintf("%s %s, commit %s, %s", b.Program, b.Version, b.Commit, b.Go)
}
