package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// licenses lists the allowed licenses of linked modules, with a sentence of each text.
var licenses = []struct{ name, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0, January 2004"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License, version 2.0"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"BSD", "Redistribution and use in source and binary forms, with or without modification, are permitted"},
	{"BSD-1-Clause", "Redistributions of source code must retain the above copyright"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted"},
}

// forbidden lists phrases of licenses that would bind users of the programs.
var forbidden = []string{"GNU GENERAL PUBLIC LICENSE", "GNU AFFERO GENERAL PUBLIC LICENSE", "Business Source License", "Server Side Public License"}

// A linkedModule is the module of a package in the output of go list.
type linkedModule struct {
	Path, Dir string
	Main      bool
	Replace   *linkedModule
}

// linkedModules returns the modules of the packages that the programs link.
func linkedModules(t *testing.T) map[string]string {
	t.Helper()
	watchSources(t)
	cmd := exec.Command("go", "list", "-deps", "-json=Module", "./cmd/virtrigaud-provider-truenas", "./cmd/omni-infra-provider-truenas", "./cmd/truenas-sim")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ Module *linkedModule }
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return dirs
		}
		if err != nil {
			t.Fatal(err)
		}
		if m := p.Module; m != nil && !m.Main && m.Replace == nil {
			dirs[m.Path] = m.Dir
		}
	}
}

func TestLicensesOfLinkedModules(t *testing.T) {
	modules := linkedModules(t)
	if len(modules) < 50 {
		t.Fatalf("go list reports %d modules; want the dependencies of three programs", len(modules))
	}
	counts := map[string]int{}
	for path, dir := range modules {
		name, err := licenseOf(dir)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		counts[name]++
	}
	t.Logf("licenses of linked modules: %v", counts)
}

// licenseOf returns the name of the license in a module's root folder.
func licenseOf(dir string) (string, error) {
	var files []string
	for _, pattern := range []string{"LICEN[SC]E*", "licen[sc]e*", "License*", "COPYING*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	names := []string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if name := licenseName(string(text)); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", errors.New("no license file with an allowed license")
	}
	return slices.Min(names), nil
}

// licenseName recognizes a license by its text. It returns "" for a license that is not allowed.
func licenseName(text string) string {
	words := strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, phrase := range forbidden {
		if strings.HasPrefix(words, strings.ToLower(phrase)) {
			return ""
		}
	}
	for _, license := range licenses {
		if strings.Contains(words, strings.ToLower(license.sentence)) {
			return license.name
		}
	}
	return ""
}

func TestLicenseName(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"MIT License\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy", "MIT"},
		{"  Apache License\n  Version 2.0, January 2004\n", "Apache-2.0"},
		{"GNU GENERAL PUBLIC LICENSE\nVersion 3\n... Apache License Version 2.0, January 2004", ""},
		{"All rights reserved.", ""},
	} {
		if got := licenseName(tt.text); got != tt.want {
			t.Errorf("%q: got %q; want %q", tt.text, got, tt.want)
		}
	}
}
