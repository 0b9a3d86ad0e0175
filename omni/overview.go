package omni

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/omni/client/api/omni/specs"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
)

// Steps that are not part of [Provisioner.ProvisionSteps].
const (
	StepDone     = "provisioned"
	StepRemoving = "remove the virtual machine"
)

// Hooks report events of a [Provisioner] to metrics. They must be quick, and may be nil.
type Hooks struct {
	// OnStep is called after each run of a step: the result is "done", "waiting", "retry" for a failure that is retried,
	// or "failed".
	OnStep func(step, result string)
}

// Overview is the cached state, for the status page and for metrics. Reading it makes no calls.
type Overview struct {
	ID        string
	Requests  []Request // by id
	Providers []ProviderState
	Troubles  []string
}

// Request is a machine request in an [Overview].
type Request struct {
	ID, Set  string
	Step     string    // name of the current step
	Since    time.Time // since when it has been in the step
	Text     string    // why it does not continue; empty without a fault
	Provider string
	VM       string // id; empty before the VM exists
	Joined   bool   // the machine had joined Omni at the last look
}

// ProviderState is the state of a backend at the last health check.
type ProviderState struct {
	Name          string
	FailureDomain string
	Err           error // nil: usable
	Checked       time.Time
}

// Overview collects the current state.
func (p *Provisioner) Overview() Overview {
	o := Overview{ID: p.cfg.ID, Requests: p.progress.list(), Troubles: p.troubles.texts()}
	for _, b := range p.providers {
		o.Providers = append(o.Providers, b.state())
	}
	return o
}

// progress is the state of each request. The steps update it, and each comparison with Omni corrects it.
type progress struct {
	mu       sync.Mutex
	requests map[string]Request
}

// note records the state of a request in a step.
func (p *progress) note(id, step, text string, change func(*Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.requests == nil {
		p.requests = map[string]Request{}
	}
	r, known := p.requests[id]
	r.ID = id
	if !known || r.Step != step {
		r.Step, r.Since = step, time.Now()
	}
	r.Text = text
	if change != nil {
		change(&r)
	}
	p.requests[id] = r
}

func (p *progress) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.requests, id)
}

func (p *progress) list() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.requests), func(a, b Request) int { return cmp.Compare(a.ID, b.ID) })
}

// seen applies an inventory. It removes requests that Omni does not have, and adds those that have not run a step since the start
// of the program.
func (p *progress) seen(inv *inventory) {
	for _, r := range p.list() {
		if inv.requests[r.ID] == nil {
			p.forget(r.ID)
		}
	}
	for id, r := range inv.requests {
		step, text := p.at(id), p.text(id)
		switch status := inv.statuses[id]; {
		case r.Metadata().Phase() == resource.PhaseTearingDown:
			step = StepRemoving
		case status != nil && status.TypedSpec().Value.GetStage() == specs.MachineRequestStatusSpec_PROVISIONED:
			step, text = StepDone, ""
		}
		set, _ := r.Metadata().Labels().Get(omnires.LabelMachineRequestSet)
		p.note(id, step, text, func(known *Request) {
			known.Set, known.Joined = set, inv.joined[id]
			if note := inv.notes[id]; note != nil {
				spec := note.TypedSpec().Value
				known.Provider, known.VM = spec.GetProvider(), spec.GetVmId()
			}
		})
	}
}

func (p *progress) at(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.requests[id].Step, "waiting")
}

func (p *progress) text(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[id].Text
}

// state returns the result of the last health check.
func (b *backend) state() ProviderState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ProviderState{Name: b.name, FailureDomain: b.domain, Err: b.trouble, Checked: b.checked}
}

// note records the result of a health check.
func (b *backend) note(ctx context.Context, err error) {
	if ctx.Err() == context.Canceled {
		return // The program ends; the error does not come from the backend.
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble, b.checked = err, time.Now()
}
