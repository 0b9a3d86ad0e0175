package program

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
)

// PrintVersion prints what the build knows of itself.
func PrintVersion(out io.Writer, name string) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the build holds no information about itself")
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	_, err := fmt.Fprintf(out, "%s %s %s\n", name, version, info.GoVersion)
	return err
}
