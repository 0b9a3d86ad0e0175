package main

import (
	"strings"
	"testing"
)

func TestPruneImages(t *testing.T) {
	nas, err := startSimulator(simulatorFlags{release: "25.10"})
	if err != nil {
		t.Fatal(err)
	}
	defer nas.close()
	tour := &tour{out: t.Output(), nas: nas}
	if err := tour.start(); err != nil {
		t.Fatal(err)
	}
	defer tour.end()
	if _, err := demoPrepare(t.Context(), tour); err != nil {
		t.Fatal(err)
	}
	env := nas.environment(func(name string) (string, bool) { return map[string]string{"PROVIDER_ID": "demo"}[name], true })
	for _, tt := range []struct {
		name string
		args []string
		want string
		left bool
	}{
		{"not said for how long", nil, "images.unused_for: missing", true},
		{"used a moment ago", []string{"--images-unused-for=1h"}, "0 images removed", true},
		{"only said", []string{"--images-unused-for=1ns", "--dry-run"}, "1 images would be removed", true},
		{"done", []string{"--images-unused-for=1ns"}, "1 images removed", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := run(t.Context(), append([]string{"prune-images"}, tt.args...), env, nil, &out); err != nil {
				out.WriteString(err.Error())
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("got %s, want %s", out.String(), tt.want)
			}
			if tour.has(tour.prepared) != tt.left {
				t.Errorf("want the opposite of: the image remains: %v", tt.left)
			}
		})
	}
}
