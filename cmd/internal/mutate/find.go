package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of the code.
type mutant struct {
	id    int
	in    *source
	file  *file
	kind  string
	at    token.Position
	edits []edit
}

// String returns the mutant's position and change.
func (m *mutant) String() string {
	line := strings.Split(string(m.file.text), "\n")[m.at.Line-1]
	_, name, _ := strings.Cut(m.file.name, m.in.dir)
	return fmt.Sprintf("%s%s:%d:%d: %s: %s [mutant %d]", m.in.path, name, m.at.Line, m.at.Column, m.kind, strings.TrimSpace(line), m.id)
}

// finder walks a file. It omits changes that tests cannot notice: in texts, durations, log calls, cancel functions of contexts,
// constants, deferred calls, capacities, the boundary between two measured durations, and values returned beside an error.
type finder struct {
	*source
	file    *file
	found   []*mutant
	parents []ast.Node
}

// find returns all mutants of the packages, in the order of their positions.
func find(packages []*source, only string) ([]*mutant, error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	var all []*mutant
	for _, p := range packages {
		for _, f := range p.files {
			if !match.MatchString(strings.TrimPrefix(f.name, strings.TrimSuffix(p.dir, p.path))) {
				continue
			}
			w := &finder{source: p, file: f}
			ast.Inspect(f.syntax, w.visit)
			slices.SortStableFunc(w.found, func(a, b *mutant) int { return cmp.Compare(a.at.Offset, b.at.Offset) })
			all = append(all, w.found...)
		}
	}
	return all, nil
}

// drawn returns a sample of the mutants, with ids from 1.
func drawn(all []*mutant, n int, seed uint64) []*mutant {
	random := rand.New(rand.NewPCG(seed, 0))
	chosen := slices.Clone(all)
	random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	chosen = chosen[:min(n, len(chosen))]
	for i, m := range chosen {
		m.id = i + 1
	}
	return chosen
}

// selected returns the mutants in a list of ids. An empty list selects all.
func selected(sample []*mutant, ids string) ([]*mutant, error) {
	if ids == "" {
		return sample, nil
	}
	var kept []*mutant
	for word := range strings.SplitSeq(ids, ",") {
		id, err := strconv.Atoi(word)
		if err != nil || id < 1 || id > len(sample) {
			return nil, fmt.Errorf("-mutants %q: want numbers from 1 to %d", word, len(sample))
		}
		kept = append(kept, sample[id-1])
	}
	return kept, nil
}

