package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// The jobs of TrueNAS that power tasks represent.
const (
	methodStop    = "vm.stop"
	methodRestart = "vm.restart"
)

// task is the content of a task id: a job of TrueNAS on a VM. TrueNAS restarts the numbering of its jobs when it restarts, so
// that the method and the VM identify the job together with its number.
type task struct {
	method string
	job    truenas.JobID
	vm     int64
}

// taskRef makes an id that any replica understands, also after a restart.
func taskRef(method string, job truenas.JobID, vm int64) *providerv1.TaskRef {
	return &providerv1.TaskRef{Id: fmt.Sprintf("%s/%d/%d", method, job, vm)}
}

func parseTask(id string) (task, bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 || (parts[0] != methodStop && parts[0] != methodRestart) {
		return task{}, false
	}
	job, err1 := strconv.ParseInt(parts[1], 10, 64)
	vm, err2 := strconv.ParseInt(parts[2], 10, 64)
	return task{parts[0], truenas.JobID(job), vm}, err1 == nil && err2 == nil
}

// TaskStatus reports whether a task is done. It never returns an error for a task of a VM, because the manager would keep the
// task forever and block the VM; the next Describe returns the real state. A task of a clone or of an image reports its
// failure. An unknown task is done. While the NAS is unreachable no task is done.
func (s *Server) TaskStatus(ctx context.Context, req *providerv1.TaskStatusRequest) (*providerv1.TaskStatusResponse, error) {
	id := req.GetTask().GetId()
	done, failed, err := true, error(nil), error(nil)
	if t, ok := parseTask(id); ok {
		done, err = s.jobDone(ctx, t)
	} else if parts := strings.Split(id, "/"); len(parts) == 3 && parts[0] == taskImage {
		done, failed, err = s.imageTask(ctx, parts[1], parts[2])
	} else if vm, ok := strings.CutPrefix(id, taskClone+"/"); ok {
		done, failed, err = s.cloneTask(ctx, vm)
	}
	if err != nil {
		s.log.Warn("read of a task's status failed", zap.String("task", id), zap.Error(err))
		return &providerv1.TaskStatusResponse{}, nil
	}
	resp := &providerv1.TaskStatusResponse{Done: done}
	if failed != nil {
		resp.Error = s.public(failed).Error()
	}
	return resp, nil
}

// jobDone reports whether the job of a task is done. The end of a job can overtake the event of the VM's new state, so that the
// next lookup of the VM reads the NAS.
func (s *Server) jobDone(ctx context.Context, t task) (done bool, err error) {
	defer func() {
		if done {
			s.inventory.InvalidateID(t.vm)
		}
	}()
	job, err := s.nas.Jobs.Get(ctx, t.job)
	if errors.Is(err, truenas.ErrNotFound) || errors.Is(err, truenas.ErrJobLost) {
		return true, nil
	}
	same := job.Method == t.method && jobIsFor(job, t.vm)
	return err == nil && (!same || job.Done()), err
}
