package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// refusedAs checks the code and the text of an error.
func refusedAs(t *testing.T, err error, code codes.Code, says string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %v with %q", code, says)
	}
	if got, _ := verdict(err); got != code || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v %q, want %v with %q", got, err, code, says)
	}
}

func TestNewRefusesItsConfiguration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  Config
		says string
	}{
		{Config{Dataset: "tank/virtrigaud"}, "id must not be empty"},
		{Config{ID: "a", Dataset: "tank/../x"}, "path below a pool"},
		{Config{ID: "a", Dataset: "tank/virtrigaud", AdoptedVMs: "keep"}, "protect and manage"},
	} {
		if s, err := New(nil, tt.cfg); err == nil || s != nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: got %v, want an error with %q", tt.cfg, err, tt.says)
		}
	}
}

// Each failure has its code, also when it is wrapped: callers retry, report or give up by it, and codes that the manager's circuit
// breaker counts mean that the NAS is in trouble.
func TestCodeOfEachFailure(t *testing.T) {
	for code, failures := range map[codes.Code][]error{
		codes.Unavailable: {
			refusal.ErrVMFailed, refusal.ErrDiskUnchecked, refusal.ErrImageInProgress, refusal.ErrImageSourceUnavailable, context.DeadlineExceeded,
			truenas.ErrUncertain, truenas.ErrUnavailable, truenas.ErrCertificate,
		},
		codes.FailedPrecondition: {
			refusal.ErrDiskInUse, refusal.ErrSourceRunning, ownership.ErrForeign, truenas.ErrUnsupported, truenas.ErrHasClones, truenas.ErrHeld,
			truenas.ErrNotEmpty, truenas.ErrNoDevice, disk.ErrRefused, disk.ErrHostile, disk.ErrTooLarge, disk.ErrLength, disk.ErrChecksum,
			disk.ErrCorrupt, disk.ErrNotFound, disk.ErrDenied, disk.ErrUnordered, &truenas.Error{},
		},
		codes.Canceled:          {context.Canceled},
		codes.PermissionDenied:  {truenas.ErrAuth, truenas.ErrPermission},
		codes.ResourceExhausted: {truenas.ErrNoSpace, truenas.ErrNoMemory, disk.ErrNoSpace},
		codes.NotFound:          {truenas.ErrNotFound},
		codes.AlreadyExists:     {truenas.ErrExists},
		codes.Aborted:           {truenas.ErrBusy, truenas.ErrJobLost, truenas.ErrStalled, truenas.ErrAborted, disk.ErrChanged, disk.ErrUnavailable},
		codes.InvalidArgument:   {truenas.ErrInvalid, disk.ErrInvalid, disk.ErrUnsupported, disk.ErrFormat, refusal.InvalidArgument("name", "is wrong")},
		codes.Internal:          {errors.New("a fault of this program")},
	} {
		for _, failure := range failures {
			if got, _ := verdict(fmt.Errorf("the NAS: %w", failure)); got != code {
				t.Errorf("%v: %v, want %v", failure, got, code)
			}
		}
	}
}

// Of two records of a VM, the oldest with devices stays, and a record with other disks is never removed.
func TestDuplicateRecordsOf(t *testing.T) {
	t.Parallel()
	vm := func(id int64, volumes ...string) truenas.VM {
		v := truenas.VM{ID: id, UUID: "u"}
		for _, volume := range volumes {
			v.Devices = append(v.Devices, truenas.Device{Attributes: truenas.Disk("/dev/zvol/" + volume)})
		}
		return v
	}
	for _, tt := range []struct {
		name       string
		records    []truenas.VM
		kept       int64
		duplicates int
		says       string
	}{
		{"one", []truenas.VM{vm(3, "tank/a")}, 3, 0, ""},
		{"the older of two alike", []truenas.VM{vm(4, "tank/a"), vm(3, "tank/a")}, 3, 1, ""},
		{"the one with devices", []truenas.VM{vm(3), vm(4, "tank/a")}, 4, 1, ""},
		{"a second set of disks on another pool", []truenas.VM{vm(3, "tank/a"), vm(4, "flash/a")}, 3, 0, "numbers 3 and 4, and only 4 has the disk flash/a"},
		{"a further disk", []truenas.VM{vm(4, "tank/a", "tank/b"), vm(3, "tank/a")}, 3, 0, "only 4 has the disk tank/b"},
	} {
		kept, duplicates, err := duplicateRecordsOf(tt.records)
		if kept.ID != tt.kept || len(duplicates) != tt.duplicates || (err == nil) != (tt.says == "") {
			t.Errorf("%s: kept %d and %d doubles, %v", tt.name, kept.ID, len(duplicates), err)
		}
		if tt.says != "" {
			refusedAs(t, err, codes.FailedPrecondition, tt.says)
		}
	}
}
