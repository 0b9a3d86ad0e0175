package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var releases = []string{"25.04.2", "25.10", "26", "27"}

// direct is a simulator whose methods are called without a connection. It checks the replies against TrueNAS's models if
// TRUENAS_API_MODELS names their folder.
type direct struct {
	*Sim
	t      *testing.T
	clock  *StepClock
	models map[string]model     // used models by method
	known  map[string]published // all models of the release by method
}

func newDirect(t *testing.T, release string) *direct {
	t.Helper()
	clock := NewStepClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s, err := New(Config{Release: release, Clock: clock, Pools: []Pool{{Name: "tank", SizeBytes: 64 << 30}, {Name: "fast", SizeBytes: 16 << 30}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &direct{s, t, clock, map[string]model{}, nil}
}

type object = map[string]any

// call runs a method to its end, including its job. It steps the clock for waiting jobs.
func (n *direct) call(method string, params ...any) (json.RawMessage, error) {
	n.t.Helper()
	m, ok := n.methods[method]
	if !ok {
		return nil, fmt.Errorf("%s: no such method in %s", method, n.release)
	}
	m = n.reaching(method, m)
	c := &call{sim: n.Sim, session: &session{sim: n.Sim, user: n.accounts[0]}, method: method}
	for _, p := range params {
		c.params = append(c.params, mustJSON(n.t, p))
	}
	var raw json.RawMessage
	var err error
	if m.job {
		raw, err = n.job(c, m)
	} else {
		raw, err = n.plain(c, m)
	}
	if err == nil {
		n.checkModel(c, raw)
	}
	return raw, err
}

func (n *direct) plain(c *call, m method) (json.RawMessage, error) {
	done := make(chan struct{})
	defer close(done)
	go n.turn(done)
	n.mu.Lock()
	defer n.mu.Unlock()
	result, err := m.run(c)
	if err != nil {
		return nil, err
	}
	return mustJSON(n.t, result), nil
}

func (n *direct) job(c *call, m method) (json.RawMessage, error) {
	n.mu.Lock()
	j, err := n.startJob(c, m)
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	defer close(done)
	go n.turn(done)
	<-j.done
	n.mu.Lock()
	defer n.mu.Unlock()
	return j.result, j.err
}

// turn steps the clock whenever a function waits for it, until done is closed.
func (n *direct) turn(done chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
			if n.clock.Waiting() > 0 {
				n.clock.Step(time.Second)
			}
		}
	}
}

// must makes a call that has to succeed. into receives the result unless it is nil.
func (n *direct) must(into any, method string, params ...any) {
	n.t.Helper()
	raw, err := n.call(method, params...)
	if err != nil {
		n.t.Fatalf("%s %v: %v", method, params, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		n.t.Fatalf("%s: %v", method, err)
	}
}

// fails makes a call that has to fail with an error that contains words.
func (n *direct) fails(errno int, words string, method string, params ...any) {
	n.t.Helper()
	raw, err := n.call(method, params...)
	if err == nil {
		n.t.Fatalf("%s %v returned %s, want an error with %q", method, params, raw, words)
	}
	if got := errnoOf(err); got != errno || !strings.Contains(err.Error(), words) {
		n.t.Fatalf("%s %v: errno %d, %q; want errno %d, %q", method, params, got, err, errno, words)
	}
}

func errnoOf(err error) int {
	var bad invalid
	var fell failure
	var call *CallError
	switch {
	case errors.As(err, &call):
		return call.Errno
	case errors.As(err, &bad):
		return bad[0].errno
	case errors.As(err, &fell):
		return fell.errno
	case errors.As(err, &call):
		return call.Errno
	}
	return 0
}

func mustJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// snapshots returns the name of a snapshot method in the release.
func (n *direct) snapshots(method string) string {
	if n.release == v25_04_2 {
		return "zfs.snapshot." + method
	}
	return "pool.snapshot." + method
}

// model is TrueNAS's published model of a method. A schema may be nil.
type model struct {
	args            []string
	params, returns *jsonschema.Schema
}

// checkModel checks a successful call and its reply against the models of the release: the simulator must not accept what a NAS
// would refuse.
func (n *direct) checkModel(c *call, result json.RawMessage) {
	n.t.Helper()
	dir := os.Getenv("TRUENAS_API_MODELS")
	if dir == "" {
		return
	}
	m, ok := n.models[c.method]
	if !ok {
		m = n.readModel(dir, c.method)
		n.models[c.method] = m
	}
	given := object{}
	for i, p := range c.params {
		given[m.args[i]] = p
	}
	n.fits("is given", c.method, m.params, given)
	n.fits("answers", c.method, m.returns, object{"result": result})
}

func (n *direct) fits(what, method string, schema *jsonschema.Schema, v any) {
	n.t.Helper()
	if schema == nil {
		return
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(mustJSON(n.t, v)))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		n.t.Errorf("%s of %s %s what the model has not: %v\n%s", method, n.release, what, err, mustJSON(n.t, v))
	}
}

// published is a method in the files of models.
type published struct {
	Args            []string
	Params, Returns json.RawMessage
}

func (n *direct) readModel(dir, method string) model {
	n.t.Helper()
	if n.known == nil {
		raw, err := os.ReadFile(filepath.Join(dir, n.release.String()+".json"))
		if err != nil {
			n.t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &n.known); err != nil {
			n.t.Fatal(err)
		}
	}
	in, ok := n.known[method]
	if !ok {
		n.t.Errorf("%s has no method %s", n.release, method)
	}
	return model{in.Args, compile(n.t, method+"/params", in.Params), compile(n.t, method+"/returns", in.Returns)}
}

func compile(t *testing.T, name string, raw json.RawMessage) *jsonschema.Schema {
	t.Helper()
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///"+name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("mem:///" + name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
