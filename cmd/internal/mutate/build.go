package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bench holds the test binaries with all mutants of a sample, and the tests that reach each mutant.
type bench struct {
	packages []*source
	mutants  []*mutant
	scratch  string
	seed     uint64
	jobs     int
	tests    string // a regular expression
	out      io.Writer

	places   map[string]string // name of the original, by the changed file in scratch
	reaching map[int][]*test   // by mutant id, the fastest first
}

// builds limits the builds, each without the mutants that did not compile in the previous one.
const builds = 5

// build compiles the tests of each package. It omits and reports mutants that do not compile.
func (b *bench) build(ctx context.Context) error {
	for range builds {
		overlay, err := b.overlay()
		if err != nil {
			return err
		}
		broken, err := b.compile(ctx, overlay)
		if err != nil {
			return err
		}
		if len(broken) == 0 {
			return b.link(ctx, overlay)
		}
		for _, m := range broken {
			fmt.Fprintf(b.out, "does not compile: %v\n", m)
		}
		b.mutants = slices.DeleteFunc(b.mutants, func(m *mutant) bool { return slices.Contains(broken, m) })
	}
	return fmt.Errorf("mutants do not compile after %d builds", builds)
}

// overlay writes the changed files, and returns the name of the overlay file for go build.
func (b *bench) overlay() (string, error) {
	replace := map[string]string{}
	b.places = map[string]string{}
	put := func(name string, text []byte) error {
		place := filepath.Join(b.scratch, fmt.Sprintf("%d.go", len(replace)))
		replace[name], b.places[filepath.Base(place)] = place, name
		return os.WriteFile(place, text, 0o600)
	}
	for _, p := range b.packages {
		if err := put(filepath.Join(p.dir, "mutate_runtime.go"), []byte("package "+p.name+"\n\n"+runtime)); err != nil {
			return "", err
		}
		for _, f := range p.files {
			if err := put(f.name, rewritten(f, b.mutants)); err != nil {
				return "", err
			}
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(b.scratch, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

var compilerError = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):\d+: `)

// compile builds the packages, and returns the mutants on the lines with compiler errors.
func (b *bench) compile(ctx context.Context, overlay string) ([]*mutant, error) {
	args := []string{"build", "-overlay", overlay, "-gcflags=-e"}
	for _, p := range b.packages {
		args = append(args, "./"+p.path)
	}
	text, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err == nil {
		return nil, nil
	}
	var broken []*mutant
	for _, match := range compilerError.FindAllStringSubmatch(string(text), -1) {
		line, err := strconv.Atoi(match[2])
		if err != nil {
			continue
		}
		for _, m := range b.mutants {
			if b.places[filepath.Base(match[1])] == m.file.name && m.at.Line == line {
				broken = append(broken, m)
			}
		}
	}
	if len(broken) == 0 {
		return nil, errors.Join(err, errors.New(string(text)))
	}
	return broken, nil
}

// link makes the test binary of each package that has tests.
func (b *bench) link(ctx context.Context, overlay string) error {
	for _, p := range b.packages {
		if !p.tests {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", b.binary(p), "./"+p.path)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("tests of %s: %w\n%s", p.path, err, text)
		}
	}
	return nil
}

func (b *bench) binary(p *source) string {
	return filepath.Join(b.scratch, strings.ReplaceAll(p.path, "/", "_")+".test")
}