func (w *finder) visit(n ast.Node) bool {
	if n == nil {
		w.parents = w.parents[:len(w.parents)-1]
		return true
	}
	switch n := n.(type) {
	case *ast.GenDecl:
		if n.Tok == token.CONST || n.Tok == token.TYPE || n.Tok == token.IMPORT {
			return false
		}
	case *ast.ArrayType: // Its length is a constant.
		return false
	case *ast.IfStmt:
		w.condition(n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil {
			w.condition(n.Cond)
		}
	case *ast.SwitchStmt:
		w.cases(n)
	case *ast.BlockStmt:
		w.statements(n.List)
	case *ast.CaseClause:
		w.statements(n.Body)
	case *ast.CommClause:
		w.statements(n.Body)
	case *ast.ReturnStmt:
		w.results(n)
	}
	if e, ok := n.(ast.Expr); ok {
		w.expression(e)
	}
	w.parents = append(w.parents, n)
	return true
}

// cases negates the cases of a switch without a tag.
func (w *finder) cases(s *ast.SwitchStmt) {
	if s.Tag != nil {
		return
	}
	for _, clause := range s.Body.List {
		for _, e := range clause.(*ast.CaseClause).List {
			w.condition(e)
		}
	}
}

func (w *finder) condition(e ast.Expr) {
	if w.isBool(e) {
		w.wrap(e, "negated condition", "mutateNot(%d, ", ")")
	}
}

// isBool reports whether an expression is a bool that is not a constant.
func (w *finder) isBool(e ast.Expr) bool {
	t := w.info.Types[e]
	basic, ok := t.Type.(*types.Basic)
	return ok && basic.Info()&types.IsBoolean != 0 && t.Value == nil
}

// results drops returned errors.
func (w *finder) results(r *ast.ReturnStmt) {
	for _, e := range r.Results {
		t := w.info.Types[e]
		if named, ok := t.Type.(*types.Named); ok && named.Obj().Pkg() == nil && named.Obj().Name() == "error" && !t.IsNil() {
			w.wrap(e, "dropped error", "mutateErr(%d, ", ")")
		}
	}
}

func (w *finder) expression(e ast.Expr) {
	if t, ok := w.info.Types[e]; ok && t.Value != nil {
		w.constant(e, t)
		return
	}
	b, ok := e.(*ast.BinaryExpr)
	if !ok {
		return
	}
	switch b.Op {
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		name := map[token.Token]string{token.LSS: "Less", token.LEQ: "AtMost", token.GTR: "More", token.GEQ: "AtLeast"}[b.Op]
		if w.isNumber(b.X) && w.isNumber(b.Y) && !w.areMeasured(b) {
			w.call(b, "changed boundary", "mutate"+name+"(%d, ", ", ", ")")
		}
	case token.EQL, token.NEQ:
		if !w.isConditionItself(b) && w.isBool(b) {
			w.wrap(b, "negated comparison", "mutateNot(%d, ", ")")
		}
	case token.LAND, token.LOR:
		name := map[token.Token]string{token.LAND: "And", token.LOR: "Or"}[b.Op]
		if w.isBool(b) && w.isBool(b.X) && w.isBool(b.Y) {
			w.call(b, "swapped && and ||", "mutate"+name+"(%d, ", ", func() bool { return (", ") })")
		}
	case token.ADD, token.SUB:
		name := map[token.Token]string{token.ADD: "Sum", token.SUB: "Difference"}[b.Op]
		if w.isNumber(b.X) && w.isNumber(b.Y) && !w.isDuration(b) {
			w.call(b, "swapped + and -", "mutate"+name+"(%d, ", ", ", ")")
		}
	}
}

// isConditionItself reports whether the parent already negates the expression.
func (w *finder) isConditionItself(e ast.Expr) bool {
	switch p := w.parents[len(w.parents)-1].(type) {
	case *ast.IfStmt:
		return p.Cond == e
	case *ast.ForStmt:
		return p.Cond == e
	case *ast.CaseClause:
		return true
	}
	return false
}

func (w *finder) isNumber(e ast.Expr) bool {
	basic, ok := w.info.Types[e].Type.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsNumeric != 0 && basic.Info()&types.IsComplex == 0
}

func (w *finder) isDuration(e ast.Expr) bool { return w.typeOf(e) == "time.Duration" }

// areMeasured reports whether both sides of a comparison are durations and none is a constant.
func (w *finder) areMeasured(b *ast.BinaryExpr) bool {
	return w.isDuration(b.X) && w.isDuration(b.Y) && w.info.Types[b.X].Value == nil && w.info.Types[b.Y].Value == nil
}

func (w *finder) typeOf(e ast.Expr) string { return types.TypeString(w.info.Types[e].Type, nil) }

// constant changes a number, a truth value or a code in an expression.
func (w *finder) constant(e ast.Expr, t types.TypeAndValue) {
	switch p := w.parents[len(w.parents)-1].(type) {
	case *ast.CaseClause:
		return
	case *ast.KeyValueExpr:
		if p.Key == e {
			return
		}
	case *ast.ReturnStmt:
		if w.fails(p) {
			return
		}
	case ast.Expr:
		if parent, ok := w.info.Types[p]; ok && parent.Value != nil || w.isCapacity(p, e) {
			return // It is a part of a constant, or a capacity.
		}
	}
	switch {
	case w.typeOf(e) == "google.golang.org/grpc/codes.Code":
		w.code(e)
	case t.Value.Kind() == constant.Bool:
		if _, ok := e.(*ast.Ident); ok && t.Type == types.Typ[types.Bool] {
			w.wrap(e, "swapped truth value", "mutateNot(%d, ", ")")
		}
	case t.Value.Kind() == constant.Int:
		w.number(e, t)
	}
}

// isCapacity reports whether an expression is the capacity of a new slice or map.
func (w *finder) isCapacity(parent, e ast.Expr) bool {
	call, ok := parent.(*ast.CallExpr)
	if !ok || !w.info.Types[call.Fun].IsBuiltin() || types.ExprString(call.Fun) != "make" {
		return false
	}
	_, isMap := w.info.Types[call].Type.Underlying().(*types.Map)
	return isMap || len(call.Args) == 3 && call.Args[2] == e
}

// fails reports whether a return statement surely returns an error: a new one, or a variable in the body of the condition that it
// is not nil.
func (w *finder) fails(r *ast.ReturnStmt) bool {
	if len(r.Results) < 2 {
		return false
	}
	switch last := r.Results[len(r.Results)-1].(type) {
	case *ast.CallExpr:
		f := types.ExprString(last.Fun)
		return f == "errors.New" || f == "fmt.Errorf" || strings.HasPrefix(f, "refusal.") && w.typeOf(last) == "error"
	case *ast.Ident:
		if len(w.parents) < 3 { // condition, body, return statement
			return false
		}
		body, inBody := w.parents[len(w.parents)-2].(*ast.BlockStmt)
		condition, isIf := w.parents[len(w.parents)-3].(*ast.IfStmt)
		return inBody && isIf && condition.Body == body && types.ExprString(condition.Cond) == last.Name+" != nil"
	}
	return false
}

func (w *finder) code(e ast.Expr) {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return
	}
	other := "DataLoss"
	if s.Sel.Name == other {
		other = "Unknown"
	}
	w.wrap(e, "another code", "mutatePick(%d, ", ", "+types.ExprString(s.X)+"."+other+")")
}

