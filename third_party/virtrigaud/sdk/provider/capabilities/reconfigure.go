package capabilities

import providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

// HonestReconfigureResponse returns the reply to Reconfigure of a provider with [CapabilityHonestReconfigure]. An empty task id
// means that the call is complete. restartRequired means that the change takes effect when the VM is powered off and on.
func HonestReconfigureResponse(taskID string, restartRequired bool) *providerv1.TaskResponse {
	resp := &providerv1.TaskResponse{HonestResult: true, RestartRequired: restartRequired}
	if taskID != "" {
		resp.Task = &providerv1.TaskRef{Id: taskID}
	}
	return resp
}
