package main

import (
	"fmt"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// example has code for every kind of mutant, and prints a line for each.
const example = `package main

import "fmt"

type size int64

var one, two, seven = size(1), size(2), size(7)

func full(have, want size) bool { return have < want &&
	want != 7 }

func check(err error) error {
	if err != nil {
		return err
	}
	return nil
}

func main() {
	total := size(86)
	total = total + 4
	switch {
	case total >= 90:
		fmt.Println("large")
	}
	fmt.Println(full(one, one), full(one, two), full(one, seven), check(fmt.Errorf("no")), total, either(one), either(two))
}

func either(a size) bool { return a == 1 || false }
`

// loaded returns a package of one file.
func loaded(t *testing.T, text string) *source {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := goList(t.Context(), "context", "fmt", "time")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	s, err := check(listed{ImportPath: "main", Dir: dir, Name: "main", GoFiles: []string{"main.go"}}, "server", fset, importerOf(fset, list))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every mutant of the example changes the program's output. Without a mutant the output is the original one.
func TestMutantsChangeTheProgram(t *testing.T) {
	s := loaded(t, example)
	mutants, err := find([]*source{s}, "")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for i, m := range mutants {
		m.id = i + 1
		kinds[m.kind] = true
	}
	for _, kind := range []string{"negated condition", "negated comparison", "changed boundary", "swapped && and ||", "swapped + and -",
		"another number", "swapped truth value", "dropped error", "removed statement"} {
		if !kinds[kind] {
			t.Errorf("no mutant of the kind %q", kind)
		}
	}
	changed := rewritten(s.files[0], mutants)
	if was, is := strings.Count(example, "\n"), strings.Count(string(changed), "\n"); was != is {
		t.Errorf("the file had %d lines and has %d", was, is)
	}
	program := filepath.Join(t.TempDir(), "program")
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example\n\ngo 1.26\n", "main.go": string(changed), "runtime.go": "package main\n\n" + runtime} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = dir
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, changed)
	}
	printed := func(id int) string {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), fmt.Sprintf("MUTATE_ACTIVE=%d", id))
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return string(text)
	}
	const want = "large\nfalse true false no 90 true false\n"
	if got := printed(0); got != want {
		t.Errorf("without a mutant: %q", got)
	}
	for _, m := range mutants {
		if printed(m.id) == want {
			t.Errorf("%v changes nothing", m)
		}
	}
}

func TestOmittedMutants(t *testing.T) {
	s := loaded(t, `package main

import (
	"context"
	"fmt"
	"time"
)

const limit = 5 + 3

type table [4]int

func failed(err error) (int, bool, error) {
	list, set := make([]int, len(fmt.Sprint()), 8), make(map[int]int, 8)
	fmt.Println(list, set)
	if err != nil {
		return 7, true, err
	}
	return 8, false, fmt.Errorf("no")
}

func late(after, most time.Duration) bool {
	return after > most
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	<-ctx.Done()
	cancel()
	panic("end")
}
`)
	mutants, err := find([]*source{s}, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mutants {
		got = append(got, fmt.Sprint(m.at.Line, ": ", m.kind))
	}
	if want := []string{"15: removed statement", "16: negated condition", "17: dropped error", "19: dropped error"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDrawn(t *testing.T) {
	var all []*mutant
	for i := range 100 {
		all = append(all, &mutant{at: token.Position{Line: i}})
	}
	lines := func(list []*mutant) (s string) {
		for _, m := range list {
			s += fmt.Sprint(m.at.Line, " ")
		}
		return s
	}
	first, again, other := lines(drawn(all, 10, 1)), lines(drawn(all, 10, 1)), lines(drawn(all, 10, 2))
	if first != again || first == other {
		t.Errorf("seed 1: %s, again: %s, seed 2: %s", first, again, other)
	}
	if two, err := selected(drawn(all, 10, 1), "3,7"); err != nil || len(two) != 2 || two[0].id != 3 || two[1].id != 7 {
		t.Errorf("3,7: %v, %v", two, err)
	}
	for _, ids := range []string{"0", "11", "x", "1,,2"} {
		if _, err := selected(drawn(all, 10, 1), ids); err == nil {
			t.Errorf("%q is accepted", ids)
		}
	}
	if n := len(drawn(all, 1000, 1)); n != 100 {
		t.Errorf("%d mutants of 100", n)
	}
}

func TestFirst(t *testing.T) {
	one, two := &source{}, &source{}
	list := []*test{{in: one, took: time.Second}, {in: one, took: 2 * time.Second}, {in: one, took: 3 * time.Second}, {in: two, took: time.Second}}
	for _, tt := range []struct{ from, want int }{{0, 2}, {2, 1}, {3, 1}} {
		if n, _ := first(list[tt.from:]); n != tt.want {
			t.Errorf("the batch from test %d has %d tests", tt.from, n)
		}
	}
	if n, took := first([]*test{{in: one, took: time.Hour}}); n != 1 || took != time.Hour {
		t.Errorf("a slow test is in a batch of %d, %v", n, took)
	}
}

func TestReport(t *testing.T) {
	m := func(group string, line int) *mutant {
		s := &source{path: group, group: group, dir: "/x"}
		return &mutant{in: s, file: &file{name: "/x/a.go", text: []byte("one\ntwo\nthree")}, kind: "negated condition", at: token.Position{Line: line, Column: 1}}
	}
	var out strings.Builder
	report(&out, []verdict{
		{mutant: m("server", 1), run: true, killed: true},
		{mutant: m("server", 2), run: true, tests: 4, ran: 3},
		{mutant: m("omni", 3), run: true, killed: true},
		{mutant: m("omni", 3)},
	}, time.Minute)
	for _, want := range []string{"server/a.go:2:1: negated condition: two [mutant 0] (3 of 4 tests ran)\n", "server   1 of 2 killed\n", "omni     1 of 1 killed\n",
		"all      2 of 3 killed: 66.7 %; 1 of the sample did not run; 1m0s\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"-sample", "0"}, {"-jobs", "0"}, {"-most", "0s"}, {"-seed", "x"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