// number adds one to a number, unless it overflows or the number is a duration or a shift.
func (w *finder) number(e ast.Expr, t types.TypeAndValue) {
	value, exact := constant.Int64Val(t.Value)
	basic, ok := t.Type.Underlying().(*types.Basic)
	if _, plain := e.(*ast.BasicLit); !plain || !ok || !exact || value > 1<<30 || basic.Info()&types.IsInteger == 0 || w.isDuration(e) {
		return
	}
	if value > 100 && (basic.Kind() == types.Int8 || basic.Kind() == types.Uint8 || basic.Kind() == types.Int16 || basic.Kind() == types.Uint16) {
		return
	}
	if p, ok := w.parents[len(w.parents)-1].(*ast.BinaryExpr); ok && (p.Op == token.SHL || p.Op == token.SHR) {
		return
	}
	name, ok := w.nameOf(t.Type)
	if !ok {
		return
	}
	w.wrap(e, "another number", "mutatePick["+name+"](%d, ", fmt.Sprintf(", %d)", value+1))
}

// nameOf returns the name of a type in the file, if it has one.
func (w *finder) nameOf(t types.Type) (string, bool) {
	if basic, ok := t.(*types.Basic); ok && basic.Info()&types.IsUntyped != 0 {
		t = types.Default(t)
	}
	known := true
	name := types.TypeString(t, func(p *types.Package) string {
		if p == w.types {
			return ""
		}
		for _, i := range w.file.syntax.Imports {
			if strings.Trim(i.Path.Value, `"`) != p.Path() {
				continue
			}
			if i.Name != nil {
				return i.Name.Name
			}
			return p.Name()
		}
		known = false
		return ""
	})
	return name, known
}

// statements removes one statement of a list.
func (w *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); !ok || w.isUnseen(call) {
				continue
			}
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
		case *ast.IncDecStmt:
		default:
			continue
		}
		w.wrap(s, "removed statement", "if !mutateOn(%d) { ", " }")
	}
}

// isUnseen reports whether a call logs, cancels a context, or ends the function.
func (w *finder) isUnseen(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name == "panic" || w.typeOf(f) == "context.CancelFunc"
	case *ast.SelectorExpr:
		if s := w.info.Selections[f]; s != nil {
			return strings.HasSuffix(types.TypeString(s.Recv(), nil), "go.uber.org/zap.Logger") || w.typeOf(f) == "context.CancelFunc"
		}
	}
	return false
}
