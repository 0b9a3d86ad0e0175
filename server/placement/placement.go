// Package placement chooses the pool of a VM or an image that names none.
//
//	rule, err := placement.Parse(`healthy && kind == "flash" && free > 100 * GiB`)
//	pool, err := rule.Choose(pools, nil)
//
// A rule is an expression in CEL, the Common Expression Language, that is true of the suitable pools. Choose returns the
// suitable pool with the most free space. The package does not call the NAS: the caller reads the pools. It keeps no state
// either: the caller has to record a choice, because the result changes with the free space.
package placement

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// Default is the rule when none is configured.
const Default = "healthy"

// The kinds of a pool's disks.
const (
	Flash   = "flash"
	Rust    = "rust"
	Mixed   = "mixed"
	Unknown = "unknown"
)

// Pool holds the properties of a pool in a rule.
type Pool struct {
	Name      string
	FreeBytes int64 // the space for VMs
	SizeBytes int64
	Healthy   bool
	Encrypted bool   // VMs on it are encrypted at rest
	Kind      string // [Flash], [Rust], [Mixed] or [Unknown]
}

// variables are the names in an expression, apart from the functions of CEL.
var variables = []cel.EnvOption{
	cel.Variable("name", cel.StringType),
	cel.Variable("free", cel.IntType),
	cel.Variable("size", cel.IntType),
	cel.Variable("healthy", cel.BoolType),
	cel.Variable("encrypted", cel.BoolType),
	cel.Variable(kindVariable, cel.StringType),
	cel.Constant("GiB", cel.IntType, types.Int(1<<30)),
	cel.Constant("TiB", cel.IntType, types.Int(1<<40)),
}

const kindVariable = "kind"

// maxCost bounds the evaluation of an expression.
const maxCost = 100_000

// Rule is a compiled expression. It is safe for concurrent use.
type Rule struct {
	text    string
	program cel.Program
	kind    bool
}

// Parse compiles an expression; an empty one is [Default]. Its errors begin with line and column of the mistake.
func Parse(expression string) (*Rule, error) {
	r := &Rule{text: cmp.Or(strings.TrimSpace(expression), Default)}
	env, err := cel.NewEnv(variables...)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(r.text)
	if issues.Err() != nil {
		return nil, mistakes(issues)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("1:1: the expression is a value of type %s; it must be true or false, such as %q", checked.OutputType(), "free > 100 * GiB")
	}
	for _, reference := range checked.NativeRep().ReferenceMap() {
		r.kind = r.kind || reference.Name == kindVariable
	}
	r.program, err = env.Program(checked, cel.CostLimit(maxCost))
	return r, err
}

// mistakes lists the errors of an expression with their positions, which count from 1.
func mistakes(issues *cel.Issues) error {
	var all []error
	for _, e := range issues.Errors() {
		all = append(all, fmt.Errorf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
	}
	return errors.Join(all...)
}

// String returns the expression.
func (r *Rule) String() string { return r.text }

// NeedsKind reports whether the expression uses the kind of a pool, which may cost the caller another query.
func (r *Rule) NeedsKind() bool { return r.kind }

// Suitable reports whether the expression is true of a pool. An error comes from the evaluation, such as a division by zero.
func (r *Rule) Suitable(p Pool) (bool, error) {
	value, _, err := r.program.Eval(map[string]any{
		"name": p.Name, "free": p.FreeBytes, "size": p.SizeBytes, "healthy": p.Healthy, "encrypted": p.Encrypted,
		kindVariable: cmp.Or(p.Kind, Unknown),
	})
	if err != nil {
		return false, err
	}
	return value == types.True, nil
}

// NoneError reports why no pool was chosen.
type NoneError struct {
	Rule    string
	Reasons map[string]string // by the name of the pool
}

func (e NoneError) Error() string {
	text := fmt.Sprintf("no pool is suitable (rule: %s)", e.Rule)
	for _, name := range slices.Sorted(maps.Keys(e.Reasons)) {
		text += fmt.Sprintf("; %s: %s", name, e.Reasons[name])
	}
	return text
}

// Choose returns the name of the suitable pool with the most free space, of equal ones the first by name. It prefers a pool that
// already has the image while that pool has at least half of that space, which saves a copy and keeps the choice stable while space
// is used. The error is a [NoneError].
func (r *Rule) Choose(pools []Pool, holds func(name string) bool) (string, error) {
	none := NoneError{Rule: r.text, Reasons: map[string]string{}}
	var suitable []Pool
	for _, p := range pools {
		switch ok, err := r.Suitable(p); {
		case err != nil:
			none.Reasons[p.Name] = err.Error()
		case !ok:
			none.Reasons[p.Name] = p.describe()
		default:
			suitable = append(suitable, p)
		}
	}
	if len(suitable) == 0 {
		return "", none
	}
	slices.SortFunc(suitable, func(a, b Pool) int {
		return cmp.Or(cmp.Compare(b.FreeBytes, a.FreeBytes), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range suitable {
		if holds != nil && holds(p.Name) && p.FreeBytes >= suitable[0].FreeBytes/2 {
			return p.Name, nil
		}
	}
	return suitable[0].Name, nil
}

// describe lists the properties of a pool in the expression.
func (p Pool) describe() string {
	return fmt.Sprintf("healthy %t, encrypted %t, kind %s, %d GiB free of %d GiB", p.Healthy, p.Encrypted, cmp.Or(p.Kind, Unknown), p.FreeBytes>>30, p.SizeBytes>>30)
}
