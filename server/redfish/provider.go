package redfish

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// listedFor is how long the list of VMs is valid. A request for a VM that is not on it reads the list again.
const listedFor = 5 * time.Second

// retryAfter is the Retry-After of a response while the provider is unavailable, in seconds.
const retryAfter = "5"

// headerExtensions is the gRPC header of GetCapabilities' response that lists the provider's extensions of the contract.
const headerExtensions = "truenas-extensions"

// provider is the provider, with short-lived copies of its responses.
type provider struct {
	client providerv1.ProviderClient
	now    func() time.Time

	mu         sync.Mutex
	vms        []*providerv1.VMInfo
	listed     time.Time
	extensions []string
	queried    bool
}

// list returns the VMs from a list of at most this age.
func (p *provider) list(ctx context.Context, age time.Duration) ([]*providerv1.VMInfo, error) {
	p.mu.Lock()
	vms, fresh := p.vms, !p.listed.IsZero() && p.now().Sub(p.listed) < age
	p.mu.Unlock()
	if fresh {
		return vms, nil
	}
	begun := p.now()
	resp, err := p.client.ListVMs(ctx, &providerv1.ListVMsRequest{})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vms, p.listed = resp.GetVms(), begun
	return p.vms, nil
}

// forget makes the next request read the list again after a change.
func (p *provider) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed = time.Time{}
}

// vm returns a VM by its id, and nil when there is none.
func (p *provider) vm(ctx context.Context, id string) (*providerv1.VMInfo, error) {
	for _, age := range []time.Duration{listedFor, time.Second} { // A client that guesses ids causes one list per second.
		vms, err := p.list(ctx, age)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(vms, func(vm *providerv1.VMInfo) bool { return vm.GetId() == id }); i >= 0 {
			return vms[i], nil
		}
	}
	return nil, nil
}

// state is the provider's current view of a VM.
type state struct {
	power string
	raw   map[string]string
	ips   []string
}

// describe returns the state of a VM, and false when it is gone.
func (p *provider) describe(ctx context.Context, id string) (state, bool, error) {
	resp, err := p.client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
	if err != nil || !resp.GetExists() {
		return state{}, false, err
	}
	now := state{power: resp.GetPowerState(), ips: resp.GetIps(), raw: map[string]string{}}
	var raw map[string]any
	if json.Unmarshal([]byte(resp.GetProviderRawJson()), &raw) == nil { // The provider chooses the contents.
		for key, value := range raw {
			if text, ok := value.(string); ok {
				now.raw[key] = text
			}
		}
	}
	return now, true, nil
}

// knows reports whether the provider lists an extension of the contract.
func (p *provider) knows(ctx context.Context, extension string) (bool, error) {
	p.mu.Lock()
	known, queried := p.extensions, p.queried
	p.mu.Unlock()
	if !queried {
		var header metadata.MD
		if _, err := p.client.GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{}, grpc.Header(&header)); err != nil {
			return false, err
		}
		known = strings.Split(strings.Join(header.Get(headerExtensions), ","), ",")
		p.mu.Lock()
		p.extensions, p.queried = known, true
		p.mu.Unlock()
	}
	return slices.Contains(known, extension), nil
}

// providerFault converts an error of the provider to a Redfish fault. The client gets the text of errors about its request; the
// log gets the text of the provider's own failures.
func (s *Service) providerFault(err error) *fault {
	text := status.Convert(err).Message()
	switch status.Code(err) {
	case codes.NotFound:
		return fail(msgGeneral).with(http.StatusNotFound).because("%s", text)
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		return fail(msgInUse).because("%s", text)
	case codes.InvalidArgument, codes.OutOfRange:
		return fail(msgGeneral).because("%s", text)
	case codes.Unimplemented:
		return fail(msgGeneral).with(http.StatusNotImplemented).because("%s", text)
	case codes.ResourceExhausted:
		return fail(msgInUse).with(http.StatusInsufficientStorage).because("%s", text)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		s.log.Warn("the provider did not answer", zap.Error(err))
		return fail(msgUnavailable, retryAfter)
	}
	s.log.Error("the provider failed", zap.Error(err))
	return fail(msgInternal)
}
