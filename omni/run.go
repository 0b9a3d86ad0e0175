package omni

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/pkg/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/omni/machine"
)

//go:embed icon.svg
var icon []byte

// stepAnnotation is the annotation in which the SDK stores the current step of a request.
const stepAnnotation = "infra." + omnires.SystemLabelPrefix + "step"

// controller is the name of the SDK's controller, which owns the records and the finalizer of requests.
func (p *Provisioner) controller() string { return p.cfg.ID + ".ProvisionController" }

// Run serves machine requests until ctx ends.
func (p *Provisioner) Run(ctx context.Context) error { return p.run(ctx, p) }

// run serves machine requests with steps that tests may wrap.
func (p *Provisioner) run(ctx context.Context, steps provisioner) error {
	provider, err := infra.NewProvider(p.cfg.ID, steps, infra.ProviderConfig{
		Name: p.cfg.Name, Description: p.cfg.Description, Icon: base64.StdEncoding.EncodeToString(icon), Schema: Schema(),
	})
	if err != nil {
		return err
	}
	if err := p.restartUnknownSteps(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return provider.Run(ctx, sdkLogger(p.log),
			infra.WithState(p.cfg.State),
			infra.WithImageFactoryClient(p.cfg.Factory),
			infra.WithConcurrency(p.cfg.Concurrency),
			infra.WithEncodeRequestIDsIntoTokens(),
			infra.WithHealthCheckFunc(p.Health),
			infra.WithHealthCheckInterval(p.cfg.HealthInterval),
		)
	})
	group.Go(func() error { return p.watch(ctx) })
	return group.Wait()
}

// restartUnknownSteps restarts requests whose step does not exist, as after a downgrade. The SDK would report them as provisioned
// although no machine exists. Steps are idempotent, so a restart repeats nothing.
func (p *Provisioner) restartUnknownSteps(ctx context.Context) error {
	var names []string
	for _, step := range p.ProvisionSteps() {
		names = append(names, step.Name())
	}
	notes, err := safe.StateListAll[*machine.Machine](ctx, p.cfg.State)
	if err != nil {
		return fmt.Errorf("read of machine records from Omni failed: %w", err)
	}
	var failed []error
	for note := range notes.All() {
		reached, ok := note.Metadata().Annotations().Get(stepAnnotation)
		if !ok || slices.Contains(names, reached) {
			continue
		}
		p.log.Warn("request has reached an unknown step, starting it again", zap.String("request_id", note.Metadata().ID()), zap.String("step", reached))
		_, err := p.cfg.State.UpdateWithConflicts(ctx, note.Metadata(), func(r resource.Resource) error {
			r.Metadata().Annotations().Delete(stepAnnotation)
			return nil
		}, state.WithUpdateOwner(note.Metadata().Owner()), state.WithExpectedPhaseAny())
		if !state.IsNotFoundError(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
