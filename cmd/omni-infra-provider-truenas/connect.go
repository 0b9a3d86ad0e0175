package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blang/semver/v4"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/pkg/client"
	omniclient "github.com/siderolabs/omni/client/pkg/client/omni"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	"github.com/siderolabs/omni/client/pkg/infra/provision"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"github.com/siderolabs/omni/client/pkg/omni/resources/system"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/omni"
)

// connectTimeout limits the queries to Omni at the start.
const connectTimeout = 30 * time.Second

// connection is a connection to Omni and to the image factory for schematics.
type connection struct {
	state   state.State
	factory provision.FactoryClient
	assets  omni.AssetSource // nil: images come from a factory
	close   func()
}

// connect logs in to Omni. It uses the configured factory or Omni's own, through Omni where Omni supports that.
func connect(ctx context.Context, o *options, log *zap.Logger) (*connection, error) {
	c, err := client.New(o.endpoint, client.WithServiceAccount(o.key), client.WithInsecureSkipTLSVerify(o.skipVerify),
		client.WithOmniClientOptions(omniclient.WithProviderID(o.id), omniclient.WithRetryLogger(log.Named("omni"))))
	if err != nil {
		return nil, fmt.Errorf("connecting to Omni at %s: %w", config.WithoutSecrets(o.endpoint), err)
	}
	m, err := dialManagement(o)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connecting to Omni at %s: %w", config.WithoutSecrets(o.endpoint), err)
	}
	there := &connection{state: c.Omni().State(), assets: m, close: func() { _ = errors.Join(c.Close(), m.conn.Close()) }}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if there.factory, err = factoryOf(ctx, o, m, there.state); err != nil {
		there.close()
		return nil, fmt.Errorf("connecting to Omni at %s: %w", config.WithoutSecrets(o.endpoint), omni.ExplainRejection(err, o.id))
	}
	return there, nil
}

func factoryOf(ctx context.Context, o *options, m *management, st state.State) (provision.FactoryClient, error) {
	if o.factory != "" {
		return imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: o.factory})
	}
	version, err := safe.ReaderGetByID[*system.SysVersion](ctx, st, system.SysVersionID)
	if err != nil {
		return nil, fmt.Errorf("its version is not known: %w", err)
	}
	if forwards(version.TypedSpec().Value.GetBackendVersion()) {
		return m, nil
	}
	features, err := safe.ReaderGetByID[*omnires.FeaturesConfig](ctx, st, omnires.FeaturesConfigID)
	if err != nil {
		return nil, fmt.Errorf("its image factory is not known: %w", err)
	}
	return imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: features.TypedSpec().Value.GetImageFactoryBaseUrl()})
}

// forwards reports whether Omni forwards schematics to the image factory, which it does from 1.9 on.
func forwards(version string) bool {
	parsed, err := semver.ParseTolerant(strings.TrimPrefix(version, "v"))
	return err != nil || parsed.GTE(semver.Version{Major: 1, Minor: 9})
}
