package truenas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		want error
	}{
		{"not found: a validation error of the instance",
			`{"code":-32602,"message":"Invalid params","data":{"error":22,"errname":"EINVAL","reason":"[ENOENT] None: VM 1 does not exist","extra":[[null,"VM 1 does not exist",2]]}}`, ErrNotFound},
		{"not found: a query for exactly one",
			`{"code":-32001,"message":"Method call error","data":{"error":22,"errname":"EINVAL","reason":"MatchNotFound()","trace":{"class":"MatchNotFound"},"extra":null}}`, ErrNotFound},
		{"not found: a query for exactly one, without a trace",
			`{"code":-32001,"data":{"error":22,"errname":"EINVAL","reason":"MatchNotFound()"}}`, ErrNotFound},
		{"not found: ENOENT",
			`{"code":-32001,"data":{"error":2,"errname":"ENOENT","reason":"[ENOENT] Path /mnt/tank/x not found"}}`, ErrNotFound},
		{"not found: ENOENT inside another reason",
			`{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Failed to convert: [ENOENT] /dev/zvol/tank/x does not exist"}}`, ErrNotFound},
		{"not found: text of libvirt or ZFS",
			`{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Failed to snapshot tank/a@b: cannot open 'tank/a': dataset does not exist"}}`, ErrNotFound},

		{"a conversion without space",
			`{"code":-32001,"data":{"error":1,"errname":"EPERM","reason":"[EPERM] qemu-img convert failed: qemu-img: error while writing at byte 0: No space left on device"}}`, ErrNoSpace},
		{"a conversion of a missing file",
			`{"code":-32001,"data":{"error":1,"errname":"EPERM","reason":"[EPERM] qemu-img convert failed: qemu-img: /mnt/tank/no/a.raw: error while converting raw: Could not create '/mnt/tank/no/a.raw': No such file or directory"}}`, ErrNotFound},
		{"a conversion of an unreadable file does not blame the key",
			`{"code":-32001,"data":{"error":1,"errname":"EPERM","reason":"[EPERM] qemu-img convert failed: qemu-img: Could not open '/mnt/tank/a.qcow2': Permission denied"}}`, nil},
		{"another failed conversion",
			`{"code":-32001,"data":{"error":1,"errname":"EPERM","reason":"[EPERM] qemu-img convert failed: qemu-img: Image is corrupt"}}`, nil},
		{"exists: errno 17", `{"code":-32001,"data":{"error":17,"errname":"EEXIST","reason":"[EEXIST] path already exists."}}`, ErrExists},
		{"exists: errno 17 of a field",
			`{"code":-32602,"data":{"error":22,"extra":[["vm_create.name","This name already exists.",17]]}}`, ErrExists},
		{"exists: errno 11 with text",
			`{"code":-32001,"data":{"error":11,"errname":"EAGAIN","reason":"[EAGAIN] cannot create snapshot 'tank/a@b': dataset already exists"}}`, ErrExists},
		{"exists: errno 14 with text",
			`{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Failed to create dataset: cannot create 'tank/a': dataset already exists"}}`, ErrExists},
		{"exists: a field with text only",
			`{"code":-32602,"data":{"error":22,"extra":[["pool_dataset_create.name","Path tank/a already exists",22]]}}`, ErrExists},
		{"exists: a disk of the VM",
			`{"code":-32602,"data":{"error":22,"extra":[["attributes.path","web has \"/dev/zvol/tank/a\" already configured",22]]}}`, ErrExists},
		{"not found: the parent of a dataset, from 25.10 on",
			`{"code":-32602,"data":{"error":22,"extra":[["pool_dataset_create.name","Parent dataset (tank/a) does not exist.",22]]}}`, ErrNotFound},
		{"not found: the parent of a dataset, 25.04.2",
			`{"code":-32602,"data":{"error":22,"extra":[["pool_dataset_create.name","Parent dataset does not exist for specified name",22]]}}`, ErrNotFound},
		{"exists: a NIC's address of the VM",
			`{"code":-32602,"data":{"error":22,"extra":[["attributes.mac","web already has a NIC with MAC address '02:00:00:00:00:01' configured",22]]}}`, ErrExists},

		{"busy: errno 16", `{"code":-32001,"data":{"error":16,"errname":"EBUSY","reason":"[EBUSY] VM a is active"}}`, ErrBusy},
		{"busy: text", `{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] cannot destroy 'tank/a': dataset is busy"}}`, ErrBusy},
		{"clones come before busy",
			`{"code":-32001,"data":{"error":16,"errname":"EBUSY","reason":"[EBUSY] cannot destroy 'tank/a@b': snapshot has dependent clones"}}`, ErrHasClones},
		{"clones: a snapshot in 25.10",
			`{"code":-32602,"data":{"error":22,"extra":[["options.defer","Please set this attribute as 'tank/a@b' snapshot has dependent clones: tank/c",22]]}}`, ErrHasClones},
		{"clones: a snapshot in 26",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.snapshot.destroy","'tank/a@b' has the following clones: tank/c",16]]}}`, ErrHasClones},
		{"clones: several snapshots in 26",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.snapshot.destroy","Failed to destroy 'tank/a@b' There are clones (tank/c)",16]]}}`, ErrHasClones},
		{"clones: several snapshots up to 25.10", `{"code":-32001,"data":{"error":14,"reason":"[EFAULT] cannot destroy snapshot tank/a@b: snapshot is cloned"}}`, ErrHasClones},
		{"held: the rest of the text does not count",
			`{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Failed to delete dataset: cannot destroy snapshot tank/a/v@s: it's being held. Run 'zfs holds -r tank/a/v@s' to see holders.\ncannot destroy 'tank/a': dataset already exists"}}`, ErrHeld},
		{"held: the text of 26",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.snapshot.destroy","'tank/a@b' has the following holds: truenas",16]]}}`, ErrHeld},
		{"clones: text", `{"code":-32001,"data":{"error":14,"reason":"[EFAULT] volume has dependent clones: tank/b"}}`, ErrHasClones},
		{"clones in the way of a rollback", `{"code":-32001,"data":{"error":14,"reason":"cannot rollback to 'a@b': clones of previous snapshots exist: c"}}`, ErrHasClones},

		{"a hold precedes other causes in the text",
			`{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Failed to delete dataset: cannot destroy snapshot tank/a@b: it's being held. Run 'zfs holds -r tank/a@b' to see holders.\ncannot destroy 'tank/a': dataset already exists"}}`, ErrHeld},
		{"a hold of a field, 26",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.snapshot.destroy","'tank/a@b' has the following holds: truenas",16]]}}`, ErrHeld},
		{"clones of a field come before its number, 26",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.snapshot.destroy","'tank/a@b' has the following clones: tank/c",16]]}}`, ErrHasClones},
		{"clones of a field come before its number, 27",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.snapshot.destroy.defer","Snapshot 'tank/a@b' has dependent clones: tank/c",39]]}}`, ErrHasClones},
		{"exists: a domain of the same UUID",
			`{"code":-32001,"data":{"error":22,"errname":"EINVAL","reason":"operation failed: domain '46_web' is already defined with uuid e66a319d-0d98-4526-953a-03a61f26b6e4"}}`, ErrExists},
		{"snapshots in the way, 25.10",
			`{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Failed to delete dataset: cannot destroy 'tank/a': volume has children\nuse '-r' to destroy the following datasets:\ntank/a@b"}}`, ErrNotEmpty},
		{"snapshots in the way, 26",
			`{"code":-32602,"data":{"error":22,"extra":[["zfs.resource.destroy","'tank/a' has snapshots. Set recursive=True to remove them.",39]]}}`, ErrNotEmpty},

		{"space: the 80 % rule",
			`{"code":-32602,"data":{"error":22,"extra":[["pool_dataset_create.volsize","It is not recommended to use more than 80% of your available space for VOLUME",22]]}}`, ErrNoSpace},
		{"space: ENOSPC", `{"code":-32001,"data":{"error":28,"errname":"ENOSPC","reason":"[ENOSPC] The volume is too small: 21474836480 bytes are needed"}}`, ErrNoSpace},
		{"space: ZFS's text", `{"code":-32001,"data":{"error":14,"reason":"[EFAULT] cannot create 'tank/a': out of space"}}`, ErrNoSpace},
		{"memory", `{"code":-32001,"data":{"error":12,"errname":"ENOMEM","reason":"[ENOMEM] Cannot guarantee memory for guest web"}}`, ErrNoMemory},

		{"no role", `{"code":-32001,"data":{"error":13,"errname":"EACCES","reason":"[EACCES] Not authorized"}}`, ErrPermission},
		{"not logged in", `{"code":-32001,"data":{"error":207,"errname":"ENOTAUTHENTICATED","reason":"[ENOTAUTHENTICATED] Not authenticated"}}`, ErrAuth},
		{"a field's number in its text",
			`{"code":-32602,"data":{"error":22,"extra":[["vm_create","[EBUSY] wait for it",0]]}}`, ErrBusy},
		{"a field with an unknown value", `{"code":-32602,"data":{"error":22,"extra":[["attributes.nic_attach","br9 not found",22]]}}`, ErrInvalid},
		{"a field's text about memory", `{"code":-32602,"data":{"error":22,"extra":[["vm_start","Cannot guarantee memory for guest web",22]]}}`, ErrNoMemory},
		{"a field's text about a running VM", `{"code":-32602,"data":{"error":22,"extra":[["vm_update.id","web is already running",22]]}}`, ErrActive},
		{"a field's text about a stopped VM", `{"code":-32602,"data":{"error":22,"extra":[["vm_poweroff.id","web is not running",22]]}}`, ErrInactive},
		{"fields of one kind", `{"code":-32602,"data":{"error":22,"extra":[["a","x",16],["b","y",16]]}}`, ErrBusy},
		{"no fields, and a number in the text", `{"code":-32602,"data":{"error":22,"reason":"[ENOENT] None: VM 1 does not exist"}}`, ErrNotFound},
		{"a failed call with fields", `{"code":-32001,"data":{"error":14,"extra":[["a","x",17]]}}`, ErrExists},
		{"children", `{"code":-32001,"data":{"error":39,"errname":"ENOTEMPTY","reason":"[ENOTEMPTY] filesystem has children"}}`, ErrNotEmpty},
		{"unknown method", `{"code":-32601,"message":"Method does not exist"}`, ErrUnsupported},
		{"too many calls", `{"code":-32000,"message":"Too many concurrent calls"}`, ErrUnavailable},
		{"runs already", `{"code":-32001,"data":{"error":14,"reason":"[EFAULT] web is already running"}}`, ErrActive},
		{"does not run", `{"code":-32001,"data":{"error":14,"reason":"[EFAULT] 1_web domain is not active"}}`, ErrInactive},

		{"a bad value", `{"code":-32602,"data":{"error":22,"extra":[["vm_create.memory","Input should be greater than or equal to 20",22]]}}`, ErrInvalid},
		{"an unknown parameter", `{"code":-32602,"data":{"error":22,"extra":[["vm_create.x","Extra inputs are not permitted",22]]}}`, ErrInvalid},
		{"fields of several kinds",
			`{"code":-32602,"data":{"error":22,"extra":[["a","already exists",17],["b","Field required",22]]}}`, ErrInvalid},
		{"a validation error without fields", `{"code":-32602,"data":{"error":22,"extra":null}}`, ErrInvalid},
		{"EINVAL of a call", `{"code":-32001,"data":{"error":22,"errname":"EINVAL","reason":"[EINVAL] Only cloned datasets can be promoted."}}`, ErrInvalid},
		{"something went wrong", `{"code":-32001,"data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] libvirt is tired"}}`, nil},
		{"an error without data", `{"code":-32603,"message":"Internal error"}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w wireError
			if err := json.Unmarshal([]byte(tt.wire), &w); err != nil {
				t.Fatal(err)
			}
			err := w.toError("vm.create")
			if got := err.Kind(); got != tt.want {
				t.Errorf("is %v, not %v", got, tt.want)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("errors.Is reports false")
			}
			if !strings.HasPrefix(err.Error(), "vm.create: ") {
				t.Errorf("the text does not contain the call: %v", err)
			}
		})
	}
}

func TestClassifyJob(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		want error
	}{
		{"a job's errno", `{"id":3,"state":"FAILED","error":"[EBUSY] tank/a is in use","exc_info":{"type":"CallError","errno":16,"extra":null}}`, ErrBusy},
		{"a job's text", `{"id":3,"state":"FAILED","error":"[ENOENT] /dev/zvol/tank/a does not exist","exc_info":null}`, ErrNotFound},
		{"a job's fields", `{"id":3,"state":"FAILED","error":"…","exc_info":{"type":"ValidationErrors","errno":null,"extra":[["destination","is too small",28]]}}`, ErrNoSpace},
		{"an aborted job", `{"id":3,"state":"ABORTED","error":null}`, ErrAborted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j Job
			if err := json.Unmarshal([]byte(tt.wire), &j); err != nil {
				t.Fatal(err)
			}
			if err := j.Err(); !errors.Is(err, tt.want) {
				t.Errorf("is %v, not %v", err, tt.want)
			}
		})
	}
}

func TestRetryable(t *testing.T) {
	for _, err := range []error{ErrUnavailable, ErrBusy, &Error{Errno: eBUSY}} {
		if !Retryable(err) {
			t.Errorf("%v should be", err)
		}
	}
	for _, err := range []error{nil, ErrUncertain, ErrNotFound, ErrAuth} {
		if Retryable(err) {
			t.Errorf("%v: want the opposite", err)
		}
	}
}

func TestAListIsNeverNotFound(t *testing.T) {
	missing := &Error{Method: "vm.query", Errno: eNOENT, Reason: "[ENOENT] /run/something"}
	for _, tt := range []struct {
		method string
		want   error
	}{
		{"vm.query", ErrUnavailable}, {"zfs.snapshot.query", ErrUnavailable}, {jobEvents, ErrUnavailable},
		{"vm.get_instance", ErrNotFound}, {"pool.dataset.delete", ErrNotFound},
	} {
		if err := listed(tt.method, missing); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.method, err, tt.want)
		}
	}
	if err := listed("vm.query", nil); err != nil {
		t.Error(err)
	}
}

// TestDefinedAs finds the VM that has a UUID already in libvirt's text, and in nothing else.
func TestDefinedAs(t *testing.T) {
	text := "[EFAULT] operation failed: domain '46_web' is already defined with uuid e66a319d-0d98-4526-953a-03a61f26b6e4"
	for _, tt := range []struct {
		name string
		err  error
		want int64
		ok   bool
	}{
		{"libvirt's text", &Error{Reason: text}, 46, true},
		{"a wrapped error", fmt.Errorf("create: %w", &Error{Reason: text}), 46, true},
		{"another text", &Error{Reason: "domain 'web' is already defined"}, 0, false},
		{"a too large number", &Error{Reason: strings.Replace(text, "46", "99999999999999999999", 1)}, 0, false},
		{"not an error of TrueNAS", errors.New(text), 0, false},
		{"no error", nil, 0, false},
	} {
		if vm, ok := DefinedAs(tt.err); ok != tt.ok || ok && vm != tt.want {
			t.Errorf("%s: %d, %t", tt.name, vm, ok)
		}
	}
}
