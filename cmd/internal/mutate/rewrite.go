package main

import (
	"bytes"
	"cmp"
	_ "embed" // for the functions that mutants call
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

//go:embed runtime.go.txt
var runtime string

// edit replaces a part of a file with a text that contains the mutant's id. No edit adds or removes a line.
type edit struct {
	at, end int    // offsets
	format  string // with %d for the id, or without it
	begins  bool   // it is before the part that it changes, not after it
	size    int    // length of that part
	order   int    // of two mutants of one expression, the lower one is the outer one
}

func (w *finder) add(n ast.Node, kind string, edits ...edit) {
	size := int(n.End() - n.Pos())
	for i := range edits {
		edits[i].size, edits[i].order = size, len(w.found)
	}
	at := w.fset.Position(n.Pos())
	w.found = append(w.found, &mutant{in: w.source, file: w.file, kind: kind, at: at, edits: edits})
}

// wrap adds a text before a node and one after it.
func (w *finder) wrap(n ast.Node, kind, before, behind string) {
	from, to := w.offset(n.Pos()), w.offset(n.End())
	w.add(n, kind, edit{at: from, end: from, format: before, begins: true}, edit{at: to, end: to, format: behind})
}

// call replaces a binary expression with a call.
func (w *finder) call(b *ast.BinaryExpr, kind, before, between, behind string) {
	from, op, to := w.offset(b.Pos()), w.offset(b.OpPos), w.offset(b.End())
	w.add(b, kind, edit{at: from, end: from, format: before, begins: true},
		edit{at: op, end: op + len(b.Op.String()), format: between}, edit{at: to, end: to, format: behind})
	w.found[len(w.found)-1].at = w.fset.Position(b.OpPos)
}

func (w *finder) offset(p token.Pos) int { return w.fset.Position(p).Offset }

// rewritten returns a file with all of its mutants.
func rewritten(f *file, mutants []*mutant) []byte {
	type placed struct {
		edit
		text string
	}
	var all []placed
	for _, m := range mutants {
		if m.file != f {
			continue
		}
		for _, e := range m.edits {
			text := e.format
			if strings.Contains(text, "%d") {
				text = fmt.Sprintf(text, m.id)
			}
			all = append(all, placed{e, text})
		}
	}
	// At one position, ends come first, the inner ones before the outer ones, and then begins, the outer ones first.
	slices.SortStableFunc(all, func(a, b placed) int {
		if by := cmp.Or(cmp.Compare(a.at, b.at), compareBool(a.begins, b.begins)); by != 0 {
			return by
		}
		if !a.begins {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.order, b.order))
	})
	var out bytes.Buffer
	done := 0
	for _, p := range all {
		out.Write(f.text[done:p.at])
		out.WriteString(p.text)
		done = p.end
	}
	out.Write(f.text[done:])
	return out.Bytes()
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
