package conformance

import (
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkTasks polls tasks that do not exist: they must be done. An error would leave the VM's task reference set forever,
// which blocks the VM.
func checkTasks(c *checker) {
	unknown := []*providerv1.TaskRef{nil, {}}
	for _, id := range []string{"task-1795262055-203", "0", "-1", "a/b/c", "//", "\x00", "ü", "{}", strings.Repeat("9", 300)} {
		unknown = append(unknown, &providerv1.TaskRef{Id: id})
	}
	for _, task := range unknown {
		resp, err := call(c, c.target.Client.TaskStatus, &providerv1.TaskStatusRequest{Task: task})
		if err != nil || !resp.GetDone() || resp.GetError() != "" {
			c.Errorf("task %q: done=%t, error %q, %v; want done without an error", task.GetId(), resp.GetDone(), resp.GetError(), err)
		}
	}
}
