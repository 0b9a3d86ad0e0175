package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// verdict is the result of the tests of a mutant.
type verdict struct {
	*mutant
	tests  int // number of tests that reach it
	ran    int
	killed bool
	run    bool // false: out of time
}

// batch is the total duration of the tests of one run without a mutant, and slack the additional time with one.
const (
	batch = 5 * time.Second
	slack = 20 * time.Second
)

// judge runs the tests of every mutant.
func (b *bench) judge(ctx context.Context, o options, began time.Time) []verdict {
	verdicts := make([]verdict, len(b.mutants))
	var done atomic.Int64
	each(b.jobs, b.mutants, func(i int, m *mutant) {
		v := &verdicts[i]
		*v = verdict{mutant: m, tests: len(b.reaching[m.id])}
		if ctx.Err() != nil || o.within > 0 && time.Since(began) > o.within {
			return
		}
		v.run = true
		b.try(ctx, v, o.most)
		if !v.killed {
			fmt.Fprintf(b.out, "survived: %v (%d of %d tests ran)\n", m, v.ran, v.tests)
		}
		if n := done.Add(1); n%20 == 0 {
			fmt.Fprintf(b.out, "%d of %d after %v\n", n, len(b.mutants), time.Since(began).Round(time.Second))
		}
	})
	return verdicts
}

// try runs the tests that reach a mutant in batches until one of them fails.
func (b *bench) try(ctx context.Context, v *verdict, most time.Duration) {
	var total time.Duration
	left := b.reaching[v.id]
	for len(left) > 0 && !v.killed && ctx.Err() == nil {
		n, took := first(left)
		if total += took; total > most && v.ran > 0 {
			return
		}
		var names []string
		for _, t := range left[:n] {
			names = append(names, t.name)
		}
		b.batch(ctx, v, left[0].in, names, 5*took+slack)
		v.ran += n
		left = left[n:]
	}
}

// first returns the size of the next batch, and its duration. Its tests are of one package.
func first(list []*test) (n int, took time.Duration) {
	for n < len(list) && list[n].in == list[0].in && (n == 0 || took+list[n].took < batch) {
		took += list[n].took
		n++
	}
	return n, took
}

// batch runs tests with a mutant. A test that also fails without the mutant does not kill it, and the remaining tests run again.
func (b *bench) batch(ctx context.Context, v *verdict, p *source, names []string, within time.Duration) {
	for len(names) > 0 {
		r := b.run(ctx, p, within, names, fmt.Sprintf("MUTATE_ACTIVE=%d", v.id))
		if !r.failed || ctx.Err() != nil {
			return
		}
		suspects := r.names
		if len(suspects) == 0 { // A panic, or a timeout.
			suspects = names
		}
		if again := b.run(ctx, p, within, suspects); !again.failed {
			v.killed = true
			return
		}
		if len(r.names) == 0 {
			return
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(r.names, name) })
	}
}

// report prints the score and the survivors.
func report(out io.Writer, verdicts []verdict, took time.Duration) {
	type count struct{ run, killed int }
	counts, total := map[string]*count{}, &count{}
	var survivors []string
	for _, v := range verdicts {
		if !v.run {
			continue
		}
		c := counts[v.in.group]
		if c == nil {
			c = &count{}
			counts[v.in.group] = c
		}
		for _, c := range []*count{c, total} {
			c.run++
			if v.killed {
				c.killed++
			}
		}
		if !v.killed {
			survivors = append(survivors, fmt.Sprintf("%v (%d of %d tests ran)", v.mutant, v.ran, v.tests))
		}
	}
	slices.Sort(survivors)
	fmt.Fprintf(out, "\nsurvivors:\n%s\n\n", strings.Join(survivors, "\n"))
	for _, name := range []string{"server", "omni", "truenas"} {
		if c := counts[name]; c != nil {
			fmt.Fprintf(out, "%-8s %d of %d killed\n", name, c.killed, c.run)
		}
	}
	if total.run > 0 {
		fmt.Fprintf(out, "%-8s %d of %d killed: %.1f %%; %d of the sample did not run; %v\n", "all",
			total.killed, total.run, 100*float64(total.killed)/float64(total.run), len(verdicts)-total.run, took.Round(time.Second))
	}
}
