package omni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/omni/machine"
)

// listAge is the maximum age of the list of machines for the choice of a backend.
const listAge = 10 * time.Second

// places serializes the choice of a backend, so that concurrent requests are spread. It keeps a choice until Omni has stored it,
// at the end of the step.
type places struct {
	mu     sync.Mutex
	chosen map[string]*machine.MachineSpec // by request id
}

// place returns the backend of the machine, or chooses one and records it with the machine's static addresses.
func (p *Provisioner) place(ctx context.Context, r *request, class Class) (*backend, error) {
	if r.spec.Provider != "" {
		if b := p.provider(r.spec.Provider); b != nil {
			return b, nil
		}
		return nil, refusal("the machine is on %q, which is not configured as a backend; add --provider %s=HOST:PORT", r.spec.Provider, r.spec.Provider)
	}
	candidates, err := p.candidates(ctx, r, class)
	if err != nil {
		return nil, err
	}
	p.places.mu.Lock()
	defer p.places.mu.Unlock()
	others, err := p.others(ctx, r.id)
	if err != nil {
		return nil, err
	}
	addresses := r.spec.Addresses
	if len(addresses) == 0 {
		if addresses, err = allocate(class, others); err != nil {
			return nil, err
		}
	}
	set, _ := r.GetMachineRequestSetID()
	if candidates, err = p.applySpread(candidates, class, set, others); err != nil {
		r.spec.Refused = nil // A machine that is removed may free resources on any of them.
		return nil, err
	}
	b := p.leastUsed(ctx, candidates, class, set, others)
	r.spec.Provider, r.spec.RequestSet, r.spec.StoragePool, r.spec.Addresses = b.name, set, class.StoragePool, addresses
	if p.places.chosen == nil {
		p.places.chosen = map[string]*machine.MachineSpec{}
	}
	p.places.chosen[r.id] = &machine.MachineSpec{Provider: b.name, RequestSet: set, Addresses: addresses}
	return b, nil
}

// candidates returns the backends that respond and can create the machine. When there are none, it returns the error of the
// first backend.
func (p *Provisioner) candidates(ctx context.Context, r *request, class Class) ([]*backend, error) {
	wanted, err := p.wanted(r, class)
	if err != nil {
		return nil, err
	}
	failed := make([]error, len(wanted))
	var wait sync.WaitGroup
	for i, b := range wanted {
		wait.Go(func() {
			if failed[i] = b.checkSupport(ctx, class); failed[i] == nil && len(wanted) > 1 {
				failed[i] = b.validate(ctx)
			}
		})
	}
	wait.Wait()
	var usable []*backend
	for i, b := range wanted {
		if failed[i] == nil {
			usable = append(usable, b)
		}
	}
	if len(usable) == 0 {
		return nil, failed[0]
	}
	return usable, nil
}

// wanted returns the backends to try: the one that the class names, or all that have not refused this machine. When all have
// refused it, it returns all of them again.
func (p *Provisioner) wanted(r *request, class Class) ([]*backend, error) {
	if class.Provider != "" {
		b := p.provider(class.Provider)
		if b == nil {
			return nil, refusal("the machine class names the unknown provider %q; known: %s", class.Provider, strings.Join(p.names(), ", "))
		}
		return []*backend{b}, nil
	}
	var wanted []*backend
	for _, b := range p.providers {
		if !slices.Contains(r.spec.Refused, b.name) {
			wanted = append(wanted, b)
		}
	}
	if len(wanted) == 0 {
		r.spec.Refused = nil
		return p.providers, nil
	}
	return wanted, nil
}

func (p *Provisioner) names() []string {
	var names []string
	for _, b := range p.providers {
		names = append(names, b.name)
	}
	return names
}

// others returns the records of all other requests: those in Omni, and the choices that Omni has not stored yet.
func (p *Provisioner) others(ctx context.Context, self string) (map[string]*machine.MachineSpec, error) {
	notes, err := safe.StateListAll[*machine.Machine](ctx, p.cfg.State)
	if err != nil {
		return nil, fmt.Errorf("list of the backends of other machines failed: %w", err)
	}
	others := map[string]*machine.MachineSpec{}
	for note := range notes.All() {
		id := note.Metadata().ID()
		others[id] = note.TypedSpec().Value
		if chosen := p.places.chosen[id]; chosen != nil && others[id].GetProvider() == "" {
			others[id] = chosen
		}
	}
	for id := range p.places.chosen {
		if others[id] == nil || others[id] != p.places.chosen[id] {
			delete(p.places.chosen, id)
		}
	}
	delete(others, self)
	return others, nil
}

// Values of the setting that spreads the machines of a set.
const (
	spreadEven         = "even"
	spreadStrict       = "strict"
	spreadStrictDomain = "strict-domain"
)

// applySpread drops the backends that a strict spread rules out: those that have a machine of the same set,
// or whose failure domain has one. Machines of an unreachable backend count too.
func (p *Provisioner) applySpread(candidates []*backend, class Class, set string, others map[string]*machine.MachineSpec) ([]*backend, error) {
	what, more, place := "NAS", "add a NAS", func(b *backend) string { return b.name }
	switch class.Spread {
	case spreadStrict:
	case spreadStrictDomain:
		what, more, place = "failure domain", "add a NAS in another one", func(b *backend) string { return b.domain }
	default:
		return candidates, nil
	}
	taken := map[string]bool{}
	for _, other := range others {
		if b := p.provider(other.GetProvider()); b != nil && other.GetRequestSet() == set {
			taken[place(b)] = true
		}
	}
	free := slices.DeleteFunc(slices.Clone(candidates), func(b *backend) bool { return taken[place(b)] })
	if len(free) > 0 {
		return free, nil
	}
	text := fmt.Sprintf("spread is %s, and each %s that takes this machine has one of its set; %s, or use fewer machines", class.Spread, what, more)
	for _, b := range p.providers {
		if !taken[place(b)] && class.Provider == "" {
			text += "; " + b.name + " has none, and is away or refuses this machine"
		}
	}
	return nil, operatorFault{text}
}

// reassign moves a request that a backend refused to another one, when the class allows any backend and no machine
// exists yet. An outage counts as a refusal only before Create was called, because an interrupted call may have succeeded. After
// Create was called, the backend must not keep a machine of that call.
func (p *Provisioner) reassign(ctx context.Context, r *request, class Class, b *backend, err error) error {
	if class.Provider != "" || len(p.providers) == 1 || r.spec.VmId != "" || !p.shouldMove(r, err) {
		return err
	}
	if r.spec.Committed {
		if _, failed := p.removeUnrecorded(ctx, r.id, b); failed != nil {
			return failed
		}
	}
	text, _ := userText(err)
	r.spec.Refused = append(r.spec.Refused, b.name)
	r.spec.Provider, r.spec.ImagePath, r.spec.Committed, r.spec.NameTaken = "", "", false, false
	if len(r.spec.Refused) < len(p.providers) {
		r.log.Info("using another backend", zap.String("provider", b.name), zap.String("reason", text))
		return waiting{after: immediately}
	}
	r.spec.Refused = nil
	return operatorFault{"no backend accepts this machine; the last one reported: " + text}
}

// shouldMove reports whether an error means that another backend should be tried.
func (p *Provisioner) shouldMove(r *request, err error) bool {
	var b backendError
	if !errors.As(err, &b) {
		return false
	}
	switch _, final := userText(err); {
	case final, codeOf(err) == codes.ResourceExhausted:
		return true
	case codeOf(err) == codes.Unavailable, codeOf(err) == codes.DeadlineExceeded:
		return !r.spec.Committed
	}
	return false
}
