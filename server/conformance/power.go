package conformance

import (
	"fmt"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// graceSeconds is the time for a guest to shut down. It is short, because a blank disk has no system that handles the power button.
const graceSeconds = 5

// powerOps are all power operations.
var powerOps = []providerv1.PowerOp{
	providerv1.PowerOp_POWER_OP_ON, providerv1.PowerOp_POWER_OP_OFF,
	providerv1.PowerOp_POWER_OP_REBOOT, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL,
}

// checkPower requests every state twice.
func checkPower(c *checker) {
	id := c.create(c.plain(c.name("powered")))
	for _, step := range []struct {
		op    providerv1.PowerOp
		state string
	}{
		{providerv1.PowerOp_POWER_OP_OFF, stateOff},
		{providerv1.PowerOp_POWER_OP_ON, stateOn},
		{providerv1.PowerOp_POWER_OP_OFF, stateOff},
		{providerv1.PowerOp_POWER_OP_ON, stateOn},
		{providerv1.PowerOp_POWER_OP_REBOOT, stateOn},
		{providerv1.PowerOp_POWER_OP_OFF, stateOff},
	} {
		for range 2 {
			c.power(id, step.op)
			c.await(id, step.state)
		}
	}
	c.sub("wrong", func(c *checker) { checkPowerWrong(c, id) })
}

// checkPowerWrong sends impossible requests, which must not affect the existing VM.
func checkPowerWrong(c *checker, id string) {
	for _, op := range []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_UNSPECIFIED, 99} {
		_, err := call(c, c.target.Client.Power, &providerv1.PowerRequest{Id: id, Op: op})
		c.refused(op.String(), err, codes.InvalidArgument)
	}
	for _, id := range noSuchVMs {
		for _, op := range powerOps {
			_, err := call(c, c.target.Client.Power, &providerv1.PowerRequest{Id: id, Op: op})
			c.refused(fmt.Sprintf("%v of a VM that does not exist, %q", op, id), err, codes.NotFound)
		}
	}
	c.await(id, stateOff)
}

// checkGraceful repeats a graceful shutdown quickly, as the manager does every five seconds until the VM is off.
func checkGraceful(c *checker) {
	id := c.create(c.plain(c.name("graceful")))
	shutdown := func() *providerv1.TaskRef {
		resp, err := call(c, c.target.Client.Power, &providerv1.PowerRequest{
			Id: id, Op: providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, GracefulTimeoutSeconds: graceSeconds,
		})
		if err != nil {
			c.Fatal(err)
		}
		return resp.GetTask()
	}
	offIsSuccess := func() {
		for range 3 {
			if task := shutdown(); task.GetId() != "" {
				c.Errorf("a graceful shutdown of a VM that is off has the task %q", task.GetId())
			}
		}
	}
	offIsSuccess()
	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
	first := shutdown()
	c.finish(shutdown())
	c.finish(first)
	c.finish(first) // A poll after the end of the task.
	// The guest may ignore the shutdown; the VM must still accept Off.
	c.power(id, providerv1.PowerOp_POWER_OP_OFF)
	c.await(id, stateOff)
	offIsSuccess()
}
