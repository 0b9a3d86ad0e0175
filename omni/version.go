package omni

import (
	"context"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
)

// versionField is the number of InfraProviderStatusSpec.version. Omni shows it from 1.10 on. The client library of 1.9 lacks it,
// so it is written as an unknown field.
const versionField = 5

// publishVersion writes the program's version into the provider's status, where Omni shows it. At its start the SDK writes the
// status without it.
func (p *Provisioner) publishVersion(ctx context.Context) {
	if p.cfg.Version == "" {
		return
	}
	status, err := safe.ReaderGetByID[*infrares.ProviderStatus](ctx, p.cfg.State, p.cfg.ID)
	if err != nil || versionOf(status.TypedSpec().Value) == p.cfg.Version {
		return // The status does not exist yet, or it has the version.
	}
	_, err = safe.StateUpdateWithConflicts(ctx, p.cfg.State, status.Metadata(), func(s *infrares.ProviderStatus) error {
		setVersion(s.TypedSpec().Value, p.cfg.Version)
		return nil
	})
	if err != nil && !state.IsNotFoundError(err) && ctx.Err() == nil {
		p.log.Debug("publishing the version in Omni failed", zap.Error(err))
	}
}

// versionOf reads the version from the unknown fields of the message.
func versionOf(spec *specs.InfraProviderStatusSpec) string {
	return unknownText(spec.ProtoReflect().GetUnknown(), versionField)
}

// setVersion replaces the version and keeps all other unknown fields.
func setVersion(spec *specs.InfraProviderStatusSpec, version string) {
	var kept []byte
	eachField(spec.ProtoReflect().GetUnknown(), func(number protowire.Number, field []byte) {
		if number != versionField {
			kept = append(kept, field...)
		}
	})
	kept = protowire.AppendTag(kept, versionField, protowire.BytesType)
	spec.ProtoReflect().SetUnknown(protowire.AppendString(kept, version))
}
