package truenas

import (
	"context"
	"encoding/json"
	"fmt"
)

// conversion is the only parameter of vm.device.convert.
type conversion struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// Convert starts to copy between an image file and a volume; 25.10 and later. The file's name ends
// in qcow2, qed, raw, vdi, vhdx or vmdk, and the file is under /mnt/<pool>/.
//
// TrueNAS runs one conversion at a time and queues one. It drops a third and returns the id of the
// queued conversion. Convert therefore checks the job's arguments and returns [ErrBusy] if the job
// belongs to another caller.
func (s Devices) Convert(ctx context.Context, source, destination string) (JobID, error) {
	if err := s.c.need(ctx, deviceConvert.name, R25_10, Release{}); err != nil {
		return 0, err
	}
	asked := conversion{source, destination}
	id, err := deviceConvert.start(ctx, s.c, asked)
	if err != nil {
		return 0, err
	}
	job, err := s.c.Jobs.known(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("job %d of %s: %w: %w", id, deviceConvert.name, ErrUncertain, err)
	}
	if !sameConversion(job, asked) {
		return 0, &Error{Method: deviceConvert.name, Job: id, Reason: "another conversion is queued; TrueNAS dropped this one", kind: ErrBusy}
	}
	return id, nil
}

func sameConversion(j Job, asked conversion) bool {
	var args []conversion
	if err := json.Unmarshal(j.Arguments, &args); err != nil || len(args) != 1 {
		return false
	}
	return j.Method == deviceConvert.name && args[0] == asked
}
