package conformance

import (
	"cmp"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// player replays the manager's requests.
type player struct {
	c        *checker
	ids      map[string]string // the ids of this run by the names of this run
	image    string            // the source of VMs: the path of the prepared image, or the target's image
	snapshot string            // the id of the only snapshot
	state    map[string]string // the expected power state by id; "" means that the VM is gone
}

// id returns the id of a recorded VM in this run, or an id without a VM if its Create failed.
func (p *player) id(name string) string { return cmp.Or(p.ids[p.c.name(name)], noSuchVMs[0]) }

// checkRecorded sends the recording once unchanged, and once with every request twice.
func checkRecorded(c *checker) {
	for i, name := range []string{"once", "everything twice"} {
		times := i + 1
		c.sub(name, func(c *checker) {
			c.target.Prefix += fmt.Sprintf("-%dx", times)
			p := &player{c: c, ids: map[string]string{}, image: c.target.Image, snapshot: "none", state: map[string]string{}}
			p.play(times)
		})
	}
}

func (p *player) play(times int) {
	list, err := recording()
	if err != nil {
		p.c.Fatal(err)
	}
	for i, r := range list {
		req, err := r.request(p)
		if err != nil {
			p.c.Fatal(err)
		}
		for range times {
			if err := p.send(req); err != nil {
				p.c.Fatalf("request %d, %s: %v", i+1, r.Method, err)
			}
		}
	}
	for id, state := range p.state {
		if got := p.c.describe(id); got.GetExists() != (state != "") || got.GetPowerState() != state {
			p.c.Errorf("in the end %s: exists=%t, %q; want %q", id, got.GetExists(), got.GetPowerState(), state)
		}
	}
}

// send makes one request and checks the reply against the manager's next request.
func (p *player) send(msg proto.Message) error {
	client := p.c.target.Client
	switch req := msg.(type) {
	case *providerv1.ValidateRequest:
		resp, err := call(p.c, client.Validate, req)
		return expect(resp.GetOk(), err)
	case *providerv1.GetCapabilitiesRequest:
		_, err := call(p.c, client.GetCapabilities, req)
		return err
	case *providerv1.TaskStatusRequest:
		resp, err := call(p.c, client.TaskStatus, req)
		return expect(resp.GetDone() && resp.GetError() == "", err)
	case *providerv1.DescribeRequest:
		resp, err := call(p.c, client.Describe, req)
		return expect(resp.GetPowerState() == p.state[req.GetId()], err)
	case *providerv1.ListVMsRequest:
		return p.list(req)
	case *providerv1.CreateRequest:
		return p.create(req)
	case *providerv1.PowerRequest:
		return p.power(req)
	case *providerv1.DeleteRequest:
		p.c.remove(req.GetId())
		p.state[req.GetId()] = ""
		return nil
	}
	return p.sendOptional(msg)
}

// sendOptional makes a request that not every provider supports.
func (p *player) sendOptional(msg proto.Message) error {
	client, offers := p.c.target.Client, p.c.offers
	switch req := msg.(type) {
	case *providerv1.ImagePrepareRequest:
		return p.prepare(req)
	case *providerv1.SnapshotCreateRequest:
		resp, err := call(p.c, client.SnapshotCreate, req)
		p.snapshot = cmp.Or(resp.GetSnapshotId(), p.snapshot)
		return offered(offers.GetSupportsSnapshots(), err)
	case *providerv1.SnapshotDeleteRequest:
		_, err := call(p.c, client.SnapshotDelete, req)
		return offered(offers.GetSupportsSnapshots(), err)
	case *providerv1.CloneRequest:
		return p.clone(req)
	case *providerv1.ReconfigureRequest:
		// The request changes the firmware of a running VM, which is impossible. The provider must not report success.
		_, err := call(p.c, client.Reconfigure, req)
		return expectCode(err, codes.Unimplemented, codes.FailedPrecondition, codes.InvalidArgument)
	}
	return fmt.Errorf("the recording has a %T, which the player does not support", msg)
}

func (p *player) create(req *providerv1.CreateRequest) error {
	id := p.c.create(req)
	if was := p.ids[req.GetName()]; was != "" && was != id {
		return fmt.Errorf("id %q, before %q", id, was)
	}
	p.ids[req.GetName()] = id
	p.state[id] = cmp.Or(p.state[id], stateOff)
	return nil
}

// prepare lands the target's image; the recorded images do not exist, so an attempt to prepare them suffices.
func (p *player) prepare(req *providerv1.ImagePrepareRequest) error {
	resp, err := call(p.c, p.c.target.Client.ImagePrepare, req)
	if !p.c.offers.GetSupportsImageImport() {
		return expectCode(err, codes.Unimplemented)
	}
	if p.c.target.ImageURL == "" {
		return expectCode(err, append([]codes.Code{codes.OK}, businessCodes...)...)
	}
	p.c.finish(resp.GetTask())
	p.image = resp.GetPreparedImagePath()
	return expect(resp.GetPreparedImageId() != "" && p.image != "", err)
}

func (p *player) clone(req *providerv1.CloneRequest) error {
	id, err := p.c.clone(req)
	if id != "" {
		p.ids[req.GetTargetName()], p.state[id] = id, stateOff
	}
	return offered(p.c.offers.GetSupportsLinkedClones(), err)
}

// power requests a state and waits until Describe reports it, as the manager does.
func (p *player) power(req *providerv1.PowerRequest) error {
	id := req.GetId()
	if id == noSuchVMs[0] {
		_, err := call(p.c, p.c.target.Client.Power, req)
		return expectCode(err, codes.NotFound)
	}
	resp, err := call(p.c, p.c.target.Client.Power, req)
	if err != nil {
		return err
	}
	p.c.finish(resp.GetTask())
	switch req.GetOp() {
	case providerv1.PowerOp_POWER_OP_ON:
		p.state[id] = stateOn
	case providerv1.PowerOp_POWER_OP_OFF:
		p.state[id] = stateOff
	default:
		// A guest may ignore a graceful shutdown.
		p.state[id] = p.c.describe(id).GetPowerState()
	}
	p.c.await(id, p.state[id])
	return nil
}

func (p *player) list(req *providerv1.ListVMsRequest) error {
	resp, err := call(p.c, p.c.target.Client.ListVMs, req)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, vm := range resp.GetVms() {
		listed[vm.GetId()] = true
	}
	for id, state := range p.state {
		if listed[id] != (state != "") {
			return fmt.Errorf("VM %s is listed: %t, and its state should be %q", id, listed[id], state)
		}
	}
	return nil
}

func expect(met bool, err error) error {
	if err == nil && !met {
		return fmt.Errorf("the manager does not accept the reply")
	}
	return err
}

// offered expects success of an advertised RPC and Unimplemented of any other.
func offered(has bool, err error) error {
	if has {
		return err
	}
	return expectCode(err, codes.Unimplemented)
}

func expectCode(err error, allowed ...codes.Code) error {
	for _, code := range allowed {
		if status.Code(err) == code {
			return nil
		}
	}
	return fmt.Errorf("%w; want %v", cmp.Or(err, fmt.Errorf("success")), allowed)
}
