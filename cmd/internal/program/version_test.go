package program

import (
	"runtime/debug"
	"testing"
)

func TestBuild(t *testing.T) {
	fromGit := &debug.BuildInfo{GoVersion: "go1.26.4", Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "true"},
	}}
	for _, tt := range []struct {
		name            string
		version, commit string
		info            *debug.BuildInfo
		want            string
	}{
		{"stamped by the linker", "v1.2.3", "feedface", fromGit, "p v1.2.3, commit feedface, go1.26.4"},
		{"built by hand in a work tree", "", "", fromGit, "p devel, commit 0123abcd-dirty, go1.26.4"},
		{"installed as a module", "", "", &debug.BuildInfo{GoVersion: "go1.26.4", Main: debug.Module{Version: "v1.2.3"}}, "p v1.2.3, commit , go1.26.4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := Build{Program: "p", Version: tt.version, Commit: tt.commit}
			b.complete(tt.info)
			if b.String() != tt.want {
				t.Errorf("got %q, want %q", b, tt.want)
			}
		})
	}
	if b := BuildOf("p", "", ""); b.Version == "" || b.Commit == "" || b.Go == "" {
		t.Errorf("a field is empty: %+v", b)
	}
}
