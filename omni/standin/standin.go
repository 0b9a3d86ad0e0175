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

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/registry"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	resources "github.com/siderolabs/omni/client/pkg/omni/resources/registry"
	"github.com/siderolabs/omni/client/pkg/omni/resources/siderolink"
)

// Omni makes a state with the resources that the provider of that id expects in Omni. The images' address is the factory's.
func Omni(ctx context.Context, providerID, factoryURL string) (state.State, error) {
	st := state.WrapCore(namespaced.NewState(inmem.Build))
	types := registry.NewResourceRegistry(st)
	if err := types.RegisterDefault(ctx); err != nil {
		return nil, err
	}
	for _, r := range resources.Resources {
		if err := types.Register(ctx, r); err != nil {
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
