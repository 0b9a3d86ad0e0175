package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// test is one test function.
type test struct {
	in   *source
	name string
	took time.Duration
}

// alone is the time limit of one test without a mutant.
const alone = 3 * time.Minute

// reach runs every test alone, without a mutant, and records the mutants that it reaches. It omits failing tests.
func (b *bench) reach(ctx context.Context) error {
	var all []*test
	for _, p := range b.packages {
		if !p.tests || !slices.ContainsFunc(b.mutants, func(m *mutant) bool { return m.in.group == p.group }) {
			continue
		}
		list, err := b.list(ctx, p)
		if err != nil {
			return err
		}
		all = append(all, list...)
	}
	b.reaching = map[int][]*test{}
	var mu sync.Mutex
	each(b.jobs, all, func(i int, t *test) {
		notes := filepath.Join(b.scratch, fmt.Sprintf("reached%d", i))
		began := time.Now()
		if r := b.run(ctx, t.in, alone, []string{t.name}, "MUTATE_REACHED="+notes); r.failed {
			fmt.Fprintf(b.out, "left out: %s of %s fails without a mutant\n", t.name, t.in.path)
			return
		}
		t.took = time.Since(began)
		ids, err := reached(notes)
		if err != nil {
			fmt.Fprintf(b.out, "left out: %s of %s: %v\n", t.name, t.in.path, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			b.reaching[id] = append(b.reaching[id], t)
		}
	})
	for _, m := range b.mutants {
		b.reaching[m.id] = slices.DeleteFunc(b.reaching[m.id], func(t *test) bool { return t.in.group != m.in.group })
		slices.SortFunc(b.reaching[m.id], func(a, b *test) int { return cmp.Compare(a.took, b.took) })
	}
	return ctx.Err()
}

func (b *bench) list(ctx context.Context, p *source) ([]*test, error) {
	cmd := exec.CommandContext(ctx, b.binary(p), "-test.list", b.tests)
	cmd.Dir = p.dir
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", p.path, err)
	}
	var list []*test
	for name := range strings.FieldsSeq(string(text)) {
		if strings.HasPrefix(name, "Benchmark") || strings.HasPrefix(name, "Fuzz") {
			continue
		}
		list = append(list, &test{in: p, name: name})
	}
	return list, nil
}

// reached parses the ids that a run recorded, without duplicates.
func reached(notes string) ([]int, error) {
	text, err := os.ReadFile(notes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []int
	for word := range strings.FieldsSeq(string(text)) {
		id, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// result is the outcome of a test run.
type result struct {
	failed bool
	names  []string // failed tests, if the run reported them
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// run runs some tests of a package.
func (b *bench) run(ctx context.Context, p *source, within time.Duration, names []string, env ...string) result {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.binary(p), "-test.short", "-test.failfast", "-test.run", "^("+strings.Join(names, "|")+")$")
	cmd.Dir, cmd.WaitDelay = p.dir, time.Second
	cmd.Env = append(os.Environ(), append(env, "TEST_POINTS=", fmt.Sprintf("TEST_SEED=%d", b.seed))...)
	text, err := cmd.CombinedOutput()
	r := result{failed: err != nil}
	for _, match := range failure.FindAllStringSubmatch(string(text), -1) {
		r.names = append(r.names, match[1])
	}
	return r
}

// each calls do for all members of a list, several at the same time.
func each[T any](jobs int, list []T, do func(int, T)) {
	next := make(chan int)
	var all sync.WaitGroup
	for range jobs {
		all.Go(func() {
			for i := range next {
				do(i, list[i])
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	all.Wait()
}
