package server_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// keys are users of a NAS with their roles.
var keys = map[string][]string{
	"everything":    {"FULL_ADMIN"},
	"no files":      leastRoles,
	"no snapshots":  {"VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE"},
	"VMs only":      {"VM_WRITE", "VM_DEVICE_WRITE"},
	"looking only":  {"VM_READ", "VM_DEVICE_READ", "DATASET_READ", "SNAPSHOT_READ"},
	"another thing": {"SHARING_READ"},
}

// Every advertised ability works, and every other one is refused with a reason and changes nothing on the NAS: on every release,
// for keys with many or few roles.
func TestCapabilitiesMatchTheBehavior(t *testing.T) {
	t.Parallel()
	with := newSupplies(t)
	for _, release := range releases {
		for name, roles := range keys {
			t.Run(release+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newStand(t, with, release, roles...)
				offers, err := s.client.GetCapabilities(background, &providerv1.GetCapabilitiesRequest{})
				if err != nil {
					t.Fatal(err)
				}
				triesAll(t, offers)
				for _, a := range abilities() {
					if a.flag == "" {
						continue
					}
					a.prepare(s)
					if a.advertised(offers) {
						if err := a.try(s); err != nil {
							t.Errorf("%s is advertised: %v", a, err)
						}
						continue
					}
					s.refuses(a)
				}
			})
		}
	}
}

// refuses checks that an ability that is not advertised is refused.
func (s *stand) refuses(a ability) {
	s.t.Helper()
	allowed := []codes.Code{codes.Unimplemented, codes.FailedPrecondition, codes.InvalidArgument, codes.PermissionDenied}
	before := s.nas.State()
	err := a.try(s)
	if code := status.Code(err); !slices.Contains(allowed, code) || len(status.Convert(err).Message()) < 20 {
		s.t.Errorf("%s is not advertised: %v; want one of %v with an explanation", a, err, allowed)
	}
	if !sameTree(before, s.nas.State()) {
		s.t.Errorf("%s is not advertised, and changed the NAS:\n%s", a, diff(s.t, before, s.nas.State()))
	}
}

// The abilities include every RPC and every capability.
func TestAbilitiesAreComplete(t *testing.T) {
	t.Parallel()
	rpcs, flags := map[string]bool{}, map[string]bool{}
	for _, a := range abilities() {
		rpcs[a.rpc], flags[a.flag] = true, true
	}
	for _, rpc := range providerv1.Provider_ServiceDesc.Methods {
		if !rpcs[rpc.MethodName] {
			t.Errorf("no ability tries %s", rpc.MethodName)
		}
	}
	fields := (&providerv1.GetCapabilitiesResponse{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); !flags[name] {
			t.Errorf("no test tries what %s advertises", name)
		}
	}
}

// triesAll checks that the abilities include every advertised value.
func triesAll(t *testing.T, offers *providerv1.GetCapabilitiesResponse) {
	t.Helper()
	tried := map[string]bool{}
	for _, a := range abilities() {
		tried[a.flag+" "+a.value] = true
	}
	offers.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		values := []string{""}
		if field.IsList() {
			values = nil
			for i := range value.List().Len() {
				values = append(values, value.List().Get(i).String())
			}
		}
		for _, v := range values {
			if !tried[string(field.Name())+" "+v] {
				t.Errorf("no ability tries the value %q of %s", v, field.Name())
			}
		}
		return true
	})
}
