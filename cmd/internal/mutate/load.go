package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const module = "virtrigaud-provider-truenas/"

// leftOut returns the packages below server, omni and truenas without mutants: generated code, packages for tests, and
// server/disk, whose tests are fuzz targets and recorded images.
func leftOut() []string {
	return []string{"server/disk", "server/conformance", "omni/machine", "omni/bootasset", "omni/standin", "truenas/sim", "truenas/truenastest"}
}

// source is a package with its syntax and types.
type source struct {
	path  string // such as server/refusal
	group string // first part of path; its tests judge the mutants of the package
	dir   string
	name  string
	tests bool
	files []*file
	fset  *token.FileSet
	info  *types.Info
	types *types.Package
}

type file struct {
	name   string // absolute
	syntax *ast.File
	text   []byte
}

// listed is an entry of the output of go list.
type listed struct {
	ImportPath, Dir, Name, Export      string
	GoFiles, TestGoFiles, XTestGoFiles []string
	DepOnly                            bool
}

// load reads and type-checks the packages with mutants.
func load(ctx context.Context) ([]*source, error) {
	list, err := goList(ctx, "./server/...", "./omni/...", "./truenas/...")
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	imports := importerOf(fset, list)
	var packages []*source
	for _, p := range list {
		path := strings.TrimPrefix(p.ImportPath, module)
		out := slices.ContainsFunc(leftOut(), func(name string) bool { return path == name || strings.HasPrefix(path, name+"/") })
		if p.DepOnly || out {
			continue
		}
		s, err := check(p, path, fset, imports)
		if err != nil {
			return nil, err
		}
		packages = append(packages, s)
	}
	return packages, nil
}

// importerOf returns an importer of the export data of a list.
func importerOf(fset *token.FileSet, list []listed) types.Importer {
	exports := map[string]string{}
	for _, p := range list {
		exports[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	})
}

func goList(ctx context.Context, patterns ...string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Name,Export,GoFiles,TestGoFiles,XTestGoFiles,DepOnly"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var list []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
}

func check(p listed, path string, fset *token.FileSet, imports types.Importer) (*source, error) {
	group, _, _ := strings.Cut(path, "/")
	s := &source{path: path, group: group, dir: p.Dir, name: p.Name, fset: fset, tests: len(p.TestGoFiles)+len(p.XTestGoFiles) > 0}
	s.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	var syntax []*ast.File
	for _, name := range p.GoFiles {
		f := &file{name: filepath.Join(p.Dir, name)}
		var err error
		if f.text, err = os.ReadFile(f.name); err != nil {
			return nil, err
		}
		if f.syntax, err = parser.ParseFile(fset, f.name, f.text, parser.ParseComments); err != nil {
			return nil, err
		}
		syntax = append(syntax, f.syntax)
		if !ast.IsGenerated(f.syntax) {
			s.files = append(s.files, f)
		}
	}
	var err error
	s.types, err = (&types.Config{Importer: imports}).Check(p.ImportPath, fset, syntax, s.info)
	return s, err
}
