package redfish

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

const actionReset = "ComputerSystem.Reset"

// changeTimeout bounds a change of a VM. It does not end with the request: a client that hangs up in the middle of a power cycle
// must not leave the VM off.
const changeTimeout = 110 * time.Second

// taskEvery is the interval of the polls of a task.
const taskEvery = time.Second

// gracefulSeconds is the time for a guest to shut down.
const gracefulSeconds = 90

// reset is a ResetType and the steps that it takes.
type reset struct {
	name  string
	steps []providerv1.PowerOp
	on    bool // only for a VM that is not off
}

var resets = []reset{
	{"On", []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_ON}, false},
	{"ForceOff", []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_OFF}, false},
	{"GracefulShutdown", []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL}, false},
	{"GracefulRestart", []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_REBOOT}, true},
	{"ForceRestart", []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_OFF, providerv1.PowerOp_POWER_OP_ON}, true},
	{"PowerCycle", []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_OFF, providerv1.PowerOp_POWER_OP_ON}, false},
}

func resetTypes() []string {
	names := make([]string, len(resets))
	for i, r := range resets {
		names[i] = r.name
	}
	return names
}

func resetNamed(name string) (reset, bool) {
	for _, r := range resets {
		if r.name == name {
			return r, true
		}
	}
	return reset{}, false
}

// resetActionInfo describes the parameters of the action.
func (y system) resetActionInfo() object {
	return object{
		"@odata.type": "#ActionInfo.v1_3_0.ActionInfo", "Id": "ResetActionInfo", "Name": "Reset Action Info",
		"Parameters": []object{{"Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": resetTypes()}},
	}
}

// reset returns when the VM has the requested state, or, if the guest decides, when the guest has received the request.
func (s *Service) reset(c *call, body object) (answer, error) {
	values, err := parameters(actionReset, body, parameter{name: "ResetType", required: true})
	if err != nil {
		return answer{}, err
	}
	r, ok := resetNamed(values.text("ResetType"))
	if !ok {
		return answer{}, fail(msgParameterList, values.text("ResetType"), "ResetType", actionReset)
	}
	y, err := s.system(c)
	switch {
	case err != nil:
		return answer{}, err
	case r.on && y.off():
		return answer{}, fail(msgInUse).because("The system is off; %s restarts a system that is on. Use On or PowerCycle.", r.name)
	}
	s.log.Info("reset", zap.String("account", c.account.Name), zap.String("system", y.vm.GetId()), zap.String("type", r.name))
	defer s.provider.forget()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), s.patience)
	defer cancel()
	for i, op := range r.steps {
		if err := s.provider.power(ctx, y.vm.GetId(), op, i < len(r.steps)-1); err != nil {
			return answer{}, err
		}
	}
	return done, nil
}

// power changes a VM's power state. With wait it waits for the end.
func (p *provider) power(ctx context.Context, id string, op providerv1.PowerOp, wait bool) error {
	req := &providerv1.PowerRequest{Id: id, Op: op}
	if op == providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL {
		req.GracefulTimeoutSeconds = gracefulSeconds
	}
	resp, err := p.client.Power(ctx, req)
	if err != nil || !wait {
		return err
	}
	return p.finish(ctx, resp.GetTask())
}

// finish waits for a task.
func (p *provider) finish(ctx context.Context, task *providerv1.TaskRef) error {
	for task.GetId() != "" {
		now, err := p.client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		switch {
		case err != nil:
			return err
		case now.GetError() != "":
			return fail(msgGeneral).with(http.StatusInternalServerError).because("%s", now.GetError())
		case now.GetDone():
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("task %s: %w", task.GetId(), err)
		}
	}
	return nil
}

// pause waits before the next poll of a provider. When the time of the request is over, it returns the error of a provider that does
// not respond, because the operation continues.
func pause(ctx context.Context) error {
	select {
	case <-time.After(taskEvery):
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
