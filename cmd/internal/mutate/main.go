// Command mutate is a mutation test: it makes small changes of the code, one after the other, and checks that a test fails.
//
//	make mutate SAMPLE=300 SEED=1
//
// It covers the packages server, omni and truenas with their subpackages, except for subpackages for tests. A mutant is one
// change: a negated condition, another comparison or operator, another number, truth value or gRPC code, a dropped error, or a
// removed statement. See [finder] for changes that it omits because no test can notice them.
//
// All mutants of a sample are compiled into one test binary of each package, and an environment variable selects a mutant. A
// first run of every test, alone, finds the mutants that the test reaches; a mutant then costs the tests that reach it, in the
// order of their duration, until one fails. A test that also fails without the mutant does not count.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		stop()
		os.Exit(1) //nolint:gocritic // The line above runs the deferred calls.
	}
}

// options are those of the command line.
type options struct {
	sample int
	seed   uint64
	jobs   int
	most   time.Duration
	within time.Duration
	only   string
	ids    string
	tests  string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.IntVar(&o.sample, "sample", 300, "how many mutants to run")
	flags.Uint64Var(&o.seed, "seed", 1, "selects the mutants, and the points of large tests")
	flags.IntVar(&o.jobs, "jobs", 2, "how many mutants to run at the same time")
	flags.DurationVar(&o.most, "most", time.Minute, "how long the tests of a mutant may have taken without it; longer tests are left out")
	flags.DurationVar(&o.within, "within", 0, "start no mutant after this time; 0: no limit")
	flags.StringVar(&o.only, "only", "", "a regular expression for files, such as server/delete")
	flags.StringVar(&o.ids, "mutants", "", "the numbers of mutants of the sample to run, such as 7,23; empty: all of them")
	flags.StringVar(&o.tests, "run", "^(Test|Example)", "a regular expression for the names of tests; others do not run")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.sample < 1 || o.jobs < 1 || o.most <= 0 {
		return o, fmt.Errorf("-sample, -jobs and -most must be positive")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	began := time.Now()
	packages, err := load(ctx)
	if err != nil {
		return err
	}
	all, err := find(packages, o.only)
	if err != nil {
		return err
	}
	mutants, err := selected(drawn(all, o.sample, o.seed), o.ids)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of %d mutants, seed %d\n", len(mutants), len(all), o.seed)
	b := &bench{packages: packages, mutants: mutants, scratch: scratch, seed: o.seed, jobs: o.jobs, tests: o.tests, out: out}
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := b.reach(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "built, and the tests run alone, after %v\n", time.Since(began).Round(time.Second))
	verdicts := b.judge(ctx, o, began)
	report(out, verdicts, time.Since(began))
	return ctx.Err()
}
