// Package standin simulates Omni and the image factory for tests and for the demo.
//
//	omni, err := standin.Omni(ctx, "truenas")   // Omni's resources in memory
//	factory := httptest.NewServer(&standin.Factory{})
//
// The state holds the resources that an infrastructure provider reads. Omni's own controllers do not run; the SDK's controllers
// run within the provider.
package standin

import (
	"context"
	"fmt"
	"sync"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	resources "github.com/siderolabs/omni/client/pkg/omni/resources/registry"
	"github.com/siderolabs/omni/client/pkg/omni/resources/siderolink"
)

// definitions are the definitions that registry.ResourceRegistry registers for Omni's resources. The registry would compute the
// plural of each name for each state, which takes a large part of a test's time. Create sets the owner and the version of its
// argument, so each state gets copies.
var definitions = sync.OnceValues(func() ([]*meta.ResourceDefinition, error) {
	all := []meta.ResourceDefinitionProvider{&meta.ResourceDefinition{}, &meta.Namespace{}}
	for _, r := range resources.Resources {
		all = append(all, r)
	}
	var list []*meta.ResourceDefinition
	for _, r := range all {
		definition, err := meta.NewResourceDefinition(r.ResourceDefinition())
		if err != nil {
			return nil, err
		}
		list = append(list, definition)
	}
	return list, nil
})

// Omni makes a state with the resources that a provider with the id expects in Omni. factoryURL is the address of the image
// factory.
func Omni(ctx context.Context, providerID, factoryURL string) (state.State, error) {
	st := state.WrapCore(namespaced.NewState(inmem.Build))
	types, err := definitions()
	if err != nil {
		return nil, err
	}
	for _, r := range types {
		if err := st.Create(ctx, r.DeepCopy(), state.WithCreateOwner(meta.Owner)); err != nil {
			return nil, err
		}
	}
	features := omnires.NewFeaturesConfig(omnires.FeaturesConfigID)
	features.TypedSpec().Value.ImageFactoryBaseUrl = factoryURL
	join := siderolink.NewProviderJoinConfig(providerID)
	join.TypedSpec().Value.JoinToken = "stand-in-token"
	join.Metadata().Labels().Set(omnires.LabelInfraProviderID, providerID)
	api := siderolink.NewAPIConfig()
	api.TypedSpec().Value.MachineApiAdvertisedUrl = "https://omni.example:8090"
	api.TypedSpec().Value.LogsPort, api.TypedSpec().Value.EventsPort = 8092, 8091
	for _, r := range []resource.Resource{features, join, api} {
		if err := st.Create(ctx, r); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// Request requests a machine from a provider, as Omni does for a machine set: set may be empty.
func Request(ctx context.Context, st state.State, providerID, id, set, talos, class string) error {
	r := infrares.NewMachineRequest(id)
	r.Metadata().Labels().Set(omnires.LabelInfraProviderID, providerID)
	if set != "" {
		r.Metadata().Labels().Set(omnires.LabelMachineRequestSet, set)
	}
	r.TypedSpec().Value.TalosVersion, r.TypedSpec().Value.ProviderData = talos, class
	return st.Create(ctx, r)
}

// Release tears a machine request down, waits until the provider has removed its finalizer, and destroys the request.
func Release(ctx context.Context, st state.State, id string) error {
	md := infrares.NewMachineRequest(id).Metadata()
	if _, err := st.Teardown(ctx, md); err != nil {
		return err
	}
	if _, err := st.WatchFor(ctx, md, state.WithFinalizerEmpty()); err != nil {
		return fmt.Errorf("request %s still has its finalizer: %w", id, err)
	}
	return st.Destroy(ctx, md)
}
