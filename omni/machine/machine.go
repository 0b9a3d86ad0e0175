// Package machine contains the resource in which the Omni adapter records, inside Omni, the state of a machine request.
//
// One thing surprises. The resource's type and namespace contain the provider's id, which is known only when the program runs,
// but the Omni SDK gets both from a type and not from a value. [Bind] therefore sets the id, once in the life of a process.
package machine

import (
	"fmt"
	"sync/atomic"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/cosi-project/runtime/pkg/resource/typed"
	"github.com/siderolabs/omni/client/pkg/infra"
)

// bound is the provider's id. Bind sets it once, before the first resource is made.
var bound atomic.Pointer[string]

// Bind sets the provider's id. A repeated call must have the same id, because the SDK cannot distinguish the resources of
// two ids within one process.
func Bind(id string) error {
	if id == "" {
		return fmt.Errorf("machine: the provider's id must not be empty")
	}
	if !bound.CompareAndSwap(nil, &id) && *bound.Load() != id {
		return fmt.Errorf("machine: this process is provider %q already and cannot be %q too", *bound.Load(), id)
	}
	return nil
}

func providerID() string {
	if id := bound.Load(); id != nil {
		return *id
	}
	return "truenas"
}

// Machine is the record of one machine request; it has the request's id.
type Machine = typed.Resource[Spec, Extension]

// Spec wraps [MachineSpec] for the resource library.
type Spec = protobuf.ResourceSpec[MachineSpec, *MachineSpec]

// New makes an empty record.
func New(id string) *Machine {
	definition := Extension{}.ResourceDefinition()
	return typed.NewResource[Spec, Extension](
		resource.NewMetadata(definition.DefaultNamespace, definition.Type, id, resource.VersionUndefined),
		protobuf.NewResourceSpec(&MachineSpec{}),
	)
}

// Extension describes the resource to the runtime.
type Extension struct{}

// ResourceDefinition implements [typed.Extension].
func (Extension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return meta.ResourceDefinitionSpec{
		Type:             infra.ResourceType("Machine", providerID()),
		Aliases:          []resource.Type{},
		DefaultNamespace: infra.ResourceNamespace(providerID()),
		PrintColumns:     []meta.PrintColumn{},
	}
}
